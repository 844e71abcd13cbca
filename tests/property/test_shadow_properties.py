"""The account of mode Auto: no difference without a higher floor, the simulation's sums, each minute once."""

import math
from datetime import datetime, timedelta

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecasting.scaling.simulation import AutoscalerRules
from forecasting.scaling.simulation_grid import simulate_grid
from predictive_scaling.control.shadow_recording import HOUR, ShadowRecording, hour_of
from predictive_scaling.simulation.outcomes import outcomes
from predictive_scaling.simulation.shadow import (
    MINUTE,
    UNOBSERVED,
    RecordedMinutes,
    ShadowComparison,
    compare,
    replicas_under_floor,
)
from predictive_scaling.simulation.workload import STEP, Workload
from predictive_scaling.storage.shadow_hours import ShadowHour, ShadowKey
from tests.support.builders import NOON

PER_REPLICA, TARGET = 100.0, 0.7
KEY = ShadowKey("shop", "checkout", "uid", "hpa/checkout")
lead_times = st.integers(0, 150).map(lambda minutes: minutes * MINUTE)


@st.composite
def recorded_minutes(draw: st.DrawFn, *, size: int = 300, has_gaps: bool = True) -> RecordedMinutes:
    """Return any minutes: demand, replicas, ready ones among them, and a floor, each of which may be missing."""
    seed = draw(st.integers(0, 2**32 - 1))
    random, count = np.random.default_rng(seed), draw(st.integers(1, size))
    held = draw(st.integers(1, 30))
    replicas = np.repeat(random.integers(0, 20, count), held)[:count].astype(np.int32)
    ready = np.minimum(replicas, random.integers(0, 24, count)).astype(np.int32)
    floors = np.repeat(random.integers(0, 24, count), draw(st.integers(1, 30)))[:count].astype(np.int32)
    demand = np.where(random.random(count) < 0.1 if has_gaps else False, np.nan, random.uniform(0, 2000, count))
    auto = np.maximum(replicas, floors)
    if has_gaps:
        missing = np.repeat(random.random(count) < 0.1, draw(st.integers(1, 40)))[:count]
        for counts in (replicas, ready, auto):
            counts[missing] = UNOBSERVED
    return RecordedMinutes(NOON, demand, replicas, ready, auto)


@given(recorded_minutes(), lead_times)
def test_a_floor_that_never_exceeds_the_replicas_makes_no_difference(
    minutes: RecordedMinutes, lead_time: timedelta
) -> None:
    same = RecordedMinutes(minutes.begins_at, minutes.demand, minutes.replicas, minutes.ready, minutes.replicas)
    comparison = compare(same, PER_REPLICA, lead_time)
    assert comparison.auto == comparison.actual
    covered = comparison.covered
    np.testing.assert_array_equal(comparison.auto_ready[covered], minutes.ready[covered])


@given(recorded_minutes(), lead_times)
def test_an_autoscaler_is_never_short_for_longer_under_a_floor(minutes: RecordedMinutes, lead_time: timedelta) -> None:
    comparison = compare(minutes, PER_REPLICA, lead_time)
    assert comparison.auto.minutes <= comparison.actual.minutes
    assert comparison.auto.replica_hours >= comparison.actual.replica_hours
    covered = comparison.covered
    assert (comparison.auto_ready[covered] >= minutes.ready[covered]).all()
    assert (comparison.auto_ready[covered] <= np.maximum(minutes.auto_replicas, minutes.ready)[covered]).all()


@given(recorded_minutes(has_gaps=False), lead_times, st.integers(0, 2**32 - 1))
def test_a_target_that_is_scaled_directly_has_no_more_ready_replicas_than_it_has_replicas(
    minutes: RecordedMinutes, lead_time: timedelta, seed: int
) -> None:
    floors = np.random.default_rng(seed).integers(0, 24, len(minutes.demand))
    auto = np.array([replicas_under_floor(0, int(floor), is_scaled_directly=True) for floor in floors], np.int32)
    direct = RecordedMinutes(minutes.begins_at, minutes.demand, minutes.replicas, minutes.ready, auto)
    comparison = compare(direct, PER_REPLICA, lead_time)
    assert (comparison.auto_ready <= auto).all()
    assert comparison.auto.minutes >= (minutes.demand > auto * PER_REPLICA).sum()


@given(recorded_minutes(), lead_times)
def test_only_minutes_with_demand_and_replicas_count(minutes: RecordedMinutes, lead_time: timedelta) -> None:
    comparison = compare(minutes, PER_REPLICA, lead_time)
    known = np.isfinite(minutes.demand) & (minutes.replicas != UNOBSERVED)
    np.testing.assert_array_equal(comparison.covered, known)
    short = known & (minutes.demand > minutes.ready * PER_REPLICA)
    assert comparison.actual.minutes == short.sum()
    assert math.isclose(comparison.actual.replica_hours, minutes.replicas[known].sum() / 60, abs_tol=1e-9)
    assert (comparison.auto_ready[~known] == UNOBSERVED).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(0, 90))
@example(0, 1, 0)
def test_the_account_is_that_of_the_simulation(seed: int, count: int, start_minutes: int) -> None:
    """An HPA whose replicas depend on the newest metric only: a floor raises them and has no other effect."""
    random, width = np.random.default_rng(seed), MINUTE // STEP
    demand = np.repeat(random.integers(1, 2000, count), 7)[:count].astype(np.float64)
    floors = np.repeat(random.integers(0, 40, count), 11)[:count].astype(np.int32)
    rules = AutoscalerRules(TARGET, stabilization_steps=0, start_steps=start_minutes * width, tolerance=0.0, up_pods=99)
    metric = np.repeat(demand, width)
    targets = np.array([TARGET, TARGET])
    minimums = np.stack((np.ones_like(floors), floors), axis=1).repeat(width, axis=0)
    grid = simulate_grid(metric, PER_REPLICA, rules, targets, minimums)
    work = Workload(NOON, metric, metric, np.ones(len(metric), np.bool_), np.zeros(len(metric), np.int64))

    replicas = grid.existing[::width, 0]
    auto = np.array(
        [replicas_under_floor(*pair, is_scaled_directly=False) for pair in zip(replicas, floors, strict=True)]
    )
    minutes = RecordedMinutes(NOON, demand, replicas, grid.ready[::width, 0], auto.astype(np.int32))
    comparison = compare(minutes, PER_REPLICA, start_minutes * MINUTE)
    assert [comparison.actual, comparison.auto] == outcomes(work, grid, PER_REPLICA)
    np.testing.assert_array_equal(comparison.auto_ready, grid.ready[::width, 1])


def recorded_in_hours(
    minutes: RecordedMinutes, lead_time: timedelta, observations: int, restarts: set[int]
) -> dict[datetime, ShadowHour]:
    """Return the table after each minute was observed several times, and the process restarted at some of them."""
    table, recording = dict[datetime, ShadowHour](), ShadowRecording(KEY)
    for index in range(len(minutes.demand)):
        at = minutes.begins_at + index * MINUTE
        if minutes.replicas[index] == UNOBSERVED:
            recording.interrupt()
        else:
            for repetition in range(observations):
                recording.observe(at + repetition * 3 * STEP / observations, *counts_at(minutes, index))
        if index in restarts or index == len(minutes.demand) - 1:
            write(recording, table, minutes, lead_time)
            write(recording, table, minutes, lead_time)
            recording = ShadowRecording(KEY)
        elif at.minute % 15 == 14:
            write(recording, table, minutes, lead_time)
            recording.end_hours(hour_of(at - 10 * MINUTE))
    return table


def counts_at(minutes: RecordedMinutes, index: int) -> tuple[int, int, int]:
    """Return the replicas, ready replicas and replicas in mode Auto of a minute."""
    return int(minutes.replicas[index]), int(minutes.ready[index]), int(minutes.auto_replicas[index])


def write(
    recording: ShadowRecording, table: dict[datetime, ShadowHour], minutes: RecordedMinutes, lead_time: timedelta
) -> None:
    """Bring the pending hours into the table, as the background task does."""
    for since in sorted(recording.pending):
        demand = np.full(60, np.nan)
        offset = (since - minutes.begins_at) // MINUTE
        part = minutes.demand[max(0, offset) : offset + 60]
        demand[max(0, -offset) : max(0, -offset) + len(part)] = part
        row = recording.hour(since, table, demand, PER_REPLICA, lead_time)
        if row is not None:
            table[since] = row


def sums(table: dict[datetime, ShadowHour]) -> list[float]:
    rows = table.values()
    return [
        sum(row.covered_minutes for row in rows),
        sum(row.minutes_short for row in rows),
        sum(row.auto_minutes_short for row in rows),
        round(sum(row.replica_hours for row in rows), 6),
        round(sum(row.auto_replica_hours for row in rows), 6),
    ]


def sums_of(comparison: ShadowComparison) -> list[float]:
    return [
        int(comparison.covered.sum()),
        comparison.actual.minutes,
        comparison.auto.minutes,
        round(comparison.actual.replica_hours, 6),
        round(comparison.auto.replica_hours, 6),
    ]


@settings(max_examples=60)
@given(recorded_minutes(has_gaps=False), lead_times, st.integers(1, 4), st.sets(st.integers(0, 300), max_size=4))
def test_the_hours_add_up_to_the_account_of_all_minutes_across_restarts(
    minutes: RecordedMinutes, lead_time: timedelta, observations: int, restarts: set[int]
) -> None:
    table = recorded_in_hours(minutes, lead_time, observations, restarts)
    assert sums(table) == sums_of(compare(minutes, PER_REPLICA, lead_time))


@settings(max_examples=60)
@given(recorded_minutes(), lead_times, st.integers(1, 4), st.sets(st.integers(0, 300), max_size=4))
def test_no_minute_counts_twice_and_no_unknown_minute_counts(
    minutes: RecordedMinutes, lead_time: timedelta, observations: int, restarts: set[int]
) -> None:
    table = recorded_in_hours(minutes, lead_time, observations, restarts)
    known = np.isfinite(minutes.demand) & (minutes.replicas != UNOBSERVED)
    covered, short, _, hours, _ = sums(table)
    assert covered == known.sum()
    assert short == (known & (minutes.demand > minutes.ready * PER_REPLICA)).sum()
    assert math.isclose(hours, minutes.replicas[known].sum() / 60, abs_tol=1e-5)
    assert all(row.since == hour_of(row.since) < row.until <= row.since + HOUR for row in table.values())
