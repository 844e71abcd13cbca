from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.binning import rebinned
from forecasting.cleaning.regularize import Kind, regularize
from forecasting.context import Context
from forecasting.series import FloatArray
from tests.support.demand_series import MONDAY, of_values

MINUTE = timedelta(minutes=1)
PARIS = ZoneInfo("Europe/Paris")


def every(step: timedelta, count: int, start: datetime = MONDAY) -> list[datetime]:
    return [start + index * step for index in range(count)]


@pytest.mark.parametrize("seconds", [10, 15, 30, 60, 300, 420, 1800, 3600])
def test_the_step_is_found_in_samples_with_gaps(seconds: int) -> None:
    step = timedelta(seconds=seconds)
    times = [moment for index, moment in enumerate(every(step, 300)) if index % 7 not in (3, 4)]
    found = regularize("a", times, np.ones(len(times))).series
    assert found.step == step
    assert timedelta() <= MONDAY - found.start < step
    assert np.isnan(found.values).sum() == len(found.values) - len(times)


@pytest.mark.parametrize("seconds", [15, 60])
def test_the_step_is_found_in_times_that_tremble(seconds: int) -> None:
    dice = np.random.default_rng(2)
    times = MONDAY.timestamp() + np.arange(500) * seconds + dice.normal(0, 1.0, 500)
    found = regularize("a", times, np.ones(500)).series
    assert found.step == timedelta(seconds=seconds)
    assert abs(len(found.values) - 500) <= 1
    assert np.isnan(found.values).mean() < 0.05


def test_samples_at_random_times_get_a_usual_step_that_most_bins_have_one_in() -> None:
    dice = np.random.default_rng(2)
    times = MONDAY.timestamp() + np.cumsum(dice.exponential(40.0, 2000))
    found = regularize("a", times, np.ones(2000)).series
    assert found.step == timedelta(minutes=1)
    assert np.isfinite(found.values).mean() > 0.75


def test_samples_of_one_bin_are_averaged_and_bins_without_are_gaps() -> None:
    times = [MONDAY, MONDAY + 20 * timedelta(seconds=1), MONDAY + 3 * MINUTE]
    found = regularize("a", times, [1.0, 3.0, 5.0], step=MINUTE)
    assert found.series.values.tolist() == pytest.approx([2.0, np.nan, np.nan, 5.0], nan_ok=True)
    assert found.repairs == ("2 of 4 intervals have no value; they are gaps, never zero",)


def test_the_last_of_repeated_times_counts_and_all_repairs_are_told() -> None:
    at = every(MINUTE, 4)
    found = regularize("a", [at[2], at[0], at[1], at[1], at[3]], [3.0, 1.0, 7.0, 2.0, np.nan])
    assert found.series.values.tolist() == [1.0, 2.0, 3.0]
    assert found.repairs == (
        "1 samples have no value and count as gaps",
        "rows were not in the order of time and have been sorted",
        "1 rows repeat a time; the last one counts",
    )


def test_times_of_any_zone_are_the_same_moments_also_when_clocks_are_changed() -> None:
    utc = every(30 * MINUTE, 12, datetime(2026, 10, 24, 22, tzinfo=UTC))
    local = [moment.astimezone(PARIS) for moment in utc]
    values = np.arange(12.0)
    one, other = (regularize("a", times, values, context=Context(PARIS)).series for times in (utc, local))
    assert one.start == other.start == utc[0]
    assert np.array_equal(one.values, other.values)
    assert one.context.zone is PARIS


@pytest.mark.parametrize(
    ("times", "values", "told"),
    [
        ([], [], "a has no samples"),
        (every(MINUTE, 3), [1.0, 2.0], "give one time a value"),
        ([datetime(2026, 3, 1)], [1.0], "2026-03-01T00:00:00 without a zone"),  # noqa: DTZ001 a naive time is the point
        (every(MINUTE, 2), [np.nan, np.nan], "2 samples, and no value in any"),
        (every(MINUTE, 2), [1.0, -2.0], "negative value -2"),
        (every(MINUTE, 2), [1.0, np.inf], "infinite"),
        ([MONDAY], [1.0], "one sample, which has no step"),
        (every(timedelta(hours=2), 9), [1.0] * 9, "one value each 120 min"),
        ([*every(MINUTE, 50), MONDAY + timedelta(days=90_000)], [1.0] * 51, "more than 20,000,000"),
        (np.array(["2026-03-01", "2026-03-02"], dtype="datetime64[s]"), [1.0, 2.0], "seconds since the epoch"),
    ],
)
def test_what_cannot_become_a_series_is_refused_with_the_reason(
    times: list[datetime], values: list[float], told: str
) -> None:
    with pytest.raises(ValueError, match=r"^a ") as refused:
        regularize("a", times, values)
    assert told in str(refused.value)


@pytest.mark.parametrize("step", [timedelta(), timedelta(hours=2), timedelta(milliseconds=1)])
def test_a_step_that_nothing_is_forecast_in_is_refused(step: timedelta) -> None:
    with pytest.raises(ValueError, match="a step lies between"):
        regularize("a", every(MINUTE, 3), [1.0] * 3, step=step)


def test_a_counter_becomes_its_rate_and_what_falls_began_anew() -> None:
    totals = [100.0, 160.0, 220.0, 30.0, 90.0]
    found = regularize("a", every(MINUTE, 5), totals, kind=Kind.COUNTER)
    assert found.series.values.tolist() == [1.0, 1.0, 0.5, 1.0]
    assert found.repairs == ("the counter began anew 1 times",)


def test_a_counter_that_is_read_between_the_edges_of_bins_loses_nothing() -> None:
    seconds: FloatArray = MONDAY.timestamp() + 7 + 15.0 * np.arange(400, dtype=np.float64)
    found = regularize("a", seconds, 3.0 * (seconds - seconds[0]), step=MINUTE, kind=Kind.COUNTER).series
    assert found.start == MONDAY + MINUTE
    assert found.values == pytest.approx(3.0)


def test_what_was_counted_in_a_hole_is_no_rate_of_its_bins() -> None:
    times = [moment for index, moment in enumerate(every(MINUTE, 60)) if not 20 < index < 40]
    totals = [60.0 * ((moment - MONDAY) / MINUTE) for moment in times]
    values = regularize("a", times, totals, kind=Kind.COUNTER).series.values
    assert np.isnan(values[20:40]).all()
    assert values[[*range(20), *range(40, 59)]] == pytest.approx(1.0)


def test_bins_are_merged_along_whole_steps_and_a_gap_stays_one() -> None:
    series = of_values(1.0, 3.0, np.nan, np.nan, 5.0, 7.0, 9.0, step=5 * MINUTE)
    found = rebinned(series, 10 * MINUTE)
    assert found.values.tolist() == pytest.approx([2.0, np.nan, 6.0], nan_ok=True)
    with pytest.raises(ValueError, match="does not divide"):
        rebinned(series, 7 * MINUTE)
