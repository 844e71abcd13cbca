"""Simulated weeks of the live decision code: no flapping, bounded steps, bounds, events, outages, pauses, restarts."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.decision.events.windows import event_window
from predictive_scaling.decision.inputs import Limit, Source
from predictive_scaling.decision.limits import effective_maximum, effective_minimum
from predictive_scaling.decision.spans import Span as Times
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import Direction
from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.timeline import Timeline
from predictive_scaling.synthesis.workload_profiles import WORKLOAD_PROFILES
from tests.support.builders import a_policy, an_event
from tests.support.trajectories import DAY_MINUTES, MINUTE, Course, FloatArray, Span, Tick, run

START = datetime(2026, 10, 21, tzinfo=UTC)
"""A Wednesday; European clocks change four days later."""
DAYS = 7
MINUTES = DAYS * DAY_MINUTES
PEAK = 3000.0
"""The 99th percentile of demand: 30 replicas."""
MAX_REVERSALS = 60
"""Changes of direction of a day without faults and edits. The busiest profile has a wave of jobs in every hour."""
MAX_RECORDED_REVERSALS = 96
"""Four an hour: recorded series have noise that the naive forecast of this test does not cover."""
_INTO_BOUNDS = frozenset({Limit.MINIMUM, Limit.MAXIMUM, Limit.PINNED})


def a_demand(profile: int, seed: int) -> FloatArray:
    """A day of history and then the days of the trajectory, by minute, at a peak of 30 replicas."""
    kind = WORKLOAD_PROFILES[profile]
    timeline = Timeline(START, MINUTE, (DAYS + 1) * DAY_MINUTES)
    values = kind.generate(timeline, Chance(seed, kind.name)).values
    return np.asarray(values / max(1e-9, np.nanquantile(values, 0.99)) * PEAK)


def a_spec(**changes: Any) -> ScalingPolicy:
    bounds: dict[str, Any] = {"min": 2, "max": 40, "demand": {"zeroIsValid": True}}
    return a_policy(**(bounds | changes))


edits = st.sampled_from(
    [
        a_spec(),
        a_spec(suspend=True),
        a_spec(min=6, max=25),
        a_spec(max=12, forecast={"quantile": "0.5", "utilization": 70}),
        a_spec(scaleUp={"maxStep": "3", "period": "5m"}, scaleDown={"maxStep": "2", "period": "10m"}),
        a_spec(scaleDown={"maxStep": "10%", "stabilizationWindow": "30m"}),
        a_spec(deadBand={"replicas": 3, "percent": 20}),
        a_spec(annotations={"predictive-scaling.io/pin": "7"}),
        a_spec(annotations={"predictive-scaling.io/pin": "60"}),
        a_spec(min=4, annotations={"predictive-scaling.io/pin": "1"}),
        a_spec(annotations={"predictive-scaling.io/paused": "true"}),
        a_spec(annotations={"predictive-scaling.io/direction": "UpOnly"}),
        a_spec(annotations={"predictive-scaling.io/direction": "DownOnly"}),
        a_spec(mode="Off"),
    ]
)
moments = st.integers(0, MINUTES - 1)
spans = st.tuples(moments, st.integers(1, 300)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))


@st.composite
def courses(draw: st.DrawFn) -> Course:
    """Up to some of everything that may happen in the days."""
    policies = {0: a_spec()} | draw(st.dictionaries(moments, edits, max_size=6))
    starts = draw(st.lists(moments, max_size=2))
    begin = START + DAY_MINUTES * MINUTE
    events = tuple(
        event_window(
            an_event(f"event-{number}", expect={"minReplicas": draw(st.integers(1, 50))}, rampUp="10m"),
            Times(begin + first * MINUTE, begin + (first + 120) * MINUTE),
        )
        for number, first in enumerate(starts)
    )
    return Course(
        policies=policies,
        no_metrics=tuple(draw(st.lists(spans, max_size=3))),
        no_forecast=tuple(draw(st.lists(spans, max_size=3))),
        collapses=tuple(draw(st.lists(spans, max_size=2))),
        maxima=draw(st.dictionaries(moments, st.one_of(st.none(), st.integers(1, 45)), max_size=3)),
        restarts=frozenset(draw(st.lists(moments, max_size=8))),
        events=events,
    )


def is_frozen(tick: Tick) -> bool:
    return tick.decision.pause.freezes


def is_forced(tick: Tick) -> bool:
    """Whether bounds, a pin or a person's pause decided, and not the rules of recommendations."""
    return is_frozen(tick) or bool(_INTO_BOUNDS & set(tick.decision.limits))


def check_bounds(tick: Tick) -> None:
    low, high = effective_minimum(tick.situation), effective_maximum(tick.situation)
    if is_frozen(tick):
        assert tick.decision.floor == tick.decision.before, "a pause changes nothing"
        return
    assert low <= tick.decision.floor <= high
    if tick.decision.pause.pin is not None:
        assert tick.decision.floor == min(max(tick.decision.pause.pin, low), high)
    if tick.decision.pause.direction is Direction.UP_ONLY:
        assert tick.decision.floor >= min(tick.decision.before, high)
    if tick.decision.pause.direction is Direction.DOWN_ONLY:
        assert tick.decision.floor <= max(tick.decision.before, low)


def check_recommendations(tick: Tick) -> None:
    """The floor covers the strongest recommendation, unless a named rule limits the raise."""
    decision, high = tick.decision, effective_maximum(tick.situation)
    limiting = {Limit.STEP_UP, Limit.DIRECTION, Limit.PINNED, Limit.PAUSED, Limit.DEAD_BAND}
    if limiting & set(decision.limits):
        return
    for recommendation in decision.recommendations:
        if recommendation.applies:
            assert decision.floor >= min(recommendation.replicas, high), recommendation.why
    now, windows = tick.situation.now, [baseline.window for baseline in tick.situation.events]
    for window in windows:
        if window.occurrence.start <= now < window.occurrence.end:
            assert decision.floor >= min(window.event.spec.expect.min_replicas or 0, high), "an event's floor"


def check_decrease(tick: Tick, complete_since: int) -> None:
    """A decrease needs demand and a forecast, and a full window of both."""
    decision, situation = tick.decision, tick.situation
    if decision.floor >= decision.before or is_forced(tick):
        return
    assert situation.demand is not None
    assert situation.now - situation.demand.at <= situation.metrics_max_age
    assert situation.current_forecast is not None
    assert situation.now < situation.current_forecast.valid_until
    reference = situation.state.reference_forecast
    if reference is not None:
        position = (situation.demand.at - MINUTE - reference.origin) // reference.step
        if 0 <= position < len(reference.values):
            assert situation.demand.value >= 0.5 * reference.values[position][0], "demand collapsed: an outage"
    window = situation.policy.spec.scale_down.stabilization_window
    assert (tick.minute - complete_since) * MINUTE >= window, "a full window after missing data or a restart"
    highest = max(decision.state.recommendations, key=lambda entry: entry[1])[1]
    assert decision.floor >= min(highest, decision.before), "the highest recommendation of the window"
    needed = int(np.ceil(situation.demand.value / 100.0 * (1 - 1e-9)))
    assert decision.floor >= min(needed, decision.before), "the current load"


def check_steps(ticks: list[Tick]) -> None:
    """The changes of each period stay within the step of the policy, also across restarts."""
    changes = [tick for tick in ticks if tick.decision.changes]
    for position, tick in enumerate(changes):
        if is_forced(tick):
            continue
        for scale, sign in ((tick.situation.policy.spec.scale_up, 1), (tick.situation.policy.spec.scale_down, -1)):
            within: list[Tick] = []
            for earlier in reversed(changes[: position + 1]):
                outside = tick.situation.now - earlier.situation.now >= scale.period
                if outside or (within and (is_forced(earlier) or _has_edit(earlier, tick))):
                    break
                within.insert(0, earlier)
            moved = sum(max(0, sign * (change.decision.floor - change.decision.before)) for change in within)
            if sign * (tick.decision.floor - tick.decision.before) > 0:
                assert moved <= scale.max_step.of(within[0].decision.before), [t.minute for t in within]


def _has_edit(earlier: Tick, later: Tick) -> bool:
    return earlier.situation.policy is not later.situation.policy


def check_reversals(ticks: list[Tick]) -> None:
    """A decrease follows a raise of the recommendation after a full window at the earliest: the floor cannot flap."""
    raised: Tick | None = None
    for tick in ticks:
        decision = tick.decision
        if decision.floor > decision.before:
            raised = tick
        elif decision.floor < decision.before and raised is not None and not is_forced(tick) and not is_forced(raised):
            window = tick.situation.policy.spec.scale_down.stabilization_window
            is_edited = _has_edit(raised, tick)
            assert is_edited or tick.situation.now - raised.situation.now >= window, (raised.minute, tick.minute)


def check_all(ticks: list[Tick]) -> None:
    complete_since = -(10**6)
    for tick in ticks:
        demand, forecast, now = tick.situation.demand, tick.situation.current_forecast, tick.situation.now
        fresh = demand is not None and now - demand.at <= tick.situation.metrics_max_age
        usable = forecast is not None and now < forecast.valid_until
        check_bounds(tick)
        check_recommendations(tick)
        if tick.restarted or not (fresh and usable):
            complete_since = tick.minute
        check_decrease(tick, complete_since)
    check_steps(ticks)
    check_reversals(ticks)


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.integers(0, len(WORKLOAD_PROFILES) - 1), st.integers(0, 10**6), courses())
def test_days_with_outages_edits_and_restarts_keep_every_rule(profile: int, seed: int, course: Course) -> None:
    check_all(list(run(a_demand(profile, seed), START, course)))


@settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.integers(0, len(WORKLOAD_PROFILES) - 1), st.integers(0, 10**6), st.lists(moments, min_size=1, max_size=20))
def test_a_restart_at_any_tick_changes_no_raise_and_only_delays_decreases(
    profile: int, seed: int, restarts: list[int]
) -> None:
    demand, policies = a_demand(profile, seed), {0: a_spec()}
    steady = run(demand, START, Course(policies))
    restarted = run(demand, START, Course(policies, restarts=frozenset(restarts)))
    last_restart = -(10**6)
    for kept, tick in zip(steady, restarted, strict=True):
        last_restart = tick.minute if tick.restarted else last_restart
        assert tick.decision.uncapped == kept.decision.uncapped
        assert tick.decision.floor >= kept.decision.floor, "a restart lowers nothing"
        if tick.restarted:
            assert tick.decision.floor >= tick.decision.before


@pytest.mark.parametrize("name", ["batch-jobs", "social-feed", "web-shop"])
def test_the_floor_does_not_flap(name: str) -> None:
    """Direction changes of each day, on generated demand without faults."""
    (profile,) = [number for number, kind in enumerate(WORKLOAD_PROFILES) if kind.name == name]
    ticks = list(run(a_demand(profile, seed=1), START, Course({0: a_spec()})))
    check_all(ticks)
    assert max(reversals_by_day(ticks)) <= MAX_REVERSALS
    assert any(tick.decision.source is Source.FORECAST for tick in ticks)


def reversals_by_day(ticks: list[Tick]) -> list[int]:
    counts, direction = [0] * (ticks[-1].minute // DAY_MINUTES + 1), 0
    for tick in ticks:
        change = tick.decision.floor - tick.decision.before
        if change and (new := 1 if change > 0 else -1) != direction:
            counts[tick.minute // DAY_MINUTES] += direction != 0
            direction = new
    return counts


@pytest.mark.skipif("TRAJECTORY_TRACES" not in os.environ, reason="TRAJECTORY_TRACES names no folder of CSV traces")
def test_recorded_traces_keep_every_rule() -> None:
    """TRAJECTORY_TRACES=folder: the first fifteen days of each CSV file of demand in the folder."""
    checked = 0
    for path in sorted(Path(os.environ["TRAJECTORY_TRACES"]).glob("*.csv*")):
        try:
            series = read_csv(path).series
        except InvalidTraceError:
            continue  # a list of events
        checked += 1
        minutes = np.repeat(series.values, max(1, series.step // MINUTE))[: 15 * DAY_MINUTES]
        demand = minutes / np.nanquantile(minutes, 0.99) * PEAK
        ticks = list(run(demand, series.start, Course({0: a_spec()})))
        check_all(ticks)
        assert max(reversals_by_day(ticks)) <= MAX_RECORDED_REVERSALS, path.name
    assert checked
