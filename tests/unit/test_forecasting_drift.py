"""A changed pattern is noticed, a whim of a day is not."""

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
A_DAY = DAY // STEP
CALM = a_series(days=9, step=STEP)


def the_last_day(change: Callable[[FloatArray], FloatArray], series: Series = CALM) -> Drift:
    values = series.values.copy()
    values[-A_DAY:] = change(values[-A_DAY:])
    found = drift(replace(series, values=values), series.end - DAY)
    assert found is not None
    return found


def test_one_more_day_of_the_same_is_no_change() -> None:
    for seed in range(20):
        assert not the_last_day(lambda day: day, a_series(days=9, step=STEP, seed=seed)).has_changed


def six_hours_later(day: FloatArray) -> FloatArray:
    return np.roll(day, A_DAY // 4)


def without_shape(day: FloatArray) -> FloatArray:
    return np.full(A_DAY, day.mean())


def noisier(day: FloatArray) -> FloatArray:
    return day * np.random.default_rng(1).lognormal(sigma=0.6, size=A_DAY)


def with_spikes_each_hour(day: FloatArray) -> FloatArray:
    return np.where(np.arange(A_DAY) % 12 < 2, 4 * day, day)


@pytest.mark.parametrize("change", [six_hours_later, without_shape, noisier, with_spikes_each_hour])
def test_another_pattern_is_a_change(change: Callable[[FloatArray], FloatArray]) -> None:
    found = the_last_day(change)
    assert found.has_changed
    assert found.days == 8
    assert found.since == CALM.end - DAY


def test_another_level_is_no_change_of_pattern() -> None:
    assert not the_last_day(lambda day: 2 * day).has_changed, "models forecast relative to the level"


def test_a_weekend_like_the_last_one_is_no_change() -> None:
    values = a_series(days=14, step=STEP).values.reshape(-1, A_DAY)
    values[[5, 6, 12, 13]] = np.roll(values[[5, 6, 12, 13]], 48, axis=1) ** 0.8
    series = replace(CALM, values=values.ravel())
    for day in (12, 13, 14):
        part = replace(series, values=series.values[max(0, day - 9) * A_DAY : day * A_DAY])
        found = drift(part, part.end - DAY)
        assert found is not None
        assert not found.has_changed


def test_the_unit_does_not_matter() -> None:
    one = the_last_day(lambda day: np.roll(day, 40))
    thousand = the_last_day(lambda day: np.roll(day, 40), replace(CALM, values=CALM.values * 1000))
    assert one.distance == pytest.approx(thousand.distance)
    assert one.usual == pytest.approx(thousand.usual)


def test_the_hours_since_the_training_are_compared_with_the_same_hours() -> None:
    found = drift(CALM, CALM.end - timedelta(hours=8))
    assert found is not None
    assert found.since == CALM.end - timedelta(hours=8)
    assert not found.has_changed


@pytest.mark.parametrize(
    "series",
    [
        of_values(),
        of_values(1.0, 2.0),
        replace(CALM, values=CALM.values[: 4 * A_DAY]),
        replace(CALM, values=np.full(9 * A_DAY, np.nan)),
        replace(CALM, values=np.zeros(9 * A_DAY)),
        replace(CALM, values=np.concatenate([np.full(7 * A_DAY, np.nan), CALM.values[: 2 * A_DAY]])),
    ],
    ids=["empty", "two bins", "four days", "nothing observed", "all zero", "gaps"],
)
def test_where_there_is_too_little_nothing_is_said(series: Series) -> None:
    assert drift(series, series.end - DAY) is None


def test_just_after_a_training_nothing_is_said() -> None:
    assert drift(CALM, CALM.end - timedelta(hours=1)) is None
    assert drift(CALM, CALM.end + timedelta(hours=1)) is None


def test_a_constant_that_wavers_is_no_change() -> None:
    steady = replace(CALM, values=np.full(9 * A_DAY, 50.0))
    assert not the_last_day(lambda day: day * 1.01, steady).has_changed
    wavering = np.where(np.arange(A_DAY) % 2, 1.005, 0.995)
    assert not the_last_day(lambda day: day * wavering, steady).has_changed
