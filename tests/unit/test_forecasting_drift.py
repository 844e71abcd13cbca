"""Drift detection: a changed daily pattern is detected, ordinary variation is not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.quality.drift import Drift, drift
from forecasting.series import FloatArray, Series
from tests.support.demand_series import a_series, of_values

STEP = timedelta(minutes=5)
DAY = timedelta(days=1)
BINS_PER_DAY = DAY // STEP
PLAIN = a_series(days=9, step=STEP)


def with_changed_last_day(change: Callable[[FloatArray], FloatArray], series: Series = PLAIN) -> Drift:
    values = series.values.copy()
    values[-BINS_PER_DAY:] = change(values[-BINS_PER_DAY:])
    result = drift(replace(series, values=values), series.end - DAY)
    assert result is not None
    return result


def test_one_more_ordinary_day_is_no_drift() -> None:
    for seed in range(20):
        assert not with_changed_last_day(lambda day: day, a_series(days=9, step=STEP, seed=seed)).has_changed


def six_hours_later(day: FloatArray) -> FloatArray:
    return np.roll(day, BINS_PER_DAY // 4)


def without_shape(day: FloatArray) -> FloatArray:
    return np.full(BINS_PER_DAY, day.mean())


def noisier(day: FloatArray) -> FloatArray:
    return day * np.random.default_rng(1).lognormal(sigma=0.6, size=BINS_PER_DAY)


def with_spikes_each_hour(day: FloatArray) -> FloatArray:
    return np.where(np.arange(BINS_PER_DAY) % 12 < 2, 4 * day, day)


@pytest.mark.parametrize("change", [six_hours_later, without_shape, noisier, with_spikes_each_hour])
def test_a_changed_daily_pattern_is_drift(change: Callable[[FloatArray], FloatArray]) -> None:
    result = with_changed_last_day(change)
    assert result.has_changed
    assert result.days == 8
    assert result.since == PLAIN.end - DAY


def test_a_changed_level_is_no_drift() -> None:
    assert not with_changed_last_day(lambda day: 2 * day).has_changed, "models forecast relative to the level"


def test_a_weekend_like_the_previous_weekend_is_no_drift() -> None:
    values = a_series(days=14, step=STEP).values.reshape(-1, BINS_PER_DAY)
    values[[5, 6, 12, 13]] = np.roll(values[[5, 6, 12, 13]], 48, axis=1) ** 0.8
    series = replace(PLAIN, values=values.ravel())
    for day in (12, 13, 14):
        history = replace(series, values=series.values[max(0, day - 9) * BINS_PER_DAY : day * BINS_PER_DAY])
        result = drift(history, history.end - DAY)
        assert result is not None
        assert not result.has_changed


def test_the_unit_does_not_change_the_distance() -> None:
    original = with_changed_last_day(lambda day: np.roll(day, 40))
    scaled = with_changed_last_day(lambda day: np.roll(day, 40), replace(PLAIN, values=PLAIN.values * 1000))
    assert original.distance == pytest.approx(scaled.distance)
    assert original.usual == pytest.approx(scaled.usual)


def test_the_hours_since_the_training_are_compared_with_the_same_hours_of_earlier_days() -> None:
    result = drift(PLAIN, PLAIN.end - timedelta(hours=8))
    assert result is not None
    assert result.since == PLAIN.end - timedelta(hours=8)
    assert not result.has_changed


@pytest.mark.parametrize(
    "series",
    [
        of_values(),
        of_values(1.0, 2.0),
        replace(PLAIN, values=PLAIN.values[: 4 * BINS_PER_DAY]),
        replace(PLAIN, values=np.full(9 * BINS_PER_DAY, np.nan)),
        replace(PLAIN, values=np.zeros(9 * BINS_PER_DAY)),
        replace(PLAIN, values=np.concatenate([np.full(7 * BINS_PER_DAY, np.nan), PLAIN.values[: 2 * BINS_PER_DAY]])),
    ],
    ids=["empty", "two bins", "four days", "no samples", "all zero", "gaps"],
)
def test_too_little_demand_gives_no_drift_result(series: Series) -> None:
    assert drift(series, series.end - DAY) is None


def test_just_after_a_training_there_is_no_drift_result() -> None:
    assert drift(PLAIN, PLAIN.end - timedelta(hours=1)) is None
    assert drift(PLAIN, PLAIN.end + timedelta(hours=1)) is None


def test_small_variations_of_constant_demand_are_no_drift() -> None:
    constant = replace(PLAIN, values=np.full(9 * BINS_PER_DAY, 50.0))
    assert not with_changed_last_day(lambda day: day * 1.01, constant).has_changed
    factors = np.where(np.arange(BINS_PER_DAY) % 2, 1.005, 0.995)
    assert not with_changed_last_day(lambda day: day * factors, constant).has_changed
