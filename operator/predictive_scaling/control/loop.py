"""The tick: every policy is reconciled each time, so that missed changes heal without intervention."""

import asyncio
from collections import Counter as Counts
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from prometheus_client import Counter, Gauge, Histogram

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.cluster.leadership import Leadership
from predictive_scaling.control.actuation.recovery import Recovery
from predictive_scaling.control.event_calendar import EventCalendar
from predictive_scaling.control.jobs.forecast_refresher import ForecastRefresher
from predictive_scaling.control.namespace_turns import NamespaceTurns, grouped
from predictive_scaling.control.policy_publisher import PolicyPublisher
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.reconcile_failures import ReconcileFailures, ReconcileTimedOutError
from predictive_scaling.control.reconciler import ReconcileOutcome, Reconciler
from predictive_scaling.control.situations import Tick
from predictive_scaling.control.target_claims import Claim, TargetClaims
from predictive_scaling.errors import (
    ClusterUnavailableError,
    ExtensionUnavailableError,
    RequestFailedError,
    RequestTimedOutError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.telemetry.tracing import Attributes, Span, span

log = structlog.get_logger(__name__)

TICK_SECONDS = Histogram(
    "predictive_scaling_tick_seconds",
    "Real time of a pass over all policies.",
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
TICKS_FAILED = Counter("predictive_scaling_ticks_failed_total", "Passes over all policies that ended in an error.")
POLICIES = Gauge("predictive_scaling_policies", "Policies in the index.")
OBJECTS_IGNORED = Gauge(
    "predictive_scaling_objects_ignored",
    "Objects that are ignored because their spec can never work; their status has the reason.",
    ["kind", "reason"],
)

RECONCILE_LIMIT_SECONDS = 20.0
"""Maximum real time of a reconciliation; several requests of maximum duration fit into it."""
MAX_TIMEOUTS_IN_A_ROW = 3
"""Consecutive reconciliations that time out before the API server counts as unreachable."""


@dataclass(slots=True)
class Reachability:
    """Whether the API server was reachable in this tick so far."""

    timeouts: int = 0
    lost: bool = False

    def note(self, error: Exception | None) -> None:
        """Record the error that a reconciliation ended with; None if it succeeded."""
        if isinstance(error, ExtensionUnavailableError):
            return  # it shows neither that the API server responds nor that it does not
        if isinstance(error, RequestTimedOutError):
            self.timeouts += 1
            self.lost = self.lost or self.timeouts >= MAX_TIMEOUTS_IN_A_ROW
        elif isinstance(error, ClusterUnavailableError) and not isinstance(error, RequestFailedError):
            self.lost = True
        else:
            self.timeouts = 0


@dataclass(slots=True)
class Loop:
    """Reconciles all policies at each tick. Only a leader acts; a standby keeps its index warm."""

    cache: InformerCache
    index: IndexComparison
    leadership: Leadership
    recovery: Recovery
    states: PolicyStates
    reconciler: Reconciler
    failures: ReconcileFailures
    refresher: ForecastRefresher
    publisher: PolicyPublisher
    clock: Clock
    in_flight: int
    calendar: EventCalendar = field(default_factory=EventCalendar)
    reconcile_limit_seconds: float = RECONCILE_LIMIT_SECONDS
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a tick should come soon."""
    _turns: NamespaceTurns = field(default_factory=NamespaceTurns)
    _begin_with: Mapping[str, PolicyKey] = field(default_factory=dict[str, PolicyKey])
    """For each namespace the policy that a tick reached least recently; empty after a tick that reached all."""
    _ticked_at: datetime | None = None
    _incomplete_since: float | None = None

    def wake(self) -> None:
        """Request a tick; calls before it starts are merged."""
        self.woken.set()

    async def run(self) -> None:
        """One tick, where this process leads."""
        if not self.leadership.leads:
            return
        try:
            await self._run()
        except Exception:  # any failure counts, and the caller handles it
            TICKS_FAILED.inc()
            raise

    @property
    def index_missing_seconds(self) -> float:
        """For how long the index has been incomplete since a tick first needed it; 0 while it is complete."""
        return 0.0 if self._incomplete_since is None else monotonic() - self._incomplete_since

    async def _run(self) -> None:
        if not self.cache.is_complete:
            self._incomplete_since = self._incomplete_since or monotonic()
            await self.index.wait_until_complete()
        self._incomplete_since = None
        if self.leadership.gained.is_set():
            await self.index.compare()
            await self.recovery.run()
            self.leadership.gained.clear()
        await self.recovery.resume()
        began = monotonic()
        with span("tick"):
            await self.tick()
        TICK_SECONDS.observe(monotonic() - began)

    async def tick(self) -> None:
        """Reconcile every policy; a failure of one affects no other, and namespaces take turns."""
        records = self.cache.policies()
        POLICIES.set(len(records))
        self._forget({record.uid for record in records})
        self._count_ignored(records)
        now = self.clock.now()
        self._follow_clock(now)
        around = await self.calendar.around(self.cache.events(), now)
        claims = TargetClaims.of(self._claims(records, now))
        tick = Tick(
            now=now,
            held=claims.held(),
            claims=claims,
            events=grouped(around.upcoming, lambda window: window.event.metadata.namespace),
            known_events=grouped(around.known, lambda known: known.event.metadata.namespace),
            database_problem=self.recovery.records.log.unavailable or self.refresher.database_problem,
            recovering=self.recovery.held(),
        )
        await self._reconcile_all(self._in_order(records), tick)
        self.reconciler.situations.learning.keep_only(
            {record.uid for record in records}, self.states.target_uids(), self.states.capacity_keys()
        )

    def _claims(self, records: Sequence[PolicyRecord], now: datetime) -> list[Claim]:
        """All policies with their states; a status that cannot be read keeps its own policy back only."""
        claims: list[Claim] = []
        for record in records:
            try:
                claims.append(Claim(record, self.states.of(record, now)))
            except Exception:  # no policy may stop the reconciliation of others
                log.exception("status_unreadable", policy=str(record.key))
        return claims

    async def _reconcile_all(self, records: Sequence[PolicyRecord], tick: Tick) -> None:
        before = {(required.key, required.series) for required in self.states.requirements()}
        slots = asyncio.Semaphore(self.in_flight)
        cluster = Reachability()
        reached: list[PolicyKey] = []
        missed: list[PolicyKey] = []

        async def reconcile(record: PolicyRecord) -> None:
            async with slots:
                if cluster.lost or not self.leadership.leads:
                    missed.append(record.key)
                else:
                    reached.append(record.key)
                    await self._reconcile(record, tick, cluster)

        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(reconcile(record))
        self._turns.take(key.namespace for key in reached)
        # The first missed policy of each namespace, or the first reached one where none was missed.
        self._begin_with = {key.namespace: key for key in reversed((*missed, *reached))} if missed else {}
        if cluster.lost:
            TICKS_FAILED.inc()
        if any((required.key, required.series) not in before for required in self.states.requirements()):
            self.refresher.trigger()

    async def _reconcile(self, record: PolicyRecord, tick: Tick, cluster: Reachability) -> None:
        """Reconcile one policy within a time limit. Never raises: a failure is shown in the policy's status."""
        try:
            state = self.states.of(record, tick.now)
            if self.failures.waits(record, state, tick.now):
                return
            with structlog.contextvars.bound_contextvars(policy=str(record.key)):
                error = await self._try(record, state, tick)
            if not cluster.lost:
                cluster.note(error)
            if error is None:
                self.failures.succeeded(state)
            elif cluster.lost:
                # The others would wait for the same time-out; the next tick starts with them.
                log.warning("cluster_unreachable", policy=str(record.key), error=str(error))
            else:
                self._publish(record, await self.failures.show(record, state, tick, error))
        except Exception:  # only a fault in reporting a failure remains; the other policies continue
            log.exception("visit_failed", policy=str(record.key))

    async def _try(self, record: PolicyRecord, state: PolicyState, tick: Tick) -> Exception | None:
        """Return why the reconciliation failed; None if it succeeded."""
        policy = {"k8s.namespace.name": record.key.namespace, "predictive_scaling.policy": record.key.name}
        with span("reconcile", policy) as reconciliation:
            error = await self._error_of(record, state, tick, reconciliation)
            if error is not None:
                reconciliation.fail(type(error).__name__, str(error))
            return error

    async def _error_of(
        self, record: PolicyRecord, state: PolicyState, tick: Tick, reconciliation: Span
    ) -> Exception | None:
        limit = asyncio.timeout(self.reconcile_limit_seconds)
        try:
            async with limit:
                outcome = await self.reconciler.reconcile(record, state, tick)
            self._publish(record, outcome)
            reconciliation.annotate(_floor_attributes(outcome))
        except TimeoutError as error:
            if not limit.expired():
                return error
            seconds = self.reconcile_limit_seconds
            return ReconcileTimedOutError(f"the reconciliation was stopped after {seconds:g} s; it is retried later")
        except Exception as error:  # a failure of one policy affects no other
            return error
        return None

    def _publish(self, record: PolicyRecord, outcome: ReconcileOutcome | None) -> None:
        if outcome is not None:
            self.publisher.stage(record, outcome)

    def _in_order(self, records: list[PolicyRecord]) -> list[PolicyRecord]:
        """Return all policies, one of each namespace in turn; each continues where the last tick ended."""
        rotated: list[PolicyRecord] = []
        for namespace, own in grouped(records, lambda record: record.key.namespace).items():
            begin_with = self._begin_with.get(namespace)
            first = next((at for at, record in enumerate(own) if record.key == begin_with), 0) if begin_with else 0
            rotated += own[first:] + own[:first]
        return self._turns.order(rotated, lambda record: record.key.namespace)

    def _follow_clock(self, now: datetime) -> None:
        """After the clock was stepped back, keep durations as they were."""
        if self._ticked_at is not None and now < self._ticked_at:
            step = now - self._ticked_at
            log.warning("clock_stepped_back", by_seconds=-step.total_seconds())
            self.states.shift(step)
            self.reconciler.verification.shift(step)
        self._ticked_at = now

    def _count_ignored(self, records: Sequence[PolicyRecord]) -> None:
        ignored = Counts(("ScalingPolicy", record.problem.reason) for record in records if record.problem)
        ignored.update(("BusinessEvent", record.problem.reason) for record in self.cache.events() if record.problem)
        OBJECTS_IGNORED.clear()
        for (kind, reason), count in ignored.items():
            OBJECTS_IGNORED.labels(kind, reason).set(count)

    def _forget(self, uids: set[str]) -> None:
        gone = self.states.keep_only(uids)
        for key in gone:
            self.publisher.remove(key)


def _floor_attributes(outcome: ReconcileOutcome | None) -> Attributes:
    if outcome is None or outcome.decision is None or outcome.status.mode is None:
        return {}
    decision = outcome.decision
    return {
        "predictive_scaling.mode": outcome.status.mode.value,
        "predictive_scaling.floor": decision.floor,
        "predictive_scaling.uncapped_floor": decision.uncapped,
        "predictive_scaling.source": decision.source.value,
    }
