"""The replay: waits while demand is sent, and records the state of the live objects."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from rich.console import Console

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.demo.manifests import LEAD_TIME, NAMESPACE, POLICY
from predictive_scaling.stack.demo.measure import (
    EVALUATED_AHEAD,
    Band,
    Observation,
    compare,
    forecast_quality,
    is_evaluated,
)
from predictive_scaling.stack.demo.observe import Observer
from predictive_scaling.stack.demo.processes import cpu_seconds
from predictive_scaling.stack.demo.replay_record import BIN, DecisionLine, ReplayRecord
from predictive_scaling.stack.demo.result import LearnedMatch, Result
from predictive_scaling.stack.demo.same_hours import hpa_at_same_hours
from predictive_scaling.stack.demo.scenario import DemoScenario
from predictive_scaling.stack.demo.table import LiveTable, TableRow
from predictive_scaling.stack.demo.workload import MINUTE
from predictive_scaling.stack.processes import Child
from predictive_scaling.stack.progress import Notify
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.predictions import Predictions

_OBSERVATION_INTERVAL = timedelta(seconds=15)
_OBSERVATIONS_PER_ROW = 4
_MAX_SETTLING_TIME = timedelta(minutes=60)
"""Of the demo's time, for the last decisions to be verified."""


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """The running processes and connections that a replay needs."""

    scenario: DemoScenario
    clock: ReplayClock
    observer: Observer
    sending: asyncio.Task[None]
    """Sends the demand; it ends only when it breaks."""
    database_url: str
    children: tuple[Child, ...]

    async def sleep(self, duration: timedelta) -> None:
        """Wait for a duration of demo time. Raises the error of the producer, or StackError for an ended process."""
        await asyncio.wait([self.sending], timeout=self.clock.real_seconds(duration))
        if self.sending.done():
            self.sending.result()
        for child in self.children:
            if not child.running:
                raise StackError(f"{child.name} ended during the replay; see {child.log}")


async def replay(demo: RunningDemo, console: Console, notify: Notify) -> ReplayRecord:
    """Observe the window, wait until its last decision has finished, and return the record."""
    scenario = demo.scenario
    await demo.sleep(scenario.begins_at - demo.clock.now())
    cpu_before, started_at = [cpu_seconds(child) for child in demo.children], monotonic()
    observations = await _observe_window(demo, console)
    _report_cpu_shares(demo.children, cpu_before, monotonic() - started_at, notify)
    await _await_final_decisions(demo)
    decisions = await demo.observer.decisions(scenario.begins_at, scenario.ends_at)
    learned = await demo.observer.learned(scenario.matches)
    predictions = await _forecasts(scenario, demo.database_url)
    forecasts = [(row.target_time, Band(row.p50, row.p90)) for row in predictions]
    models = Counter(row.model_name for row in predictions)
    return ReplayRecord(
        scenario,
        demo.clock.rate,
        tuple(observations),
        tuple(forecasts),
        models.most_common(1)[0][0] if models else "",
        tuple(decisions),
        _result(scenario, observations, forecasts, decisions, learned),
    )


async def _observe_window(demo: RunningDemo, console: Console) -> list[Observation]:
    scenario, clock, observer = demo.scenario, demo.clock, demo.observer
    observations = list[Observation]()
    with LiveTable(scenario, console) as table:
        due = clock.now()
        while (now := clock.now()) < scenario.ends_at:
            observations.append(await observer.observe(now, scenario.demand_at(now)))
            if len(observations) % _OBSERVATIONS_PER_ROW == 1:
                so_far = compare(observations, observations[-1].at, scenario.per_replica)
                table.show(TableRow(observations[-1], await observer.band(now + LEAD_TIME), so_far))
            due = max(due + _OBSERVATION_INTERVAL, clock.now())
            await demo.sleep(due - clock.now())
    return observations


async def _await_final_decisions(demo: RunningDemo) -> None:
    while (
        await demo.observer.has_unfinished_decisions() and demo.clock.now() < demo.scenario.ends_at + _MAX_SETTLING_TIME
    ):
        await demo.sleep(MINUTE)


async def _forecasts(scenario: DemoScenario, database_url: str) -> list[Prediction]:
    async with Database(database_url, purpose="demo", max_size=1) as database:
        predictions = await Predictions(database).ahead(
            EVALUATED_AHEAD, scenario.begins_at, scenario.ends_at, (NAMESPACE, POLICY)
        )
    return [point for point in predictions if is_evaluated(point.created_at, point.target_time)]


def _result(
    scenario: DemoScenario,
    observations: Sequence[Observation],
    forecasts: Sequence[tuple[datetime, Band]],
    decisions: Sequence[DecisionLine],
    learned: tuple[LearnedMatch, ...],
) -> Result:
    def actual(begin: datetime) -> float:
        return float(np.mean([scenario.demand_at(begin + minute * MINUTE) for minute in range(BIN // MINUTE)]))

    comparison = compare(observations, scenario.ends_at, scenario.per_replica)
    return Result(
        trace=scenario.demand.name,
        minutes=scenario.minutes,
        comparison=comparison,
        same_hours=hpa_at_same_hours(scenario.replayed(), scenario.per_replica, comparison.hours_ratio),
        decisions=len(decisions),
        failed_decisions=sum(not decision.ended_well for decision in decisions),
        forecast=forecast_quality([(band, actual(at)) for at, band in forecasts]),
        learned=learned,
    )


def _report_cpu_shares(children: Sequence[Child], before: Sequence[float], seconds: float, notify: Notify) -> None:
    shares = [
        f"{child.name} {100 * (cpu_seconds(child) - used) / seconds:.0f} %"
        for child, used in zip(children, before, strict=True)
    ]
    notify(f"CPU during the replay, in percent of one core: {', '.join(shares)}")
