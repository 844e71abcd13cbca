"""A wall clock that is stepped back: no wait is extended by the step."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from predictive_scaling.clock import has_elapsed
from predictive_scaling.control.current_forecasts import series_key
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.errors import RequestFailedError
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.in_memory_ports import ConstantDemand

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
STEPS = [timedelta(minutes=7), timedelta(hours=3), timedelta(days=40)]


@given(
    period=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)),
    age=st.timedeltas(min_value=timedelta(days=-4000), max_value=timedelta(days=4000)),
)
@settings(max_examples=200)
def test_a_period_that_begins_in_the_future_has_elapsed(period: timedelta, age: timedelta) -> None:
    assert has_elapsed(period, NOON - age, NOON) is (age >= period or age < timedelta(0))


@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_floors_follow_demand_after_the_clock_was_stepped_back(step: timedelta) -> None:
    world = World()
    await world.turn(6, step=MINUTE)
    assert world.target.minimum == 9
    batches = len(world.forecaster.batches)
    world.clock.at -= step
    world.source.since -= 2 * step
    world.forecaster.demand = 1480.0
    with capture_logs() as logs:
        await world.turn(6, step=MINUTE)
    assert len(world.forecaster.batches) >= batches + 5, "a forecast each minute, as before"
    assert world.target.minimum == 15
    assert "clock_stepped_back" in {log["event"] for log in logs}
    assert world.condition("ForecastReady")["status"] == "True"


async def test_the_stabilization_window_keeps_the_time_that_had_passed() -> None:
    window = {"maxStep": "100%", "period": "1m", "stabilizationWindow": "10m"}
    world = World(a_policy(scaleDown=window))
    await world.turn(6, step=MINUTE)
    world.target.settle()
    world.forecaster.demand = world.source.demand = 300.0
    await world.turn(4, step=MINUTE)
    assert world.target.minimum == 9
    world.clock.at -= 5 * HOUR
    world.source.since -= 10 * HOUR
    await world.turn(5, step=MINUTE)
    assert world.target.minimum == 9, "the window has not passed"
    await world.turn(7, step=MINUTE)
    assert world.target.minimum == 3, "the window ends as without the step"


async def test_the_pause_after_a_failure_is_not_extended_by_the_step() -> None:
    class FailingTarget(InMemoryTarget):
        attempts: int = 0

        async def apply(self, floor: int, *, take: bool = False) -> Applied:
            self.attempts += 1
            raise RequestFailedError("webhook")

    world = World()
    world.targets["checkout"] = world.target = target = FailingTarget(
        minimum=2, maximum=40, replicas=2, ready_replicas=2
    )
    await world.turn(1)
    attempts = target.attempts
    world.clock.at -= 5 * HOUR
    world.source.since -= 10 * HOUR
    await world.turn(3, step=MINUTE)
    assert target.attempts > attempts


async def test_a_raise_is_verified_on_time_despite_the_step() -> None:
    world = World()
    await world.turn(1, step=timedelta())
    assert world.phases[-1] == "Verifying"
    world.clock.at -= 5 * HOUR
    world.source.since -= 10 * HOUR
    world.source.demand = world.forecaster.demand = 880.0
    await world.turn(14, step=MINUTE)
    assert world.decisions.statuses[0] == "failed", "the replicas are missing after the deadline"


async def test_future_minutes_are_dropped_and_history_is_read_again() -> None:
    source = ConstantDemand(100.0, NOON + HOUR)
    window, key = DemandWindow(source), series_key(a_policy())
    await window.advance([key], NOON)
    source.demand, source.until = 200.0, NOON - 3 * HOUR
    await window.advance([key], NOON - 2 * HOUR)
    newest = window.newest(key)
    assert newest is not None
    assert (newest.value, newest.at) == (200.0, NOON - 3 * HOUR)
    assert set(window.minutes(key, NOON - 5 * HOUR, NOON - 3 * HOUR)) == {200.0}


async def test_a_small_step_does_not_read_history_again() -> None:
    class CountingDemand(ConstantDemand):
        minutes_read: int = 0

        async def minutes(self, keys, since, until):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self.minutes_read += (until - since) // MINUTE
            return await super().minutes(keys, since, until)

    source = CountingDemand(100.0, NOON + HOUR)
    window, key = DemandWindow(source), series_key(a_policy())
    await window.advance([key], NOON)
    await window.advance([key], NOON + MINUTE)
    minutes_read = source.minutes_read
    await window.advance([key], NOON - MINUTE)
    assert source.minutes_read - minutes_read <= 150


def test_no_lead_time_is_learned_from_a_stepped_clock() -> None:
    lead_times = LeadTimes(3 * MINUTE)
    lead_times.learn("uid", timedelta(seconds=-5))
    assert lead_times.of("uid", None) == 3 * MINUTE
