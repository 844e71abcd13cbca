"""Wires the parts of the operator; the only place that knows all of them."""

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.client import Cluster
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.kubernetes_events import KubernetesEvents
from predictive_scaling.cluster.leadership import Leadership, LeaseTerms
from predictive_scaling.control.actuation.decision_log import DecisionLog
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.execution import FAILURES, Execution
from predictive_scaling.control.actuation.recovery import Recovery
from predictive_scaling.control.actuation.restoration import Restoration
from predictive_scaling.control.actuation.verification import Verification
from predictive_scaling.control.capacity import Capacities
from predictive_scaling.control.current_forecasts import ForecastProvider
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.event_calendar import EventCalendar
from predictive_scaling.control.jobs.accuracy import EVERY as ACCURACY_EVERY
from predictive_scaling.control.jobs.accuracy import Accuracy
from predictive_scaling.control.jobs.aggregated_metrics import AggregatedMetrics
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.control.jobs.commands import CommandHandler
from predictive_scaling.control.jobs.event_effects import EVERY as EVENT_EFFECTS_EVERY
from predictive_scaling.control.jobs.event_effects import EventEffects
from predictive_scaling.control.jobs.forecast_refresher import ForecastRefresher
from predictive_scaling.control.jobs.shared_readings import SharedReadings
from predictive_scaling.control.jobs.training import TrainingScheduler
from predictive_scaling.control.jobs.tuning import TuningScheduler
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.control.loop import Loop
from predictive_scaling.control.policy_publisher import PolicyPublisher
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.reconcile_failures import ReconcileFailures
from predictive_scaling.control.reconciler import Reconciler
from predictive_scaling.control.sources import ExternalMetricSink, RollupDemand
from predictive_scaling.control.status_writer import StatusWriter
from predictive_scaling.control.tuning_cache import TuningCache
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles
from predictive_scaling.external_metrics.values import ExternalMetricStore
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.handlers.watch import Watch
from predictive_scaling.periodic_task import PeriodicTask
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.settings import Settings
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.external_readings import ExternalReadings
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.storage.tunings import Tunings
from predictive_scaling.targets.registry import Targets

_MIRROR_SECONDS = 0.5
_EVENTS_SECONDS = 10.0
_COMMANDS_SECONDS = 1.0
_COMMANDS_MAX_SECONDS = 10.0
_TRUST_SECONDS = 600.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


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
class Operator:
    """All parts, wired."""

    watch: Watch
    leadership: Leadership
    training: TrainingScheduler
    tasks: tuple[PeriodicTask, ...]
    """All background work, each part of it on its own."""
    external_metrics: ExternalMetricStore
    cache: InformerCache
    loop: Loop
    aggregated: AggregatedMetrics | None
    """External metrics; None where they are not served."""

    def task(self, name: str) -> PeriodicTask:
        """The task of that name."""
        return next(task for task in self.tasks if task.name == name)


def assemble(settings: Settings, clock: Clock, cluster: Cluster, databases: Databases) -> Operator:
    """Build the parts of the operator for the running event loop; nothing is started."""
    here = asyncio.get_running_loop()
    informer_cache = InformerCache(cluster)
    find = Targets(cluster, informer_cache)
    terms = LeaseTerms(settings.lease_duration.total_seconds())
    leadership = Leadership(cluster, lease_namespace(settings), settings.lease_name, terms)
    events, states, lead_times = (
        KubernetesEvents(cluster, leadership.identity),
        PolicyStates(),
        LeadTimes(settings.default_lead_time),
    )
    decisions, model_store, board = (
        ScalingDecisions(databases.tick),
        ModelStore(settings.models_dir, in_memory=settings.models_in_memory),
        ExternalMetricStore(is_complete=False),
    )
    records = DecisionRecords(cluster, DecisionLog(decisions), clock, settings.decisions_kept, settings.namespaces)
    verification = Verification(records, lead_times, events, clock, FAILURES)
    window = DemandWindow(RollupDemand(Demand(databases.background)))
    limits = {"refresh": settings.forecast_refresh, "metrics_max_age": settings.metrics_max_age}
    forecasts = ForecastProvider(model_store, window, **limits, effects=model_store.effects)
    execution = Execution(cluster, records, leadership, verification, events, clock, settings.verification_patience)
    choices = TuningCache(clock)
    visitor = Reconciler(
        find=find,
        window=window,
        forecasts=forecasts,
        lead_times=lead_times,
        capacities=Capacities(),
        tunings=choices,
        execution=execution,
        verification=verification,
        restoration=Restoration(cluster, find, events),
        status_writer=StatusWriter(cluster, informer_cache, clock),
        events=events,
        refresh=settings.forecast_refresh,
        metrics_max_age=settings.metrics_max_age,
    )
    recovery = Recovery(informer_cache, decisions, records, states, verification, find, clock)
    publisher = PolicyPublisher(
        Policies(databases.background),
        ExternalMetricSink(board),
        clock,
        settings.metrics_max_age,
        lambda: [record.key for record in informer_cache.policies()],
        lambda: leadership.leads and informer_cache.is_complete,
        settings.namespaces,
    )

    def wake() -> None:
        here.call_soon_threadsafe(loop.wake)

    feed = ForecastRefresher(window, forecasts, states, Predictions(databases.background), clock, wake)
    index = IndexComparison(cluster, informer_cache, settings.namespaces)
    calendar = EventCalendar()
    loop = Loop(
        cache=informer_cache,
        index=index,
        leadership=leadership,
        recovery=recovery,
        states=states,
        reconciler=visitor,
        failures=ReconcileFailures(visitor, events),
        refresher=feed,
        publisher=publisher,
        clock=clock,
        in_flight=settings.writes_in_flight,
        calendar=calendar,
    )

    def leads() -> bool:
        return leadership.leads

    models = TrainingScheduler(
        model_store,
        window,
        states,
        informer_cache,
        events,
        BusinessEvents(databases.background),
        clock,
        interval=settings.training_interval,
        trains=settings.train_from_operator,
        span=settings.training_span,
    )
    desk = BusinessEventController(
        cluster,
        informer_cache,
        BusinessEvents(databases.background),
        clock,
        leads,
        effects=model_store.effects,
        calendar=calendar,
        namespaces=settings.namespaces,
    )
    accuracy = Accuracy(
        Predictions(databases.background), ModelPerformances(databases.background), window, states, clock
    )
    event_effects = EventEffects(informer_cache, BusinessEvents(databases.background), model_store.effects, clock)
    tuning = TuningScheduler(
        Predictions(databases.background),
        BusinessEvents(databases.background),
        Tunings(databases.background),
        *(choices, window, states, informer_cache, events, clock),
        interval=settings.tuning_interval,
    )
    commands = CommandHandler(
        Commands(databases.background),
        ScalingDecisions(databases.background),
        *(records, verification, states, models, clock, leads),
    )
    tick, refresh = clock.real_seconds(settings.tick), clock.real_seconds(settings.forecast_refresh)
    accuracy_every = clock.real_seconds(ACCURACY_EVERY)
    tasks = (
        PeriodicTask(
            "lease", leadership.campaign, terms.retry_seconds, on_standby=True, max_pause_seconds=terms.retry_seconds
        ),
        PeriodicTask("tick", loop.run, tick, on_standby=True, max_pause_seconds=tick, woken=loop.woken),
        PeriodicTask("feed", feed.run, tick, on_standby=True, max_pause_seconds=tick, woken=feed.triggered),
        PeriodicTask("kubernetes_events", events.send, _EVENTS_SECONDS, on_standby=True, woken=events.queued),
        PeriodicTask("mirror", publisher.write, _MIRROR_SECONDS, on_standby=True),
        PeriodicTask("verification", verification.run, tick / 2, max_pause_seconds=tick),
        PeriodicTask("commands", commands.run, _COMMANDS_SECONDS, max_pause_seconds=_COMMANDS_MAX_SECONDS),
        PeriodicTask("business_events", desk.run, tick),
        PeriodicTask("accuracy", accuracy.run, accuracy_every),
        PeriodicTask("event_effects", event_effects.run, clock.real_seconds(EVENT_EFFECTS_EVERY)),
        PeriodicTask("models", models.reload, tick, on_standby=True),
        PeriodicTask("trainings", models.run, refresh),
        PeriodicTask("tuning", tuning.run, tick),
        PeriodicTask("decision_rows", recovery.catch_up, tick),
        PeriodicTask("index", index.run, tick),
    )
    aggregated = _aggregated(settings, clock, cluster, board)
    if aggregated is not None:
        readings = SharedReadings(
            ExternalReadings(databases.background, settings.namespaces), board, informer_cache, leads
        )
        tasks += (
            PeriodicTask("external_metrics", aggregated.refresh, _TRUST_SECONDS, on_standby=True),
            PeriodicTask("external_readings", readings.run, tick, on_standby=True, max_pause_seconds=tick),
        )

    def wake_all() -> None:
        for task in tasks:
            task.woken.set()

    leadership.on_gained = wake_all
    return Operator(
        watch=Watch(HandlerContext(informer_cache, wake), settings.namespaces),
        leadership=leadership,
        training=models,
        tasks=tasks,
        external_metrics=board,
        cache=informer_cache,
        loop=loop,
        aggregated=aggregated,
    )


def _aggregated(
    settings: Settings, clock: Clock, cluster: Cluster, board: ExternalMetricStore
) -> AggregatedMetrics | None:
    certificate, key = settings.external_metrics_certificate, settings.external_metrics_key
    if not settings.external_metrics or certificate is None or key is None:
        return None
    files = ServingFiles(certificate, key)

    def make(trust: AggregatorTrust) -> ExternalMetricsServer:
        return ExternalMetricsServer(
            board, clock, files, trust, host=settings.host, port=settings.external_metrics_port
        )

    return AggregatedMetrics(cluster, make)


def lease_namespace(settings: Settings) -> str:
    """Where the Lease is: as set, or the pod's own namespace, or `default` outside a cluster."""
    if settings.lease_namespace:
        return settings.lease_namespace
    if "KUBERNETES_SERVICE_HOST" in os.environ and _NAMESPACE_FILE.is_file():
        return _NAMESPACE_FILE.read_text().strip()
    return "default"
