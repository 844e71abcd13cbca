from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.calendars.comparable_days import bins_back
from forecasting.calendars.public_holidays import distances, is_holiday
from forecasting.calendars.wall_time import WallTime
from forecasting.calendars.zones import offsets
from forecasting.context import Context
from forecasting.features import FEATURES, build
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import Origins, Panel
from forecasting.series import FloatArray, Series

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PARIS = ZoneInfo("Europe/Paris")
ZONES = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]


def days_of(*days: date) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(days, dtype="datetime64[D]").astype(np.int64)


def hourly(start: datetime, days: int, context: Context, value: Callable[[datetime], float]) -> Series:
    """A series whose values are a function of the local time."""
    zone = context.zone
    values = [value((start + index * HOUR).astimezone(zone)) for index in range(days * 24)]
    return Series("a", start, HOUR, np.array(values), context)


def column(series: Series, name: str, ahead: int = 3) -> FloatArray:
    """What a feature is at each origin, for one horizon."""
    built = build(Panel.of([series]), Origins.of_one(np.arange(len(series.values) + 1)), np.array([ahead]))
    return built.matrix[:, [feature.name for feature in FEATURES].index(name)].astype(np.float64)


@pytest.mark.parametrize("name", ZONES)
def test_clocks_of_a_zone_are_those_of_the_standard_library(name: str) -> None:
    zone = ZoneInfo(name)
    seconds = np.random.default_rng(1).integers(0, 4_000_000_000, 300)
    told = [datetime.fromtimestamp(int(second), UTC).astimezone(zone).utcoffset() for second in seconds]
    assert offsets(zone, seconds).tolist() == [ahead.total_seconds() for ahead in told if ahead is not None]


@pytest.mark.parametrize("start", [datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 10, 18, tzinfo=UTC)])
def test_the_same_time_yesterday_is_that_of_the_clock_on_the_wall(start: datetime) -> None:
    series = hourly(start, 16, Context(PARIS), lambda local: 10.0 + local.hour)
    panel = Panel.of([series])
    points = SeasonalNaive().quantiles(panel, Origins.of_one(np.arange(48, 380)), np.array([1, 3]))[:, :, 1]
    actual = np.stack([series.values[48:380], series.values[50:382]], axis=1)
    # The hour that is skipped or repeated has no other like it.
    assert (points != actual).sum() <= 4


def test_clock_columns_tell_local_time() -> None:
    start = datetime(2026, 3, 27, tzinfo=UTC)
    series = hourly(start, 4, Context(PARIS), lambda local: 1.0 + local.hour)
    targets = [(start + (col + 2) * HOUR).astimezone(PARIS) for col in range(97)]
    assert column(series, "minute_of_day").tolist() == [60 * at.hour for at in targets]
    assert column(series, "weekday").tolist() == [at.weekday() for at in targets]


def test_a_zone_that_is_utc_by_another_name_changes_nothing() -> None:
    plain = hourly(datetime(2026, 3, 20, tzinfo=UTC), 12, Context(), lambda local: 10.0 + local.hour)
    named = replace(plain, context=Context(ZoneInfo("Etc/UTC")))
    one, other = (
        build(Panel.of([series]), Origins.of_one(np.arange(288)), np.array([1, 5])).matrix for series in (plain, named)
    )
    assert np.array_equal(one, other, equal_nan=True)


def test_each_row_of_a_panel_lives_by_its_own_clock() -> None:
    start = datetime(2026, 3, 27, tzinfo=UTC)
    contexts = [Context(), Context(PARIS), Context(ZoneInfo("America/New_York"), "US")]
    series = [hourly(start, 4, context, lambda local: 1.0 + local.hour) for context in contexts]
    panel = Panel.of(series)
    together = build(panel, panel.last(), np.array([1, 2])).matrix
    alone = np.concatenate([build(Panel.of([one]), Panel.of([one]).last(), np.array([1, 2])).matrix for one in series])
    assert np.array_equal(together, alone, equal_nan=True)


def test_holidays_are_those_of_the_country_and_its_part() -> None:
    days = days_of(date(2026, 7, 14), date(2026, 1, 6), date(2026, 11, 26), date(2026, 11, 27))
    assert is_holiday("FR", days).tolist() == [True, False, False, False]
    assert is_holiday("US", days).tolist() == [False, False, True, False]
    assert is_holiday("DE-BY", days).tolist() == [False, True, False, False]
    assert is_holiday("", days).tolist() == [False] * 4
    with pytest.raises(ValueError, match="no public holidays of 'XX'"):
        is_holiday("XX", days)


def test_distances_to_holidays_are_whole_days_up_to_a_week() -> None:
    days = days_of(*(date(2026, 12, 10) + index * DAY for index in range(28)))
    since, until = distances("FR", days)
    assert until[:16].tolist() == [7] * 8 + [7, 6, 5, 4, 3, 2, 1, 0]
    assert since[15:24].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]


def back(series: Series, *days: date) -> list[list[int]]:
    """Days that are looked back at for one to seven days ago, at noon of each day."""
    panel = Panel.of([series])
    noons = np.array([(datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - series.start) // HOUR for day in days])
    found = bins_back(WallTime.of(panel, np.zeros(len(days), dtype=np.int64), noons))
    return [[int(np.broadcast_to(one, noons.shape)[at]) // 24 for one in found] for at in range(len(days))]


def test_a_holiday_is_like_the_last_sunday_and_no_example_for_other_days() -> None:
    series = hourly(datetime(2026, 12, 1, tzinfo=UTC), 40, Context(country="FR"), lambda local: 1.0 + local.hour)
    friday, saturday, monday = date(2026, 12, 25), date(2026, 12, 26), date(2026, 12, 28)
    new_year = date(2027, 1, 1)
    christmas, boxing, later, first = back(series, friday, saturday, monday, new_year)
    assert christmas == [1, 2, 3, 4, 5, 6, 5]  # the Sunday before
    assert boxing == [2, 2, 3, 4, 5, 6, 7]  # in place of Friday, which was Christmas, Thursday
    assert later == [1, 2, 4, 4, 5, 6, 7]
    assert first == [1, 2, 3, 4, 5, 6, 5]  # a Sunday was nearer than Christmas


def test_without_a_country_no_day_is_like_another() -> None:
    series = hourly(datetime(2026, 12, 1, tzinfo=UTC), 40, Context(), lambda local: 1.0 + local.hour)
    assert back(series, date(2026, 12, 25)) == [[1, 2, 3, 4, 5, 6, 7]]
    assert np.isnan(column(series, "days_since_holiday")).all()
