"""A world with a tuning scheduler, for tests of the tuning of quantiles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from forecasting.scaling.frontier import Point
from forecasting.scaling.tuner import update
from predictive_scaling.control.jobs.tuning import TuningScheduler
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.tunings import TuningRow
from predictive_scaling.tuning.task import Failed, Task, Tuning, prices_of
from tests.support.builders import a_policy
from tests.support.control import World

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
KEY = PolicyKey("shop", "checkout")


def a_priced_policy(minute: str = "1", hour: str = "0.5", **spec: Any) -> ScalingPolicy:
    return a_policy(forecast={"objective": {"underProvisionedMinute": minute, "replicaHour": hour}}, **spec)


@dataclass
class Tables:
    """The tables tunings, predictions and business_events."""

    rows: dict[PolicyKey, TuningRow] = field(default_factory=dict[PolicyKey, TuningRow])
    queries: list[tuple[datetime, datetime, timedelta, timedelta]] = field(default_factory=list[Any])
    event_rows: list[BusinessEventRow] = field(default_factory=list[BusinessEventRow])

    async def all(self) -> Sequence[TuningRow]:
        return list(self.rows.values())

    async def record(self, rows: Sequence[TuningRow]) -> None:
        self.rows |= {PolicyKey(row.namespace, row.policy): row for row in rows}

    async def forget(self, policies: Sequence[tuple[str, str]]) -> None:
        for key in policies:
            self.rows.pop(PolicyKey(*key), None)

    async def at_intervals(
        self, namespace: str, policy: str, *, since: datetime, until: datetime, interval: timedelta, reach: timedelta
    ) -> bytes:
        self.queries.append((since, until, interval, reach))
        return b""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        return [row for row in self.event_rows if row.start_time < until and row.end_time > since]


class TuningScene:
    """A world with a tuning scheduler whose studies return the frontier that a test sets."""

    def __init__(self, *policies: ScalingPolicy) -> None:
        self.world = World(*(policies or (a_priced_policy(),)))
        self.tables = Tables()
        self.studied: list[Task] = []
        self.costs = {0.8: 200.0, 0.9: 100.0, 0.95: 120.0}
        """Short minutes at each quantile."""
        self.failure: str | None = None
        self.job = self.a_scheduler()

    def a_scheduler(self) -> TuningScheduler:
        world, tables = self.world, self.tables
        world.tunings.moved.clear()  # this scheduler replaces the one of the operator
        return TuningScheduler(
            *(tables, tables, tables, world.tunings, world.window, world.states),
            *(world.informer_cache, world.events, world.clock),
            interval=6 * HOUR,
            study=self.study,
            rest=0.0,
        )

    async def study(self, tasks: Sequence[Task]) -> Sequence[Tuning | Failed]:
        self.studied += tasks
        return [Failed(self.failure) if self.failure else self.result(task) for task in tasks]

    def result(self, task: Task) -> Tuning:
        target = task.hpa_target
        points = tuple(Point(quantile, target, 0.01, 0.001, cost, 0.0) for quantile, cost in self.costs.items())
        prices = prices_of(parse_policy(task.policy).spec)
        held = update(task.tuner_state, points, prices, task.now) if prices else None
        return Tuning(
            since=task.now - 7 * DAY,
            until=task.now,
            recorded_share=0.5,
            hpa_target=target,
            prices=prices,
            points=points,
            hpa_only=Point(0.0, target, 0.02, 0.002, 300.0, 0.0),
            tuner_state=held,
            quantile=held.quantile if held else 0.9,
            advised=target + 0.12,
            saved=0.09,
            hours_saved=120.04,
            message="with this policy the HPA's target may go from 70 % to 82 %",
        )

    async def turn(self, later: timedelta = timedelta()) -> None:
        """Advance the clock, run the loop, the scheduler, and the loop again."""
        self.world.clock.advance(later)
        self.world.source.until = self.world.clock.now() + DAY
        await self.world.turn(2)
        await self.job.run()
        await self.world.turn(2)

    async def tuned_notes(self) -> list[str]:
        """The notes of all QuantileTuned Events so far."""
        await self.world.events.send()
        events = [body for path, body in self.world.cluster.objects.items() if "/events/" in path]
        return [event["note"] for event in events if event["reason"] == "QuantileTuned"]
