"""Wires the parts of the operator; the only place that knows all of them."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.client import Cluster
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.kubernetes_events import KubernetesEvents
from predictive_scaling.cluster.leadership import Leadership, LeaseTerms, process_identity
from predictive_scaling.control.actuation.decision_log import DecisionLog
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.execution import FAILURES, Execution
from predictive_scaling.control.actuation.headroom_objects import PlaceholderOptions
from predictive_scaling.control.actuation.headroom_writer import HeadroomWriter
from predictive_scaling.control.actuation.pod_reader import ClusterPodReader
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
from predictive_scaling.control.jobs.backtest_tasks import BacktestLimits
from predictive_scaling.control.jobs.backtests import BacktestController
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.control.jobs.commands import CommandHandler
from predictive_scaling.control.jobs.event_effects import EVERY as EVENT_EFFECTS_EVERY
from predictive_scaling.control.jobs.event_effects import EventEffects
from predictive_scaling.control.jobs.forecast_refresher import ForecastRefresher
from predictive_scaling.control.jobs.indicator_studies import IndicatorStudies
from predictive_scaling.control.jobs.multiplier_reviews import MultiplierReviews
from predictive_scaling.control.jobs.node_headroom import NodeHeadroomController
from predictive_scaling.control.jobs.shadow import EVERY as SHADOW_EVERY
from predictive_scaling.control.jobs.shadow import ShadowAccounts
from predictive_scaling.control.jobs.shared_readings import SharedReadings
from predictive_scaling.control.jobs.training import TrainingScheduler
from predictive_scaling.control.jobs.tuning import TuningScheduler
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.control.leading_indicators import LeadingIndicators
from predictive_scaling.control.learned_changes import LearnedChanges
from predictive_scaling.control.learning import Learning
from predictive_scaling.control.loop import Loop
from predictive_scaling.control.policy_publisher import ExternalMetricSink, PolicyPublisher
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.reconcile_failures import ReconcileFailures
from predictive_scaling.control.reconciler import Reconciler
from predictive_scaling.control.series_suggestions import SeriesSuggestions
from predictive_scaling.control.situations import SituationReader
from predictive_scaling.control.status_writer import StatusWriter
from predictive_scaling.control.tuning_cache import TuningCache
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles
from predictive_scaling.external_metrics.values import ExternalMetricStore
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.handlers.watch import Watch
from predictive_scaling.periodic_task import PeriodicTask
from predictive_scaling.ports import Ports
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.settings import Settings
from predictive_scaling.targets.aws_clients import AWSClients

_MIRROR_SECONDS = 0.5
_SUGGESTIONS_SECONDS = 60.0
_EVENTS_SECONDS = 10.0
_COMMANDS_SECONDS = 1.0
_COMMANDS_MAX_SECONDS = 10.0
_BACKTESTS_SECONDS = 2.0
_TRUST_SECONDS = 600.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


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
    aws: AWSClients
    """Sends requests in threads, which end later than the tasks."""

    def task(self, name: str) -> PeriodicTask:
        """The task of that name."""
        return next(task for task in self.tasks if task.name == name)


@dataclass(frozen=True, slots=True)
class Jobs:
    """Background work apart from the loop."""

    training: TrainingScheduler
    business_events: BusinessEventController
    accuracy: Accuracy
    event_effects: EventEffects
    tuning: TuningScheduler
    shadow: ShadowAccounts
    commands: CommandHandler
    aggregated: AggregatedMetrics | None
    readings: SharedReadings
    node_headroom: NodeHeadroomController
    backtests: BacktestController
    suggestions: SeriesSuggestions
    indicator_studies: IndicatorStudies


def assemble(settings: Settings, clock: Clock, ports: Ports, *, identity: str | None = None) -> Operator:
    """Return the parts of the operator, wired; nothing is started. No I/O.

    identity: the name of this process in the Lease; host, process and a random part by default.
    """
    unfenced, models = ports.cluster, ports.models
    terms = LeaseTerms(settings.lease_duration.total_seconds())
    leadership = Leadership(
        unfenced, lease_namespace(settings), settings.lease_name, terms, identity or process_identity()
    )

    def leads() -> bool:
        return leadership.leads

    def may_act() -> bool:
        return not leadership.is_over

    cluster = unfenced.fenced(leads)
    ports.aws.may_write = leads
    for pool in ports.pools:
        pool.may_use = may_act
    informer_cache = InformerCache(
        unfenced,
        NamespacePatterns(settings.namespace_services),
        settings.max_policies_per_namespace,
        settings.max_events_per_namespace,
    )
    find = ports.target_finder(cluster, informer_cache)
    events, states = KubernetesEvents(unfenced.fenced(may_act), leadership.identity), PolicyStates()
    learning = Learning(LeadTimes(settings.default_lead_time), Capacities(), LearnedChanges(events, clock))
    tunings = TuningCache(clock)
    records = DecisionRecords(
        cluster, DecisionLog(ports.decisions), clock, settings.decisions_kept, settings.namespaces
    )
    headroom = HeadroomWriter(
        cluster,
        PlaceholderOptions(settings.placeholder_image, settings.placeholder_priority_class),
        settings.namespaces,
    )
    verification = Verification(records, learning, events, clock, FAILURES, ClusterPodReader(cluster))
    window = DemandWindow(ports.demand)
    suggestions = SeriesSuggestions(ports.demand, NamespacePatterns(settings.namespace_services), clock)
    forecasts = ForecastProvider(
        models,
        window,
        refresh=settings.forecast_refresh,
        metrics_max_age=settings.metrics_max_age,
        effects=models.effects,
        indicators=LeadingIndicators(window, suggestions.nearest),
    )
    reconciler = Reconciler(
        find=find,
        situations=SituationReader(window, forecasts, learning, tunings, settings.metrics_max_age, suggestions),
        tunings=tunings,
        execution=Execution(
            *(cluster, records, leadership, verification, headroom, events, clock), settings.verification_patience
        ),
        verification=verification,
        restoration=Restoration(cluster, find, events),
        status_writer=StatusWriter(cluster, informer_cache, clock),
        events=events,
    )
    metric_store = ExternalMetricStore(is_complete=False)
    publisher = PolicyPublisher(
        ports.policies,
        ExternalMetricSink(metric_store),
        clock,
        settings.metrics_max_age,
        lambda: [record.key for record in informer_cache.policies()],
        lambda: leadership.leads and informer_cache.is_complete,
        settings.namespaces,
    )
    calendar, woken = EventCalendar(), asyncio.Event()
    loop = Loop(
        cache=informer_cache,
        index=IndexComparison(unfenced, informer_cache, settings.namespaces),
        leadership=leadership,
        recovery=Recovery(informer_cache, ports.decisions, records, states, verification, find, clock),
        states=states,
        reconciler=reconciler,
        failures=ReconcileFailures(reconciler, events),
        refresher=ForecastRefresher(window, forecasts, states, ports.predictions, clock, woken.set),
        publisher=publisher,
        clock=clock,
        in_flight=settings.writes_in_flight,
        calendar=calendar,
        woken=woken,
    )
    training = TrainingScheduler(
        models,
        window,
        states,
        informer_cache,
        events,
        ports.business_events,
        clock,
        interval=settings.training_interval,
        trains=settings.train_from_operator,
        span=settings.training_span,
    )
    jobs = Jobs(
        training=training,
        business_events=BusinessEventController(
            cluster,
            informer_cache,
            ports.business_events,
            clock,
            leads,
            effects=models.effects,
            calendar=calendar,
            namespaces=settings.namespaces,
            reviews=MultiplierReviews(states, forecasts, window, events),
        ),
        accuracy=Accuracy(ports.predictions, ports.performances, window, states, clock),
        event_effects=EventEffects(informer_cache, ports.business_events, models.effects, clock),
        tuning=TuningScheduler(
            ports.predictions,
            ports.business_events,
            ports.tunings,
            *(tunings, window, states, informer_cache, events, clock),
            interval=settings.tuning_interval,
        ),
        shadow=ShadowAccounts(ports.shadow_hours, window, states, informer_cache, clock, settings.namespaces),
        commands=CommandHandler(
            ports.commands, ports.stuck_decisions, *(records, verification, states, training, clock, leads)
        ),
        aggregated=_aggregated(settings, clock, unfenced, metric_store),
        readings=SharedReadings(ports.external_readings, metric_store, informer_cache, leads),
        node_headroom=NodeHeadroomController(
            *(headroom, informer_cache, states, clock, leads, settings.writes_in_flight),
        ),
        backtests=BacktestController(
            *(cluster, informer_cache, find, ports.backtests, clock, leads, BacktestLimits.of(settings)),
            namespaces=settings.namespaces,
        ),
        suggestions=suggestions,
        indicator_studies=IndicatorStudies(models, forecasts.indicators, clock),
    )
    tasks = _periodic_tasks(settings, clock, loop, jobs)

    def wake_all() -> None:
        for task in tasks:
            task.woken.set()

    leadership.on_gained = wake_all
    return Operator(
        watch=Watch(HandlerContext(informer_cache, loop.wake), settings.namespaces),
        leadership=leadership,
        training=training,
        tasks=tasks,
        external_metrics=metric_store,
        cache=informer_cache,
        loop=loop,
        aggregated=jobs.aggregated,
        aws=ports.aws,
    )


def _periodic_tasks(settings: Settings, clock: Clock, loop: Loop, jobs: Jobs) -> tuple[PeriodicTask, ...]:
    leadership, tick = loop.leadership, clock.real_seconds(settings.tick)
    retry = leadership.terms.retry_seconds
    feed, events = loop.refresher, loop.reconciler.events
    tasks = (
        PeriodicTask("lease", leadership.campaign, retry, on_standby=True, max_pause_seconds=retry),
        PeriodicTask("tick", loop.run, tick, on_standby=True, max_pause_seconds=tick, woken=loop.woken),
        PeriodicTask("feed", feed.run, tick, on_standby=True, max_pause_seconds=tick, woken=feed.triggered),
        PeriodicTask("kubernetes_events", events.send, _EVENTS_SECONDS, on_standby=True, woken=events.queued),
        PeriodicTask("mirror", loop.publisher.write, _MIRROR_SECONDS, on_standby=True),
        PeriodicTask("verification", loop.reconciler.verification.run, tick / 2, max_pause_seconds=tick),
        PeriodicTask("commands", jobs.commands.run, _COMMANDS_SECONDS, max_pause_seconds=_COMMANDS_MAX_SECONDS),
        PeriodicTask("business_events", jobs.business_events.run, tick),
        PeriodicTask("accuracy", jobs.accuracy.run, clock.real_seconds(ACCURACY_EVERY)),
        PeriodicTask("event_effects", jobs.event_effects.run, clock.real_seconds(EVENT_EFFECTS_EVERY)),
        PeriodicTask("shadow_minutes", jobs.shadow.observe, tick),
        PeriodicTask("shadow_accounts", jobs.shadow.run, clock.real_seconds(SHADOW_EVERY)),
        PeriodicTask("models", jobs.training.reload, tick, on_standby=True),
        PeriodicTask("trainings", jobs.training.run, clock.real_seconds(settings.forecast_refresh)),
        PeriodicTask("tuning", jobs.tuning.run, tick),
        PeriodicTask("regressor_studies", jobs.indicator_studies.run, tick, on_standby=True),
        PeriodicTask("node_headroom", jobs.node_headroom.run, tick),
        PeriodicTask("backtests", jobs.backtests.run, _BACKTESTS_SECONDS, on_standby=True),
        PeriodicTask("series_suggestions", jobs.suggestions.run, _SUGGESTIONS_SECONDS),
        PeriodicTask("decision_rows", loop.recovery.catch_up, tick),
        PeriodicTask("index", loop.index.run, tick),
    )
    if jobs.aggregated is None:
        return tasks
    return (
        *tasks,
        PeriodicTask("external_metrics", jobs.aggregated.refresh, _TRUST_SECONDS, on_standby=True),
        PeriodicTask("external_readings", jobs.readings.run, tick, on_standby=True, max_pause_seconds=tick),
    )


def _aggregated(
    settings: Settings, clock: Clock, cluster: Cluster, metric_store: ExternalMetricStore
) -> AggregatedMetrics | None:
    certificate, key = settings.external_metrics_certificate, settings.external_metrics_key
    if not settings.external_metrics or certificate is None or key is None:
        return None
    files = ServingFiles(certificate, key)

    def make(trust: AggregatorTrust) -> ExternalMetricsServer:
        return ExternalMetricsServer(
            metric_store, clock, files, trust, host=settings.host, port=settings.external_metrics_port
        )

    return AggregatedMetrics(cluster, make)


def lease_namespace(settings: Settings) -> str:
    """Where the Lease is: as set, or the pod's own namespace, or `default` outside a cluster."""
    if settings.lease_namespace:
        return settings.lease_namespace
    if "KUBERNETES_SERVICE_HOST" in os.environ and _NAMESPACE_FILE.is_file():
        return _NAMESPACE_FILE.read_text().strip()
    return "default"
