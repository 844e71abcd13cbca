"""Irregular samples become a series with a fixed step."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.binning import rebinned
from forecasting.cleaning.regularize import SampleKind, regularize
from forecasting.context import Context
from forecasting.series import FloatArray
from tests.support.demand_series import MONDAY, of_values

MINUTE = timedelta(minutes=1)
PARIS = ZoneInfo("Europe/Paris")


def times_at(step: timedelta, count: int, start: datetime = MONDAY) -> list[datetime]:
    return [start + index * step for index in range(count)]


@pytest.mark.parametrize("seconds", [10, 15, 30, 60, 300, 420, 1800, 3600])
def test_the_step_is_inferred_from_samples_with_gaps(seconds: int) -> None:
    step = timedelta(seconds=seconds)
    times = [time for index, time in enumerate(times_at(step, 300)) if index % 7 not in (3, 4)]
    series = regularize("a", times, np.ones(len(times))).series
    assert series.step == step
    assert timedelta() <= MONDAY - series.start < step
    assert np.isnan(series.values).sum() == len(series.values) - len(times)


@pytest.mark.parametrize("seconds", [15, 60])
def test_the_step_is_inferred_from_jittered_times(seconds: int) -> None:
    random = np.random.default_rng(2)
    times = MONDAY.timestamp() + np.arange(500) * seconds + random.normal(0, 1.0, 500)
    series = regularize("a", times, np.ones(500)).series
    assert series.step == timedelta(seconds=seconds)
    assert abs(len(series.values) - 500) <= 1
    assert np.isnan(series.values).mean() < 0.05


def test_samples_at_random_times_get_a_common_step_that_fills_most_bins() -> None:
    random = np.random.default_rng(2)
    times = MONDAY.timestamp() + np.cumsum(random.exponential(40.0, 2000))
    series = regularize("a", times, np.ones(2000)).series
    assert series.step == timedelta(minutes=1)
    assert np.isfinite(series.values).mean() > 0.75


def test_samples_in_a_bin_are_averaged_and_empty_bins_are_gaps() -> None:
    times = [MONDAY, MONDAY + 20 * timedelta(seconds=1), MONDAY + 3 * MINUTE]
    result = regularize("a", times, [1.0, 3.0, 5.0], step=MINUTE)
    assert result.series.values.tolist() == pytest.approx([2.0, np.nan, np.nan, 5.0], nan_ok=True)
    (repair,) = result.repairs
    assert repair.startswith("2 of 4 intervals have no value")


def test_the_last_row_of_a_repeated_time_counts_and_all_repairs_are_reported() -> None:
    times = times_at(MINUTE, 4)
    result = regularize("a", [times[2], times[0], times[1], times[1], times[3]], [3.0, 1.0, 7.0, 2.0, np.nan])
    assert result.series.values.tolist() == [1.0, 2.0, 3.0]
    missing_values, order, repetitions = result.repairs
    assert missing_values.startswith("1 samples have no value")
    assert "sorted" in order
    assert repetitions.startswith("1 rows repeat a time")


def test_times_in_any_zone_are_the_same_instants_across_a_clock_change() -> None:
    utc = times_at(30 * MINUTE, 12, datetime(2026, 10, 24, 22, tzinfo=UTC))
    local = [time.astimezone(PARIS) for time in utc]
    values = np.arange(12.0)
    from_utc, from_local = (regularize("a", times, values, context=Context(PARIS)).series for times in (utc, local))
    assert from_utc.start == from_local.start == utc[0]
    assert np.array_equal(from_utc.values, from_local.values)
    assert from_utc.context.zone is PARIS


@pytest.mark.parametrize(
    ("times", "values", "message"),
    [
        ([], [], "a has no samples"),
        (times_at(MINUTE, 3), [1.0, 2.0], "give each value a time"),
        ([datetime(2026, 3, 1)], [1.0], "2026-03-01T00:00:00 without a time zone"),  # noqa: DTZ001 a naive time is the point
        (times_at(MINUTE, 2), [np.nan, np.nan], "2 samples, all without a value"),
        (times_at(MINUTE, 2), [1.0, -2.0], "negative value -2"),
        (times_at(MINUTE, 2), [1.0, np.inf], "infinite"),
        ([MONDAY], [1.0], "one sample, from which no step"),
        (times_at(timedelta(hours=2), 9), [1.0] * 9, "one value every 120 min"),
        ([*times_at(MINUTE, 50), MONDAY + timedelta(days=90_000)], [1.0] * 51, "more than 20,000,000"),
        (np.array(["2026-03-01", "2026-03-02"], dtype="datetime64[s]"), [1.0, 2.0], "seconds since the epoch"),
    ],
)
def test_invalid_samples_are_refused_with_the_reason(times: list[datetime], values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=r"^a ") as refused:
        regularize("a", times, values)
    assert message in str(refused.value)


@pytest.mark.parametrize("step", [timedelta(), timedelta(hours=2), timedelta(milliseconds=1)])
def test_a_step_outside_the_supported_range_is_refused(step: timedelta) -> None:
    with pytest.raises(ValueError, match="out of range"):
        regularize("a", times_at(MINUTE, 3), [1.0] * 3, step=step)


def test_a_counter_becomes_a_rate_and_a_decrease_is_a_reset() -> None:
    totals = [100.0, 160.0, 220.0, 30.0, 90.0]
    result = regularize("a", times_at(MINUTE, 5), totals, kind=SampleKind.COUNTER)
    assert result.series.values.tolist() == [1.0, 1.0, 0.5, 1.0]
    (repair,) = result.repairs
    assert "reset 1 times" in repair


def test_a_counter_sampled_off_the_bin_edges_keeps_its_rate() -> None:
    seconds: FloatArray = MONDAY.timestamp() + 7 + 15.0 * np.arange(400, dtype=np.float64)
    series = regularize("a", seconds, 3.0 * (seconds - seconds[0]), step=MINUTE, kind=SampleKind.COUNTER).series
    assert series.start == MONDAY + MINUTE
    assert series.values == pytest.approx(3.0)


def test_the_increase_over_a_gap_is_not_a_rate_of_the_bins_in_the_gap() -> None:
    times = [time for index, time in enumerate(times_at(MINUTE, 60)) if not 20 < index < 40]
    totals = [60.0 * ((time - MONDAY) / MINUTE) for time in times]
    values = regularize("a", times, totals, kind=SampleKind.COUNTER).series.values
    assert np.isnan(values[20:40]).all()
    assert values[[*range(20), *range(40, 59)]] == pytest.approx(1.0)


def test_bins_are_merged_at_multiples_of_the_new_step_and_gaps_stay_gaps() -> None:
    series = of_values(1.0, 3.0, np.nan, np.nan, 5.0, 7.0, 9.0, step=5 * MINUTE)
    merged = rebinned(series, 10 * MINUTE)
    assert merged.values.tolist() == pytest.approx([2.0, np.nan, 6.0], nan_ok=True)
    with pytest.raises(ValueError, match="does not divide"):
        rebinned(series, 7 * MINUTE)
