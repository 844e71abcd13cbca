"""The tick: every policy is visited, all of them each time, so that whatever was missed heals by itself."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from prometheus_client import Counter, Gauge, Histogram

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.control.concerns import coming, told
from predictive_scaling.control.feed import Feed
from predictive_scaling.control.leadership import Leadership
from predictive_scaling.control.mirror import Mirror
from predictive_scaling.control.recovery import Recovery
from predictive_scaling.control.state import States
from predictive_scaling.control.target_claims import Claim, TargetClaims
from predictive_scaling.control.visit import Tick, Visitor
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError
from predictive_scaling.handlers.index_comparison import IndexComparison
from predictive_scaling.handlers.inventory import Inventory, PolicyRecord

log = structlog.get_logger(__name__)

TICK_SECONDS = Histogram(
    "predictive_scaling_tick_seconds",
    "Real time of a pass over all policies.",
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
VISITS_FAILED = Counter("predictive_scaling_visits_failed_total", "Visits that ended in an error.")
POLICIES = Gauge("predictive_scaling_policies", "Policies in the index.")

_SHORTEST_PAUSE_SECONDS = 0.05
"""Between two ticks, however many wakes there are."""


@dataclass(slots=True)
class Loop:
    """Runs for ever. Only a leader acts; a standby keeps its index warm and its heart beating."""

    inventory: Inventory
    index: IndexComparison
    leadership: Leadership
    recovery: Recovery
    states: States
    visitor: Visitor
    feed: Feed
    mirror: Mirror
    clock: Clock
    every: timedelta
    in_flight: int
    beat_at: float = field(default_factory=monotonic)
    """The monotonic second of the last turn, for liveness."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Ask for a tick soon; many calls are one."""
        self._woken.set()

    async def run(self) -> None:
        """Tick after tick."""
        while True:
            self._woken.clear()
            try:
                await self.turn()
            except PredictiveScalingError as error:
                log.warning("tick_failed", error=str(error))
            except Exception:  # the next tick sees the same world and may do better
                log.exception("tick_failed")
            self.beat_at = monotonic()
            await asyncio.sleep(_SHORTEST_PAUSE_SECONDS)
            try:
                async with asyncio.timeout(self.clock.real_seconds(self.every)):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """One tick, where this process leads."""
        if not self.leadership.leads:
            return
        if not self.inventory.is_complete:
            await self.index.wait_until_complete()
        if self.leadership.gained.is_set():
            await self.index.compare()
            await self.recovery.run()
            self.leadership.gained.clear()
        await self.recovery.take_up()
        began = monotonic()
        await self.tick()
        TICK_SECONDS.observe(monotonic() - began)

    async def tick(self) -> None:
        """Visit every policy; one that fails stops no other."""
        records = self.inventory.policies()
        POLICIES.set(len(records))
        self._forget({record.uid for record in records})
        now = self.clock.now()
        events = [record.event for record in self.inventory.events() if record.event is not None]
        claims = TargetClaims.of(Claim(record, self.states.of(record, now)) for record in records)
        tick = Tick(
            now=now,
            held=claims.held(),
            claims=claims,
            events=coming(events, now),
            told=told(events, now),
            database_problem=self.recovery.records.log.unavailable or self.feed.database_problem,
            recovering=self.recovery.held(),
        )
        await self._visit_all(records, tick)
        self.visitor.capacities.keep_only(self.states.capacity_keys())

    async def _visit_all(self, records: Sequence[PolicyRecord], tick: Tick) -> None:
        known = {(need.key, need.series) for need in self.states.needs()}
        slots = asyncio.Semaphore(self.in_flight)
        broken = asyncio.Event()

        async def visit(record: PolicyRecord) -> None:
            async with slots:
                if not broken.is_set() and self.leadership.leads:
                    await self._visit(record, tick, broken)

        async with asyncio.TaskGroup() as visits:
            for record in records:
                visits.create_task(visit(record))
        if any((need.key, need.series) not in known for need in self.states.needs()):
            self.feed.hurry()

    async def _visit(self, record: PolicyRecord, tick: Tick, broken: asyncio.Event) -> None:
        state = self.states.of(record, tick.now)
        try:
            visited = await self.visitor.visit(record, state, tick)
        except ClusterUnavailableError as error:
            # The others would wait for the same time-out; the next tick asks again.
            if not broken.is_set():
                log.warning("cluster_away", policy=str(record.key), error=str(error))
            broken.set()
        except Exception:  # one policy's failure is its own
            VISITS_FAILED.inc()
            log.exception("visit_failed", policy=str(record.key))
        else:
            if visited is not None:
                self.mirror.take(record, visited)

    def _forget(self, uids: set[str]) -> None:
        for gone in self.states.keep_only(uids):
            self.mirror.forget(gone)
