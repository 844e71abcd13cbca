"""A tuning study of a policy's last days: its forecasts, its frontier and its advice."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from forecasting.scaling.frontier import QUANTILES, TARGETS, Point, Prices, at_target, cheapest
from forecasting.scaling.tuner import TunerState
from predictive_scaling.simulation.advice import advise, higher_targets
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario, bounded
from predictive_scaling.simulation.workload import workload
from predictive_scaling.tuning import worker
from predictive_scaling.tuning.recent import RECORDED, recent_forecasts
from predictive_scaling.tuning.study import tune
from predictive_scaling.tuning.task import RESULT_DECODER, Failed, Span, Tuning
from tests.support.builders import NOON, a_policy
from tests.support.tunings import DAY, MINUTE, OBJECTIVE, a_task, in_bins, recorded, some_minutes

BIN = 5 * MINUTE
NO_RECORDS = np.empty(0, RECORDED)


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    return tune(a_task())


# forecasts of the study


def test_a_series_without_recorded_forecasts_is_studied_with_naive_forecasts_of_the_last_week() -> None:
    series = in_bins(some_minutes())
    forecasts = recent_forecasts(series, NO_RECORDS, 3)
    assert forecasts is not None
    assert (forecasts.first, forecasts.values.shape, forecasts.recorded) == (DAY // BIN, (7 * DAY // BIN, 3, 5), 0)
    assert np.isfinite(forecasts.values).all()
    assert (np.diff(forecasts.values, axis=2) >= 0).all()


def test_samples_after_an_origin_do_not_change_its_forecast() -> None:
    series = in_bins(some_minutes())
    cut = 4 * DAY // BIN
    changed = replace(series, values=np.concatenate([series.values[:cut], series.values[cut:] * 3 + 1000]))
    record = recorded([series.start + 3 * DAY], [100.0] * 3)
    forecasts, changed_forecasts = recent_forecasts(series, record, 3), recent_forecasts(changed, record, 3)
    assert forecasts is not None
    assert changed_forecasts is not None
    known = cut - forecasts.first + 1
    np.testing.assert_array_equal(forecasts.peaks[:known], changed_forecasts.peaks[:known])
    assert not np.array_equal(forecasts.values[known:], changed_forecasts.values[known:])


def test_a_recorded_forecast_replaces_the_naive_forecast() -> None:
    series = in_bins(some_minutes())
    origin = series.start + 3 * DAY
    forecasts = recent_forecasts(series, recorded([origin, origin + BIN], [10.0, 20.0, 30.0, 40.0]), 3)
    assert forecasts is not None
    row = 2 * DAY // BIN
    assert forecasts.values[row : row + 2, :, 0].tolist() == [[10, 20, 30]] * 2
    assert forecasts.recorded == 2
    assert forecasts.recorded_share == pytest.approx(2 / len(forecasts.values))


@pytest.mark.parametrize(("reach", "is_used"), [(4, True), (6, True), (7, False), (12, False)])
def test_a_recorded_forecast_shorter_than_the_lead_time_is_ignored(reach: int, is_used: bool) -> None:
    series = in_bins(some_minutes())
    forecasts = recent_forecasts(series, recorded([series.start + 3 * DAY], [10.0, 20.0, 30.0, 40.0]), reach)
    assert forecasts is not None
    assert forecasts.recorded == is_used
    assert (forecasts.values[2 * DAY // BIN, 0, 1] == 10) == is_used


def test_recorded_peaks_replace_the_peaks_of_the_quantiles() -> None:
    series = in_bins(some_minutes())
    origin = series.start + 3 * DAY
    highest = float(np.nanmax(series.values)) * 5
    without_peaks = recent_forecasts(series, recorded([origin], [10.0, 20.0, 30.0, 40.0]), 3)
    with_peaks = recent_forecasts(series, recorded([origin], [10.0, 20.0, 30.0, 40.0], peak=highest), 3)
    assert with_peaks is not None
    assert without_peaks is not None
    row = 2 * DAY // BIN
    assert with_peaks.peaks[row] == pytest.approx(highest)
    assert (without_peaks.peaks[row] < highest / 2).all()
    np.testing.assert_array_equal(with_peaks.values, without_peaks.values)
    np.testing.assert_array_equal(np.delete(with_peaks.peaks, row, 0), np.delete(without_peaks.peaks, row, 0))


@pytest.mark.parametrize(("before", "expected"), [(1, [10, 20, 30]), (3, [20, 30, 40]), (5, None)])
def test_a_forecast_made_in_the_bin_before_an_origin_counts_at_that_origin(
    before: int, expected: list[float] | None
) -> None:
    """A bin gets the value that was forecast for its middle."""
    series = in_bins(some_minutes())
    created_at = series.start + 3 * DAY - before * MINUTE
    forecasts = recent_forecasts(series, recorded([created_at], [10.0, 20.0, 30.0, 40.0]), 3)
    assert forecasts is not None
    row = 2 * DAY // BIN
    if expected is None:
        assert forecasts.values[row - 1, :, 0].tolist() == [10, 20, 30]
    else:
        assert forecasts.values[row, :, 0].tolist() == expected
    assert forecasts.recorded == 1


def test_a_wider_recorded_bin_gives_its_value_to_all_bins_in_it() -> None:
    series = in_bins(some_minutes())
    forecasts = recent_forecasts(series, recorded([series.start + 3 * DAY], [10.0, 20.0], step=15 * MINUTE), 5)
    assert forecasts is not None
    assert forecasts.values[2 * DAY // BIN, :, 0].tolist() == [10, 10, 10, 20, 20]


def test_a_study_needs_two_days_of_demand() -> None:
    minutes = some_minutes(2)
    assert recent_forecasts(in_bins(minutes), NO_RECORDS, 3) is not None
    assert recent_forecasts(in_bins(minutes[5:]), NO_RECORDS, 3) is None
    result = worker.run_task(a_task(minutes=minutes[5:]))
    assert isinstance(result, Failed)
    assert "shop/checkout has 47 hours of observed demand" in result.reason


# results of the study


def test_the_first_day_is_history_only(tuning: Tuning) -> None:
    assert (tuning.since, tuning.until) == (NOON - 7 * DAY + BIN, NOON)


def test_the_frontier_equals_that_of_the_backtest(tuning: Tuning) -> None:
    minutes, policy = some_minutes(), a_policy(forecast=OBJECTIVE)
    series = in_bins(minutes)
    forecasts = recent_forecasts(series, NO_RECORDS, 3)
    assert forecasts is not None
    truth = replace(series, step=MINUTE, values=minutes.astype(np.float32).astype(np.float64))
    scenario = Scenario(policy, (), float(minutes.max() / 30), 0.7, 3 * MINUTE)
    simulation = ScalingSimulation(scenario, workload(truth, series.start + DAY + BIN, NOON), forecasts)
    assert list(tuning.points[: len(QUANTILES) * len(TARGETS)]) == simulation.frontier(QUANTILES, TARGETS)
    assert tuning.hpa_only == simulation.hpa_only(np.array([0.7]))[0].at(0.0, 0.7)


def test_the_cheapest_quantile_at_the_current_target_is_chosen(tuning: Tuning) -> None:
    prices = Prices(1.0, 0.5)
    best = cheapest(at_target(tuning.points, 0.7), prices)
    assert tuning.prices == prices
    assert tuning.tuner_state == TunerState(best.quantile, NOON)
    assert 0.5 < tuning.quantile < 0.99


def test_a_higher_price_of_shortage_gives_a_higher_quantile() -> None:
    policies = [
        a_policy(forecast={"objective": {"underProvisionedMinute": price, "replicaHour": "1"}})
        for price in ("0.01", "1", "100")
    ]
    quantiles = [tune(a_task(policy, some_minutes(3))).quantile for policy in policies]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] < quantiles[-1]


def test_the_held_quantile_stays_while_another_saves_little(tuning: Tuning) -> None:
    line = at_target(tuning.points, 0.7)
    prices = Prices(1.0, 0.5)
    cost = {point.quantile: point.cost(prices) for point in line}
    close_quantile = next(
        quantile
        for quantile, price in cost.items()
        if quantile != tuning.quantile and price < cost[tuning.quantile] * 1.03
    )
    state = TunerState(close_quantile, NOON - DAY)
    assert tune(msgspec.structs.replace(a_task(), tuner_state=state)).tuner_state == state


def test_a_policy_with_a_fixed_quantile_keeps_it_and_gets_advice() -> None:
    result = tune(a_task(a_policy(forecast={"quantile": "0.87"}), some_minutes(3)))
    assert (result.prices, result.tuner_state, result.quantile) == (None, None, 0.87)
    assert 0.87 in {point.quantile for point in result.points}
    assert result.message


def test_minutes_of_events_are_not_judged(tuning: Tuning) -> None:
    all_days = Span(NOON - 8 * DAY, NOON)
    result = tune(a_task(unjudged=(all_days,)))
    assert result.hpa_only.minutes == 0 < tuning.hpa_only.minutes
    assert result.hpa_only.replica_hours == tuning.hpa_only.replica_hours


def test_the_maximum_of_the_target_limits_the_replicas() -> None:
    result = tune(a_task(minutes=some_minutes(3), maximum=3))
    assert max(point.replica_hours for point in result.points) <= 3 * 2 * 24


@pytest.mark.parametrize(("maximum", "bounds"), [(50, (5, 40)), (12, (5, 12)), (3, (3, 3)), (0, (1, 1))])
def test_the_maximum_of_the_target_lowers_both_bounds(maximum: int, bounds: tuple[int, int]) -> None:
    replicas = bounded(a_policy(replicas={"min": 5, "max": 40}), maximum).spec.replicas
    assert (replicas.min, replicas.max) == bounds


def test_sparse_samples_are_judged_per_bin() -> None:
    minutes = some_minutes(3)
    sparse = np.where(np.arange(len(minutes)) % 5 == 4, minutes, np.nan)
    result = tune(a_task(minutes=sparse))
    assert result.until == NOON
    assert result.hpa_only.replica_hours > 0


def test_a_long_lead_time_is_studied_in_wider_bins() -> None:
    result = tune(
        a_task(a_policy(forecast=OBJECTIVE | {"horizon": "6h"}), some_minutes(4), lead_time_seconds=4 * 3600.0)
    )
    assert result.quantile >= 0.5
    assert result.since == NOON - 3 * DAY + 15 * MINUTE


# advice


def points_by_target(*hours_and_minutes: tuple[float, float]) -> list[Point]:
    """Points of one quantile at target utilizations of 70, 71 … %."""
    return [
        Point(0.9, round(0.7 + index / 100, 2), minutes / 10_000, 0, minutes, hours)
        for index, (hours, minutes) in enumerate(hours_and_minutes)
    ]


HPA_ONLY = Point(0.0, 0.7, 0.005, 0, 50, 95)


def test_the_highest_target_that_is_as_safe_as_the_hpa_alone_is_advised() -> None:
    advice = advise(points_by_target((100, 5), (95, 20), (91, 45), (85, 90)), HPA_ONLY)
    assert (advice.hpa_target, advice.hours_saved) == (0.72, 9)
    assert "from 70 % to 72 %: 9 % fewer replica-hours" in advice.message


def test_advice_stays_while_another_target_saves_too_little() -> None:
    points = points_by_target((100, 5), (92, 20), (91, 45), (80, 90))
    assert advise(points, HPA_ONLY, advised_target=0.71).hpa_target == 0.71
    assert advise(points, HPA_ONLY).hpa_target == 0.72
    assert advise(points, HPA_ONLY, advised_target=0.73).hpa_target == 0.72, (
        "a target that is no longer as safe is not kept"
    )


def test_a_policy_that_is_short_longer_than_the_hpa_alone_is_advised_to_buy_safety() -> None:
    advice = advise(points_by_target((100, 80), (95, 90)), HPA_ONLY)
    assert (advice.hpa_target, advice.saved) == (0.7, 0.0)
    assert "a higher quantile or a lower target is safer" in advice.message


def test_the_current_target_is_advised_where_nothing_is_saved() -> None:
    assert "keep the HPA's target of 70 %" in advise(points_by_target((100, 5), (99.8, 5)), HPA_ONLY).message


def test_advised_targets_rise_in_steps_of_one_percent() -> None:
    assert higher_targets(0.7)[:3] == (0.7, 0.71, 0.72)
    assert higher_targets(0.7)[-1] == 0.95
    assert higher_targets(0.99) == (0.99,)


# in a child process


def test_a_failing_task_stops_no_other_and_results_survive_serialization() -> None:
    good = a_task(minutes=some_minutes(2))
    broken = msgspec.structs.replace(good, policy={"metadata": {"name": "x", "namespace": "shop"}, "spec": {}})
    assert isinstance(worker.run_task(broken), Failed)
    first, second = RESULT_DECODER.decode(worker.ENCODE([worker.run_task(broken), worker.run_task(good)]))
    assert isinstance(first, Failed)
    assert isinstance(second, Tuning)
    assert second == tune(good)
