"""Local time, public holidays and comparable days of a calendar context."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.calendars.comparable_days import bins_back
from forecasting.calendars.public_holidays import holiday_distances, is_holiday
from forecasting.calendars.wall_time import WallTime
from forecasting.calendars.zones import utc_offsets
from forecasting.context import Context
from forecasting.features import FEATURES, build_features
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
    """The values of a feature at each origin, for one horizon."""
    built = build_features(
        Panel.of([series]), Origins.of_single_series(np.arange(len(series.values) + 1)), np.array([ahead])
    )
    return built.matrix[:, [feature.name for feature in FEATURES].index(name)].astype(np.float64)


@pytest.mark.parametrize("name", ZONES)
def test_utc_offsets_agree_with_the_standard_library(name: str) -> None:
    zone = ZoneInfo(name)
    seconds = np.random.default_rng(1).integers(0, 4_000_000_000, 300)
    expected = [datetime.fromtimestamp(int(second), UTC).astimezone(zone).utcoffset() for second in seconds]
    assert utc_offsets(zone, seconds).tolist() == [offset.total_seconds() for offset in expected if offset is not None]


@pytest.mark.parametrize("start", [datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 10, 18, tzinfo=UTC)])
def test_the_same_time_yesterday_is_the_same_local_time(start: datetime) -> None:
    series = hourly(start, 16, Context(PARIS), lambda local: 10.0 + local.hour)
    panel = Panel.of([series])
    points = SeasonalNaive().quantiles(panel, Origins.of_single_series(np.arange(48, 380)), np.array([1, 3]))[:, :, 1]
    actual = np.stack([series.values[48:380], series.values[50:382]], axis=1)
    # The skipped or repeated hour has no counterpart on the other day.
    assert (points != actual).sum() <= 4


def test_time_features_use_local_time() -> None:
    start = datetime(2026, 3, 27, tzinfo=UTC)
    series = hourly(start, 4, Context(PARIS), lambda local: 1.0 + local.hour)
    targets = [(start + (col + 2) * HOUR).astimezone(PARIS) for col in range(97)]
    assert column(series, "minute_of_day").tolist() == [60 * at.hour for at in targets]
    assert column(series, "weekday").tolist() == [at.weekday() for at in targets]


def test_an_alias_of_utc_changes_no_feature() -> None:
    plain = hourly(datetime(2026, 3, 20, tzinfo=UTC), 12, Context(), lambda local: 10.0 + local.hour)
    named = replace(plain, context=Context(ZoneInfo("Etc/UTC")))
    utc_matrix, alias_matrix = (
        build_features(Panel.of([series]), Origins.of_single_series(np.arange(288)), np.array([1, 5])).matrix
        for series in (plain, named)
    )
    assert np.array_equal(utc_matrix, alias_matrix, equal_nan=True)


def test_each_row_of_a_panel_has_its_own_time_zone() -> None:
    start = datetime(2026, 3, 27, tzinfo=UTC)
    contexts = [Context(), Context(PARIS), Context(ZoneInfo("America/New_York"), "US")]
    series = [hourly(start, 4, context, lambda local: 1.0 + local.hour) for context in contexts]
    panel = Panel.of(series)
    together = build_features(panel, panel.latest_origins(), np.array([1, 2])).matrix
    alone = np.concatenate(
        [build_features(Panel.of([row]), Panel.of([row]).latest_origins(), np.array([1, 2])).matrix for row in series]
    )
    assert np.array_equal(together, alone, equal_nan=True)


def test_holidays_are_those_of_the_country_and_subdivision() -> None:
    days = days_of(date(2026, 7, 14), date(2026, 1, 6), date(2026, 11, 26), date(2026, 11, 27))
    assert is_holiday("FR", days).tolist() == [True, False, False, False]
    assert is_holiday("US", days).tolist() == [False, False, True, False]
    assert is_holiday("DE-BY", days).tolist() == [False, True, False, False]
    assert is_holiday("", days).tolist() == [False] * 4
    with pytest.raises(ValueError, match="no public holidays of 'XX'"):
        is_holiday("XX", days)


def test_distances_to_holidays_are_full_days_up_to_a_week() -> None:
    days = days_of(*(date(2026, 12, 10) + index * DAY for index in range(28)))
    since, until = holiday_distances("FR", days)
    assert until[:16].tolist() == [7] * 8 + [7, 6, 5, 4, 3, 2, 1, 0]
    assert since[15:24].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]


def lag_days(series: Series, *days: date) -> list[list[int]]:
    """For noon of each day: the comparable days for one to seven days ago, as numbers of days."""
    panel = Panel.of([series])
    noons = np.array([(datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - series.start) // HOUR for day in days])
    lags = bins_back(WallTime.of(panel, np.zeros(len(days), dtype=np.int64), noons))
    return [[int(np.broadcast_to(lag, noons.shape)[index]) // 24 for lag in lags] for index in range(len(days))]


def test_a_holiday_is_comparable_to_the_last_sunday_and_to_no_other_day() -> None:
    series = hourly(datetime(2026, 12, 1, tzinfo=UTC), 40, Context(country="FR"), lambda local: 1.0 + local.hour)
    friday, saturday, monday = date(2026, 12, 25), date(2026, 12, 26), date(2026, 12, 28)
    new_year = date(2027, 1, 1)
    christmas, boxing, later, first = lag_days(series, friday, saturday, monday, new_year)
    assert christmas == [1, 2, 3, 4, 5, 6, 5]  # the Sunday before
    assert boxing == [2, 2, 3, 4, 5, 6, 7]  # in place of Friday, which was Christmas, Thursday
    assert later == [1, 2, 4, 4, 5, 6, 7]
    assert first == [1, 2, 3, 4, 5, 6, 5]  # a Sunday was nearer than Christmas


def test_without_a_country_the_comparable_days_are_the_previous_days() -> None:
    series = hourly(datetime(2026, 12, 1, tzinfo=UTC), 40, Context(), lambda local: 1.0 + local.hour)
    assert lag_days(series, date(2026, 12, 25)) == [[1, 2, 3, 4, 5, 6, 7]]
    assert np.isnan(column(series, "days_since_holiday")).all()
