"""A look back on a policy's last days: on which forecasts, judged how, and what is advised."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from forecasting.scaling.frontier import QUANTILES, TARGETS, Point, Prices, at_target, cheapest
from forecasting.scaling.tuner import TunerState
from predictive_scaling.simulation.advice import advise, hotter
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import workload
from predictive_scaling.tuning import worker
from predictive_scaling.tuning.recent import RECORDED, recent
from predictive_scaling.tuning.study import tune
from predictive_scaling.tuning.task import FOUND, Failed, Span, Tuning
from tests.support.builders import NOON, a_policy
from tests.support.tunings import DAY, MINUTE, OBJECTIVE, a_task, in_bins, recorded, some_minutes

BIN = 5 * MINUTE
NOTHING = np.empty(0, RECORDED)


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return tune(a_task())


# on which forecasts


def test_a_series_without_a_record_is_looked_back_on_by_naive_forecasts_of_the_last_week() -> None:
    series = in_bins(some_minutes())
    seen = recent(series, NOTHING, 3)
    assert seen is not None
    assert (seen.first, seen.values.shape, seen.recorded) == (DAY // BIN, (7 * DAY // BIN, 3, 5), 0)
    assert np.isfinite(seen.values).all()
    assert (np.diff(seen.values, axis=2) >= 0).all()


def test_nothing_that_came_after_an_origin_changes_its_forecast() -> None:
    series = in_bins(some_minutes())
    cut = 4 * DAY // BIN
    changed = replace(series, values=np.concatenate([series.values[:cut], series.values[cut:] * 3 + 1000]))
    record = recorded([series.start + 3 * DAY], [100.0] * 3)
    one, other = recent(series, record, 3), recent(changed, record, 3)
    assert one is not None
    assert other is not None
    known = cut - one.first + 1
    np.testing.assert_array_equal(one.peaks[:known], other.peaks[:known])
    assert not np.array_equal(one.values[known:], other.values[known:])


def test_where_a_forecast_was_recorded_it_counts() -> None:
    series = in_bins(some_minutes())
    origin = series.start + 3 * DAY
    seen = recent(series, recorded([origin, origin + BIN], [10.0, 20.0, 30.0, 40.0]), 3)
    assert seen is not None
    row = 2 * DAY // BIN
    assert seen.values[row : row + 2, :, 0].tolist() == [[10, 20, 30]] * 2
    assert seen.recorded == 2
    assert seen.recorded_share == pytest.approx(2 / len(seen.values))


@pytest.mark.parametrize(("reach", "is_used"), [(4, True), (6, True), (7, False), (12, False)])
def test_a_forecast_that_was_kept_for_a_shorter_lead_time_is_left_out(reach: int, is_used: bool) -> None:
    series = in_bins(some_minutes())
    seen = recent(series, recorded([series.start + 3 * DAY], [10.0, 20.0, 30.0, 40.0]), reach)
    assert seen is not None
    assert seen.recorded == is_used
    assert (seen.values[2 * DAY // BIN, 0, 1] == 10) == is_used


def test_recorded_peaks_count_where_a_floor_was_computed_from_them() -> None:
    series = in_bins(some_minutes())
    origin = series.start + 3 * DAY
    highest = float(np.nanmax(series.values)) * 5
    without = recent(series, recorded([origin], [10.0, 20.0, 30.0, 40.0]), 3)
    seen = recent(series, recorded([origin], [10.0, 20.0, 30.0, 40.0], peak=highest), 3)
    assert seen is not None
    assert without is not None
    row = 2 * DAY // BIN
    assert seen.peaks[row] == pytest.approx(highest)
    assert (without.peaks[row] < highest / 2).all()
    np.testing.assert_array_equal(seen.values, without.values)
    np.testing.assert_array_equal(np.delete(seen.peaks, row, 0), np.delete(without.peaks, row, 0))


@pytest.mark.parametrize(("before", "expected"), [(1, [10, 20, 30]), (3, [20, 30, 40]), (5, None)])
def test_a_forecast_made_within_the_bin_before_an_origin_is_known_at_it(
    before: int, expected: list[float] | None
) -> None:
    """A bin gets what was said for its middle."""
    series = in_bins(some_minutes())
    made = series.start + 3 * DAY - before * MINUTE
    seen = recent(series, recorded([made], [10.0, 20.0, 30.0, 40.0]), 3)
    assert seen is not None
    row = 2 * DAY // BIN
    if expected is None:
        assert seen.values[row - 1, :, 0].tolist() == [10, 20, 30]
    else:
        assert seen.values[row, :, 0].tolist() == expected
    assert seen.recorded == 1


def test_wider_recorded_bins_stand_for_all_that_they_hold() -> None:
    series = in_bins(some_minutes())
    seen = recent(series, recorded([series.start + 3 * DAY], [10.0, 20.0], step=15 * MINUTE), 5)
    assert seen is not None
    assert seen.values[2 * DAY // BIN, :, 0].tolist() == [10, 10, 10, 20, 20]


def test_two_days_are_the_least() -> None:
    minutes = some_minutes(2)
    assert recent(in_bins(minutes), NOTHING, 3) is not None
    assert recent(in_bins(minutes[5:]), NOTHING, 3) is None
    found = worker.answer(a_task(minutes=minutes[5:]))
    assert isinstance(found, Failed)
    assert "shop/checkout has 47 hours of observed demand; a frontier needs two days" in found.reason


# what is found


def test_the_first_day_is_only_history(tuning: Tuning) -> None:
    assert (tuning.since, tuning.until) == (NOON - 7 * DAY + BIN, NOON)


def test_the_frontier_is_the_backtests_to_the_replica(tuning: Tuning) -> None:
    minutes, policy = some_minutes(), a_policy(forecast=OBJECTIVE)
    series = in_bins(minutes)
    seen = recent(series, NOTHING, 3)
    assert seen is not None
    truth = replace(series, step=MINUTE, values=minutes.astype(np.float32).astype(np.float64))
    scenario = Scenario(policy, (), float(minutes.max() / 30), 0.7, 3 * MINUTE)
    simulation = ScalingSimulation(scenario, workload(truth, series.start + DAY + BIN, NOON), seen)
    assert list(tuning.points[: len(QUANTILES) * len(TARGETS)]) == simulation.frontier(QUANTILES, TARGETS)
    assert tuning.hpa_only == simulation.hpa_only(np.array([0.7]))[0].at(0.0, 0.7)


def test_the_quantile_is_the_cheapest_at_the_present_target(tuning: Tuning) -> None:
    prices = Prices(1.0, 0.5)
    best = cheapest(at_target(tuning.points, 0.7), prices)
    assert tuning.prices == prices
    assert tuning.held == TunerState(best.quantile, NOON)
    assert 0.5 < tuning.quantile < 0.99


def test_dearer_shortage_buys_a_higher_quantile() -> None:
    policies = [
        a_policy(forecast={"objective": {"underProvisionedMinute": price, "replicaHour": "1"}})
        for price in ("0.01", "1", "100")
    ]
    found = [tune(a_task(policy, some_minutes(3))).quantile for policy in policies]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_what_is_held_stays_where_another_gains_little(tuning: Tuning) -> None:
    line = at_target(tuning.points, 0.7)
    prices = Prices(1.0, 0.5)
    cost = {point.quantile: point.cost(prices) for point in line}
    near = next(it for it, price in cost.items() if it != tuning.quantile and price < cost[tuning.quantile] * 1.03)
    held = TunerState(near, NOON - DAY)
    assert tune(msgspec.structs.replace(a_task(), held=held)).held == held


def test_a_policy_with_a_quantile_keeps_it_and_gets_advice_for_it() -> None:
    found = tune(a_task(a_policy(forecast={"quantile": "0.87"}), some_minutes(3)))
    assert (found.prices, found.held, found.quantile) == (None, None, 0.87)
    assert 0.87 in {point.quantile for point in found.points}
    assert found.message


def test_while_an_event_acted_nobody_is_judged(tuning: Tuning) -> None:
    all_of_it = Span(NOON - 8 * DAY, NOON)
    found = tune(a_task(unjudged=(all_of_it,)))
    assert found.hpa_only.minutes == 0 < tuning.hpa_only.minutes
    assert found.hpa_only.replica_hours == tuning.hpa_only.replica_hours


def test_the_targets_own_maximum_counts() -> None:
    found = tune(a_task(minutes=some_minutes(3), maximum=3))
    assert max(point.replica_hours for point in found.points) <= 3 * 2 * 24


def test_sparse_samples_are_judged_by_the_bin() -> None:
    minutes = some_minutes(3)
    sparse = np.where(np.arange(len(minutes)) % 5 == 4, minutes, np.nan)
    found = tune(a_task(minutes=sparse))
    assert found.until == NOON
    assert found.hpa_only.replica_hours > 0


def test_a_long_lead_time_is_looked_back_on_in_wider_bins() -> None:
    found = tune(
        a_task(a_policy(forecast=OBJECTIVE | {"horizon": "6h"}), some_minutes(4), lead_time_seconds=4 * 3600.0)
    )
    assert found.quantile >= 0.5
    assert found.since == NOON - 3 * DAY + 15 * MINUTE


# what is advised


def a_line(*hours_and_minutes: tuple[float, float]) -> list[Point]:
    """Points of one quantile at 70, 71 … %."""
    return [
        Point(0.9, round(0.7 + index / 100, 2), minutes / 10_000, 0, minutes, hours)
        for index, (hours, minutes) in enumerate(hours_and_minutes)
    ]


ALONE = Point(0.0, 0.7, 0.005, 0, 50, 95)


def test_the_hottest_target_that_is_as_safe_as_the_hpa_alone_is_advised() -> None:
    advice = advise(a_line((100, 5), (95, 20), (91, 45), (85, 90)), ALONE)
    assert (advice.hpa_target, advice.hours_saved) == (0.72, 9)
    assert advice.message == (
        "with this policy the HPA's target may go from 70 % to 72 %: 9 % fewer replica-hours at no more risk than the "
        "HPA alone has today"
    )


def test_advice_stays_while_another_saves_no_more_than_chance() -> None:
    line = a_line((100, 5), (92, 20), (91, 45), (80, 90))
    assert advise(line, ALONE, advised_target=0.71).hpa_target == 0.71
    assert advise(line, ALONE).hpa_target == 0.72
    assert advise(line, ALONE, advised_target=0.73).hpa_target == 0.72, "what is not as safe any more is not held"


def test_where_the_policy_is_short_for_longer_than_the_hpa_alone_it_says_what_buys_more() -> None:
    advice = advise(a_line((100, 80), (95, 90)), ALONE)
    assert (advice.hpa_target, advice.saved) == (0.7, 0.0)
    assert "a higher quantile or a lower target buys more" in advice.message


def test_where_nothing_is_saved_the_present_target_is_right() -> None:
    assert "the HPA's target of 70 % is right" in advise(a_line((100, 5), (99.8, 5)), ALONE).message


def test_advice_goes_up_in_steps_of_a_percent() -> None:
    assert hotter(0.7)[:3] == (0.7, 0.71, 0.72)
    assert hotter(0.7)[-1] == 0.95
    assert hotter(0.99) == (0.99,)


# in a child


def test_a_task_that_fails_stops_no_other_and_what_is_found_survives_the_way_back() -> None:
    good = a_task(minutes=some_minutes(2))
    broken = msgspec.structs.replace(good, policy={"metadata": {"name": "x", "namespace": "shop"}, "spec": {}})
    assert isinstance(worker.answer(broken), Failed)
    first, second = FOUND.decode(worker.ENCODE([worker.answer(broken), worker.answer(good)]))
    assert isinstance(first, Failed)
    assert isinstance(second, Tuning)
    assert second == tune(good)
