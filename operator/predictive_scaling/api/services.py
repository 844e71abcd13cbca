"""The dependencies of the routes; created once, in commands/api.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from predictive_scaling.access.expiring_cache import ExpiringCache
from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.api.policy_snapshots import PolicySnapshots
from predictive_scaling.api.responses import VersionedResponses
from predictive_scaling.api.shared_reads import SharedReads
from predictive_scaling.api.stored_models import Models
from predictive_scaling.clock import Clock
from predictive_scaling.storage.backtests import BacktestResults, Backtests
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.data_quality import DataQuality
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.decision_lists import DecisionLists
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.namespaces import Namespaces
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.replica_history import ReplicaHistory
from predictive_scaling.storage.scaling_overview import ScalingOverviews
from predictive_scaling.storage.shadow_hours import ShadowHours
from predictive_scaling.storage.tunings import Tunings
from predictive_scaling.telemetry.checks import Check

SUCCESS_RATE_SECONDS, MAX_SUCCESS_RATES = 1.0, 256
"""Real time for which a share of successes is used again: counting the decisions of a day takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Services:
    """database: for reads. commands: with a separate pool, because waiting for a result occupies a connection."""

    clock: Clock
    database: Database
    commands: Commands
    stored_models: Callable[[], Models]
    """Reads files; called in a thread."""
    cache: ResponseCache = field(default_factory=ResponseCache)
    """Shared by all processes, with a lifetime of seconds."""
    responses: VersionedResponses = field(default_factory=VersionedResponses)
    """Of this process, valid until the data changes."""
    reads: SharedReads = field(default_factory=SharedReads)
    policy_snapshots: PolicySnapshots = field(default_factory=PolicySnapshots)
    success_rates: ExpiringCache[str, float | None] = field(
        default_factory=lambda: ExpiringCache[str, float | None](lambda _: SUCCESS_RATE_SECONDS, MAX_SUCCESS_RATES)
    )
    """Of the last 24 hours, by visible namespaces."""
    checks: Sequence[Check] = ()
    ready: Sequence[Check] = ()
    command_limit_seconds: float = 10.0
    request_limit_seconds: float = 30.0
    recent_factor: float = 0.0
    """Factor on the time for which responses of lists are kept in memory; 0 keeps nothing."""

    @property
    def namespaces(self) -> Namespaces:
        return Namespaces(self.database)

    @property
    def policies(self) -> Policies:
        return Policies(self.database)

    @property
    def overviews(self) -> ScalingOverviews:
        return ScalingOverviews(self.database)

    @property
    def decisions(self) -> DecisionLists:
        return DecisionLists(self.database)

    @property
    def predictions(self) -> Predictions:
        return Predictions(self.database)

    @property
    def demand(self) -> Demand:
        return Demand(self.database)

    @property
    def replica_history(self) -> ReplicaHistory:
        return ReplicaHistory(self.database)

    @property
    def tunings(self) -> Tunings:
        return Tunings(self.database)

    @property
    def shadow_hours(self) -> ShadowHours:
        return ShadowHours(self.database)

    @property
    def performances(self) -> ModelPerformances:
        return ModelPerformances(self.database)

    @property
    def data_quality(self) -> DataQuality:
        return DataQuality(self.database)

    @property
    def backtests(self) -> Backtests:
        return Backtests(self.database)

    @property
    def backtest_results(self) -> BacktestResults:
        return BacktestResults(self.database)

    @property
    def events(self) -> BusinessEvents:
        return BusinessEvents(self.database)


def services_of(request: Request) -> Services:
    """Return the services of the application."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    return services_of(request)


Use = Annotated[Services, Depends(_services)]
"""Injects the services into a route."""
