"""What the routes work with; made once, in commands/api.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from predictive_scaling.api.answers import CostlyValue, VersionedAnswers
from predictive_scaling.api.cache import AnswerCache
from predictive_scaling.clock import Clock
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.storage.tunings import Tunings
from predictive_scaling.telemetry.checks import Check


@dataclass(frozen=True, slots=True)
class ModelScore:
    """What the quality gate saw of one kind of model; ratios, as in its manifest."""

    model: str
    wape: float | None
    mape: float | None
    coverage: float | None
    cost: float | None = None
    short: float | None = None
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class ModelHorizon:
    """The model that acts up to so far ahead."""

    minutes: float
    model: str


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A promotion, a rejection by the gate or a roll-back. previous: the version that was in use before."""

    at: datetime
    outcome: str
    version: str
    previous: str | None
    evidence: str


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The current version of one series' models, as its manifest describes it."""

    service_name: str
    metric_name: str
    version: str
    folder: str
    trained_from: datetime
    trained_until: datetime
    acting: str
    evidence: str
    scores: Sequence[ModelScore]
    horizons: Sequence[ModelHorizon] = ()
    """Ascending; empty where one model acts at all of them."""
    history: Sequence[ModelChange] = ()
    """Newest first."""


@dataclass(frozen=True, slots=True)
class UnreadableModel:
    """A version that may not be used, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoredModels:
    """What the models' folder holds."""

    models: Sequence[StoredModel]
    rejected: Sequence[UnreadableModel]


@dataclass(frozen=True, slots=True)
class Services:
    """database: for reads. commands: through a pool of its own, as waiting for an answer holds a connection."""

    clock: Clock
    database: Database
    commands: Commands
    stored_models: Callable[[], StoredModels]
    """Reads files; called in a thread."""
    cache: AnswerCache = field(default_factory=AnswerCache)
    """Shared by all processes, for some seconds."""
    answers: VersionedAnswers = field(default_factory=VersionedAnswers)
    """Of this process, until the data change."""
    success_rate: CostlyValue = field(default_factory=CostlyValue)
    """Of the last 24 hours: with many decisions all of a day's have to be counted."""
    checks: Sequence[Check] = ()
    ready: Sequence[Check] = ()
    command_limit_seconds: float = 10.0
    request_limit_seconds: float = 30.0

    @property
    def policies(self) -> Policies:
        return Policies(self.database)

    @property
    def decisions(self) -> ScalingDecisions:
        return ScalingDecisions(self.database)

    @property
    def predictions(self) -> Predictions:
        return Predictions(self.database)

    @property
    def tunings(self) -> Tunings:
        return Tunings(self.database)

    @property
    def performances(self) -> ModelPerformances:
        return ModelPerformances(self.database)

    @property
    def events(self) -> BusinessEvents:
        return BusinessEvents(self.database)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Use = Annotated[Services, Depends(_services)]
"""A route's way to them."""
