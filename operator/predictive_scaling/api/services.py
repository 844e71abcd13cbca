"""The dependencies of the routes; created once, in commands/api.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.api.responses import CachedValue, VersionedResponses
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
    """The holdout score of a kind of model; ratios, as in its manifest."""

    model: str
    wape: float | None
    mape: float | None
    coverage: float | None
    cost: float | None = None
    short: float | None = None
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class ModelHorizon:
    """The kind of model in use up to a forecast horizon."""

    minutes: float
    model: str


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A promotion, a rejection by the quality gate or a rollback. previous: the version in use before."""

    at: datetime
    outcome: str
    version: str
    previous: str | None
    evidence: str


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The current model version of a series, from its manifest."""

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
    """Ascending; empty when one kind of model is used for all horizons."""
    history: Sequence[ModelChange] = ()
    """Newest first."""


@dataclass(frozen=True, slots=True)
class UnreadableModel:
    """A model version that failed validation, with the reason."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoredModels:
    """The contents of the models directory."""

    models: Sequence[StoredModel]
    rejected: Sequence[UnreadableModel]


@dataclass(frozen=True, slots=True)
class Services:
    """database: for reads. commands: with a separate pool, because waiting for a result occupies a connection."""

    clock: Clock
    database: Database
    commands: Commands
    stored_models: Callable[[], StoredModels]
    """Reads files; called in a thread."""
    cache: ResponseCache = field(default_factory=ResponseCache)
    """Shared by all processes, with a lifetime of seconds."""
    responses: VersionedResponses = field(default_factory=VersionedResponses)
    """Of this process, valid until the data changes."""
    success_rate: CachedValue = field(default_factory=CachedValue)
    """Of the last 24 hours; slow to compute with many decisions."""
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
"""Injects the services into a route."""
