"""The replay itself: demand goes in, and what the live objects show is written down."""

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
from predictive_scaling.stack.demo.measure import JUDGED_AHEAD, Band, Observation, compare, forecast_quality
from predictive_scaling.stack.demo.observe import Observer
from predictive_scaling.stack.demo.processes import cpu_seconds
from predictive_scaling.stack.demo.result import Result
from predictive_scaling.stack.demo.same_hours import hpa_at_same_hours
from predictive_scaling.stack.demo.scenario import DemoScenario
from predictive_scaling.stack.demo.story import BIN, DecisionLine, Story
from predictive_scaling.stack.demo.table import LiveTable, Moment
from predictive_scaling.stack.demo.traces import MINUTE
from predictive_scaling.stack.processes import Child
from predictive_scaling.stack.progress import Say
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.predictions import Prediction, Predictions

_LOOK_EVERY = timedelta(seconds=15)
_LOOKS_A_ROW = 4
_SETTLE = timedelta(minutes=60)
"""Of the demo's time, for the last decisions to be verified."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a replay needs, already running."""

    scenario: DemoScenario
    clock: ReplayClock
    observer: Observer
    feeding: asyncio.Task[None]
    """Sends the demand; it ends only when it breaks."""
    database_url: str
    children: tuple[Child, ...]

    async def sleep(self, duration: timedelta) -> None:
        """Wait for some of the demo's time. Raises what broke the feed, and StackError for a process that ended."""
        await asyncio.wait([self.feeding], timeout=self.clock.real_seconds(duration))
        if self.feeding.done():
            self.feeding.result()
        for child in self.children:
            if not child.running:
                raise StackError(f"{child.name} ended in the middle of the replay; see {child.log}")


async def replay(stage: Stage, console: Console, say: Say) -> Story:
    """The window from its beginning to its end, and until its last decision has ended."""
    scenario = stage.scenario
    await stage.sleep(scenario.begins_at - stage.clock.now())
    used, began = [cpu_seconds(child) for child in stage.children], monotonic()
    observations = await _watch(stage, console)
    _tell_load(stage.children, used, monotonic() - began, say)
    await _settle(stage)
    decisions = await stage.observer.decisions(scenario.begins_at, scenario.ends_at)
    made = await _forecasts(scenario, stage.database_url)
    forecasts = [(row.target_time, Band(row.p50, row.p90)) for row in made]
    models = Counter(row.model_name for row in made)
    return Story(
        scenario,
        stage.clock.rate,
        tuple(observations),
        tuple(forecasts),
        models.most_common(1)[0][0] if models else "",
        tuple(decisions),
        _result(scenario, observations, forecasts, decisions),
    )


async def _watch(stage: Stage, console: Console) -> list[Observation]:
    scenario, clock, observer = stage.scenario, stage.clock, stage.observer
    observations = list[Observation]()
    with LiveTable(scenario, console) as table:
        due = clock.now()
        while (now := clock.now()) < scenario.ends_at:
            observations.append(await observer.observe(now, scenario.demand_at(now)))
            if len(observations) % _LOOKS_A_ROW == 1:
                so_far = compare(observations, observations[-1].at, scenario.per_replica)
                table.show(Moment(observations[-1], await observer.band(now + LEAD_TIME), so_far))
            due = max(due + _LOOK_EVERY, clock.now())
            await stage.sleep(due - clock.now())
    return observations


async def _settle(stage: Stage) -> None:
    while await stage.observer.decides() and stage.clock.now() < stage.scenario.ends_at + _SETTLE:
        await stage.sleep(MINUTE)


async def _forecasts(scenario: DemoScenario, database_url: str) -> list[Prediction]:
    async with Database(database_url, purpose="demo", max_size=1) as database:
        return await Predictions(database).ahead(
            JUDGED_AHEAD, scenario.begins_at, scenario.ends_at, (NAMESPACE, POLICY)
        )


def _result(
    scenario: DemoScenario,
    observations: Sequence[Observation],
    forecasts: Sequence[tuple[datetime, Band]],
    decisions: Sequence[DecisionLine],
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
    )


def _tell_load(children: Sequence[Child], before: Sequence[float], seconds: float, say: Say) -> None:
    shares = [(child.name, (cpu_seconds(child) - used) / seconds) for child, used in zip(children, before, strict=True)]
    say("of one core, during the replay: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares))
