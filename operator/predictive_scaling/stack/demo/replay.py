"""The replay itself: demand goes in, and what the live objects show is written down."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from rich.console import Console

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.demo.feed import Feed
from predictive_scaling.stack.demo.manifests import NAMESPACE, POLICY
from predictive_scaling.stack.demo.measure import JUDGED_AHEAD, Band, Observation, compare, forecast_quality
from predictive_scaling.stack.demo.observe import Observer
from predictive_scaling.stack.demo.processes import cpu_seconds
from predictive_scaling.stack.demo.result import Result
from predictive_scaling.stack.demo.scenario import Scenario
from predictive_scaling.stack.demo.story import BIN, DecisionLine, Story
from predictive_scaling.stack.demo.table import LiveTable, Moment
from predictive_scaling.stack.demo.traces import MINUTE
from predictive_scaling.stack.processes import Child
from predictive_scaling.stack.progress import Say
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.predictions import Predictions

_LOOK_EVERY = timedelta(seconds=15)
_SETTLE = timedelta(minutes=60)
"""Of the demo's time, for the last decisions to be verified."""


async def replay(
    scenario: Scenario,
    clock: ReplayClock,
    feed: Feed,
    observer: Observer,
    database_url: str,
    children: Sequence[Child],
    console: Console,
    say: Say,
) -> Story:
    """From the clock's start to the end of the window, and until the last decision has ended."""
    feeding = asyncio.create_task(feed.replay(scenario, clock.start, clock), name="demand")
    try:
        await _until(scenario.begins_at - clock.now(), clock, feeding)
        used, began = [cpu_seconds(child) for child in children], monotonic()
        observations = await _watch(scenario, clock, observer, feeding, console)
        _tell_load(children, used, monotonic() - began, say)
        await _settle(clock, observer, scenario)
        decisions = await observer.decisions(scenario.begins_at, scenario.ends_at)
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
    forecasts = await _forecasts(scenario, database_url)
    return Story(
        scenario,
        clock.rate,
        tuple(observations),
        tuple(forecasts),
        tuple(decisions),
        _result(scenario, observations, forecasts, decisions),
    )


async def _watch(
    scenario: Scenario, clock: ReplayClock, observer: Observer, feeding: asyncio.Task[None], console: Console
) -> list[Observation]:
    observations = list[Observation]()
    band: Band | None = None
    with LiveTable(scenario, console) as table:
        due = clock.now()
        while (now := clock.now()) < scenario.ends_at:
            observations.append(await observer.observe(now, scenario.demand_at(now)))
            if len(observations) % 4 == 1:
                band = await observer.band(now)
                so_far = compare(observations, observations[-1].at, scenario.per_replica)
                table.show(Moment(observations[-1], band, so_far))
            due = max(due + _LOOK_EVERY, clock.now())
            await _until(due - clock.now(), clock, feeding)
    return observations


async def _until(duration: timedelta, clock: ReplayClock, feeding: asyncio.Task[None]) -> None:
    """Sleep, but raise at once what broke the feed."""
    await asyncio.wait([feeding], timeout=clock.real_seconds(duration))
    if feeding.done():
        feeding.result()


async def _settle(clock: ReplayClock, observer: Observer, scenario: Scenario) -> None:
    while await observer.decides() and clock.now() < scenario.ends_at + _SETTLE:
        await clock.sleep(MINUTE)


async def _forecasts(scenario: Scenario, database_url: str) -> list[tuple[datetime, Band]]:
    async with Database(database_url, purpose="demo", max_size=1) as database:
        rows = await Predictions(database).ahead(
            JUDGED_AHEAD, scenario.begins_at, scenario.ends_at, (NAMESPACE, POLICY)
        )
    return [(row.target_time, Band(row.p50, row.p90)) for row in rows]


def _result(
    scenario: Scenario,
    observations: Sequence[Observation],
    forecasts: Sequence[tuple[datetime, Band]],
    decisions: Sequence[DecisionLine],
) -> Result:
    def actual(begin: datetime) -> float:
        return float(np.mean([scenario.demand_at(begin + minute * MINUTE) for minute in range(BIN // MINUTE)]))

    return Result(
        trace=scenario.demand.name,
        minutes=scenario.minutes,
        comparison=compare(observations, scenario.ends_at, scenario.per_replica),
        decisions=len(decisions),
        failed_decisions=sum(not decision.ended_well for decision in decisions),
        forecast=forecast_quality([(band, actual(at)) for at, band in forecasts]),
    )


def _tell_load(children: Sequence[Child], before: Sequence[float], seconds: float, say: Say) -> None:
    shares = [(child.name, (cpu_seconds(child) - used) / seconds) for child, used in zip(children, before, strict=True)]
    say("of one core, during the replay: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares))
