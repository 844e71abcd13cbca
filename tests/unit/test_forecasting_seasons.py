"""Detection of seasons: timers, days and weeks, and none in random series."""

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.context import Context
from forecasting.seasons import seasons
from forecasting.series import FloatArray, Series
from tests.support.demand_series import MONDAY, a_series

STEP = timedelta(minutes=5)
MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=7)


def series_of(values: FloatArray, start: datetime = MONDAY, context: Context | None = None) -> Series:
    return Series("a", start, STEP, values, context or Context())


def noise(days: int, seed: int = 1, spread: float = 0.1) -> FloatArray:
    return np.random.default_rng(seed).lognormal(sigma=spread, size=days * 288)


def periods(series: Series) -> list[timedelta]:
    return [season.period for season in seasons(series)]


@pytest.mark.parametrize("minutes", [15, 20, 30, 45, 60, 90, 100])
@pytest.mark.parametrize("days", [4, 21])
def test_the_period_of_a_timer_is_detected(minutes: int, days: int) -> None:
    burst = np.arange(days * 288) % (minutes // 5) == 0
    assert periods(series_of(50 * noise(days) * (1 + 2 * burst))) == [minutes * MINUTE]


def test_days_and_weeks_are_detected_together_with_hourly_bursts() -> None:
    bins = np.arange(28 * 288)
    day, week = 1 + 0.6 * np.sin(bins / 288 * 2 * np.pi), np.where(bins // 288 % 7 >= 5, 0.4, 1.0)
    assert periods(series_of(50 * noise(28) * day)) == [DAY]
    assert periods(series_of(50 * noise(28) * day * week)) == [DAY, WEEK]
    assert periods(series_of(50 * noise(28) * day * week * (1 + (bins % 12 == 0)))) == [HOUR, DAY, WEEK]


def test_two_peaks_a_day_are_a_daily_season() -> None:
    phase = np.arange(14 * 288) / 288 * 2 * np.pi
    assert periods(series_of(50 * noise(14) * (1 + 0.3 * np.sin(phase) + 0.4 * np.sin(2 * phase)))) == [DAY]


def rare_events(random: np.random.Generator, bins: int) -> FloatArray:
    return random.poisson(0.4, bins).astype(np.float64)


def a_random_walk(random: np.random.Generator, bins: int) -> FloatArray:
    return 100 * np.exp(np.cumsum(random.normal(0, 0.05, bins)))


def plain_noise(random: np.random.Generator, bins: int) -> FloatArray:
    return np.maximum(random.normal(100, 20, bins), 0.0)


@pytest.mark.parametrize("days", [3, 8, 30])
@pytest.mark.parametrize("random_series", [plain_noise, rare_events, a_random_walk])
def test_random_series_have_no_seasons(
    days: int, random_series: Callable[[np.random.Generator, int], FloatArray]
) -> None:
    for seed in range(5):
        assert periods(series_of(random_series(np.random.default_rng(seed), days * 288))) == []


@pytest.mark.parametrize("values", [[], [np.nan] * 600, [0.0] * 600, [7.0] * 600, [1.0, 2.0, 3.0]])
def test_a_series_without_a_shape_has_no_seasons(values: list[float]) -> None:
    assert periods(series_of(np.array(values))) == []


def test_a_season_is_detected_despite_gaps_and_in_any_unit() -> None:
    values = a_series(10, STEP).values
    values[np.random.default_rng(3).random(len(values)) < 0.4] = np.nan
    values[900:1100] = np.nan
    assert periods(series_of(values)) == periods(series_of(values * 1e6)) == [DAY]


def test_days_follow_the_time_zone() -> None:
    # A week on each side of the change to summer time: in UTC the days of the two weeks are an hour apart.
    start, zone = datetime(2026, 3, 22, tzinfo=MONDAY.tzinfo), ZoneInfo("Europe/Paris")
    hours = np.array([(start + index * STEP).astimezone(zone).hour for index in range(14 * 288)])
    values = noise(14) * np.where(hours == 12, 900.0, 100.0)
    (local,), (utc,) = seasons(series_of(values, start, Context(zone))), seasons(series_of(values, start))
    assert local.period == utc.period == DAY
    assert local.strength > utc.strength + 0.2
