"""What the operator reads and writes outside of its process: one port each, so that tests wire the same parts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Protocol

from predictive_scaling.clock import parse_clock
from predictive_scaling.cluster.client import Cluster
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.control.actuation.decision_log import DecisionTable
from predictive_scaling.control.actuation.recovery import DecisionHistory
from predictive_scaling.control.current_forecasts import EffectsOf, Forecaster
from predictive_scaling.control.demand_window import DemandSource
from predictive_scaling.control.jobs.accuracy import PerformanceTable, PredictionHistory
from predictive_scaling.control.jobs.backtests import BacktestTable
from predictive_scaling.control.jobs.commands import CommandTable, StuckDecisions
from predictive_scaling.control.jobs.event_effects import OccurrenceTable
from predictive_scaling.control.jobs.event_history import EventTable
from predictive_scaling.control.jobs.forecast_refresher import PredictionTable
from predictive_scaling.control.jobs.shadow import ShadowTable
from predictive_scaling.control.jobs.shared_readings import ReadingTable
from predictive_scaling.control.jobs.training import Models
from predictive_scaling.control.jobs.tuning import ForecastHistory, TuningTable
from predictive_scaling.control.policy_publisher import PolicyTable
from predictive_scaling.control.series_suggestions import RecordedSeries
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.settings import Settings
from predictive_scaling.storage.backtests import Backtests
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.external_readings import ExternalReadings
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.storage.shadow_hours import ShadowHours
from predictive_scaling.storage.tunings import Tunings
from predictive_scaling.targets.aws_clients import AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from predictive_scaling.targets.registry import TargetFinder, Targets


class DecisionRows(DecisionTable, DecisionHistory, Protocol):
    """Table scaling_decisions, for the tick."""


class DemandRows(DemandSource, RecordedSeries, Protocol):
    """Table metrics_1m, and the series in it."""


class PredictionRows(PredictionTable, PredictionHistory, ForecastHistory, Protocol):
    """Table predictions."""


class BusinessEventRows(EventTable, OccurrenceTable, Protocol):
    """Table business_events."""


class ServedModels(Forecaster, Models, Protocol):
    """The trained models and what they learned."""

    @property
    def effects(self) -> EffectsOf:
        """The learned effects of business events on a series."""
        ...


@dataclass(frozen=True, slots=True)
class Databases:
    """One pool for the tick and one for background work, so that neither starves the other."""

    tick: Database
    background: Database
    schema: Database
    """Only to check the schema: it is never held."""

    @classmethod
    def of(cls, settings: Settings) -> "Databases":
        """Pools that connect at their first use."""
        url = settings.database_url.get_secret_value()
        quick = timedelta(seconds=2)
        return cls(
            Database(url, purpose="tick", checkout_timeout=quick, statement_timeout=timedelta(seconds=5)),
            Database(url, purpose="operator", checkout_timeout=timedelta(seconds=5)),
            Database(url, purpose="schema", max_size=1, checkout_timeout=timedelta(seconds=5)),
        )

    def hold(self, why: str) -> None:
        """Block reads and writes: every part sees an unavailable database."""
        for database in (self.tick, self.background):
            database.hold(why)

    def release(self) -> None:
        """Allow reads and writes."""
        for database in (self.tick, self.background):
            database.release()

    async def close(self) -> None:
        """Close all connections."""
        for database in (self.tick, self.background, self.schema):
            await database.close()


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside of the operator's process, and the models that it serves."""

    cluster: Cluster
    models: ServedModels
    decisions: DecisionRows
    stuck_decisions: StuckDecisions
    demand: DemandRows
    predictions: PredictionRows
    performances: PerformanceTable
    business_events: BusinessEventRows
    tunings: TuningTable
    commands: CommandTable
    policies: PolicyTable
    external_readings: ReadingTable
    shadow_hours: ShadowTable
    backtests: BacktestTable
    target_finder: Callable[[Cluster, InformerCache], TargetFinder] = Targets
    """Returns what finds the target of a policy."""
    aws: AWSClients = field(default_factory=AWSClients)
    """The clients of the targets in AWS."""
    pools: tuple[Database, ...] = ()
    """The connections of the tables."""

    @classmethod
    def of(cls, settings: Settings, cluster: Cluster, databases: Databases) -> "Ports":
        """The tables in PostgreSQL and the models in the directory of the settings."""
        background, aws = databases.background, AWSClients(settings.aws_roles, NamespacePatterns(settings.aws_groups))
        return cls(
            cluster=cluster,
            models=ModelStore(settings.models_dir, in_memory=settings.models_in_memory),
            decisions=ScalingDecisions(databases.tick),
            stuck_decisions=ScalingDecisions(background),
            demand=Demand(background),
            predictions=Predictions(background),
            performances=ModelPerformances(background),
            business_events=BusinessEvents(background),
            tunings=Tunings(background),
            commands=Commands(background),
            policies=Policies(background),
            external_readings=ExternalReadings(background, settings.namespaces),
            shadow_hours=ShadowHours(background),
            backtests=Backtests(background, settings.namespaces),
            target_finder=partial(Targets, groups=_groups(settings, aws)),
            aws=aws,
            pools=(databases.tick, background),
        )


def _groups(settings: Settings, aws: AWSClients) -> GroupDescriptions:
    """Descriptions of Auto Scaling groups are read once a tick, so they are used for half of one."""
    max_age = parse_clock(settings.clock).real_seconds(settings.tick) / 2
    return GroupDescriptions(aws, max_age)
