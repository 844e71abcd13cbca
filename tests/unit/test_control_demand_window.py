"""Demand in memory: history is read once, then only new minutes; a missing minute is never zero."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from predictive_scaling.control.demand_window import HISTORY, MINUTE, DemandWindow
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.series_key import SeriesKey

NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)
KEY = SeriesKey("checkout", "requests_per_second", "Sum")
OTHER = SeriesKey("orders", "requests_per_second", "Sum")


class Table:
    """Minutes of the database; records its queries."""

    def __init__(self) -> None:
        self.minutes_of: dict[SeriesKey, dict[datetime, float]] = {KEY: {}, OTHER: {}}
        self.queries: list[tuple[tuple[SeriesKey, ...], datetime, datetime]] = []
        self.is_away = False

    def put(self, at: datetime, value: float, key: SeriesKey = KEY) -> None:
        self.minutes_of[key][at] = value

    def fill(self, since: datetime, until: datetime, value: float) -> None:
        for index in range((until - since) // MINUTE):
            self.put(since + index * MINUTE, value)

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")
        self.queries.append((tuple(keys), since, until))
        count = (until - since) // MINUTE
        return {
            key: np.array([self.minutes_of[key].get(since + index * MINUTE, np.nan) for index in range(count)])
            for key in keys
        }


@pytest.fixture
def table() -> Table:
    table = Table()
    table.fill(NOON - timedelta(hours=2), NOON, 100.0)
    return table


async def test_a_series_ends_with_the_newest_observed_minute(table: Table) -> None:
    window = DemandWindow(table)
    await window.advance([KEY], NOON + timedelta(minutes=3, seconds=20))
    series = window.series(KEY)
    assert series is not None
    assert (series.end, len(series.values)) == (NOON, 24)
    newest = window.newest(KEY)
    assert newest is not None
    assert (newest.value, newest.at) == (100.0, NOON)


async def test_the_current_minute_is_not_read(table: Table) -> None:
    table.put(NOON, 3.0)
    window = DemandWindow(table)
    await window.advance([KEY], NOON + timedelta(seconds=59))
    newest = window.newest(KEY)
    assert newest is not None
    assert newest.at == NOON


async def test_only_the_newest_minutes_are_read_again(table: Table) -> None:
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    await window.advance([KEY], NOON + timedelta(minutes=1))
    await window.advance([KEY], NOON + timedelta(minutes=2))
    spans = [until - since for _, since, until in table.queries]
    assert spans[0] == HISTORY
    assert spans[2] == timedelta(minutes=6)


async def test_late_rows_are_read(table: Table) -> None:
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    late = NOON - timedelta(minutes=90)
    table.put(late, 700.0)
    await window.advance([KEY], NOON + timedelta(minutes=20))
    assert window.minutes(KEY, late, late + MINUTE).tolist() == [700.0]


async def test_a_series_added_later_is_loaded_in_full(table: Table) -> None:
    table.put(NOON - timedelta(days=7), 5.0, OTHER)
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    await window.advance([KEY, OTHER], NOON + MINUTE)
    assert window.observed(OTHER) == MINUTE
    assert window.minutes(OTHER, NOON - timedelta(days=7), NOON - timedelta(days=7) + MINUTE).tolist() == [5.0]


async def test_demand_is_kept_during_a_database_outage_and_the_gap_is_read_afterwards(table: Table) -> None:
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    table.is_away = True
    with pytest.raises(DatabaseUnavailableError):
        await window.advance([KEY], NOON + timedelta(hours=3))
    assert window.newest(KEY) is not None
    table.is_away = False
    table.fill(NOON, NOON + timedelta(hours=3), 200.0)
    await window.advance([KEY], NOON + timedelta(hours=3))
    assert np.isfinite(window.minutes(KEY, NOON, NOON + timedelta(hours=3))).all()


async def test_a_zero_is_missing_data_unless_zeros_are_valid(table: Table) -> None:
    table.fill(NOON, NOON + timedelta(minutes=10), 0.0)
    window = DemandWindow(table)
    await window.advance([KEY], NOON + timedelta(minutes=10))
    without_zeros, with_zeros = window.newest(KEY), window.newest(KEY, zero_is_valid=True)
    assert without_zeros is not None
    assert with_zeros is not None
    assert (without_zeros.at, with_zeros.at, with_zeros.value) == (NOON, NOON + timedelta(minutes=10), 0.0)


async def test_a_bin_without_samples_is_a_gap_and_not_zero(table: Table) -> None:
    for minute in range(11, 21):
        del table.minutes_of[KEY][NOON - timedelta(minutes=minute)]
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    series = window.series(KEY)
    assert series is not None
    assert np.isnan(series.values[-4:-2]).tolist() == [True, True]
    assert (series.values[np.isfinite(series.values)] == 100.0).all()


async def test_a_series_until_a_time_contains_no_later_demand(table: Table) -> None:
    table.fill(NOON - timedelta(minutes=30), NOON, 900.0)
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    series = window.series(KEY, until=NOON - timedelta(minutes=30))
    assert series is not None
    assert series.end == NOON - timedelta(minutes=30)
    assert series.values.max() == 100.0


async def test_a_series_without_policies_is_dropped(table: Table) -> None:
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    await window.advance([], NOON + MINUTE)
    assert window.series(KEY) is None


async def test_history_that_is_filled_in_later_is_loaded_within_minutes_and_not_forever(table: Table) -> None:
    window = DemandWindow(table)
    await window.advance([KEY], NOON)
    table.fill(NOON - HISTORY, NOON - timedelta(hours=2), 50.0)
    for minute in range(1, 4):
        await window.advance([KEY], NOON + minute * MINUTE)
    series = window.series(KEY)
    assert series is not None
    assert series.values[0] == 50.0
    table.queries.clear()
    await window.advance([KEY], NOON + timedelta(hours=1))
    assert all(since > NOON - timedelta(days=1) for _, since, _ in table.queries)


async def test_a_young_series_is_loaded_again_less_and_less_often(table: Table) -> None:
    window = DemandWindow(table)
    for minute in range(24 * 60):
        await window.advance([KEY], NOON + minute * MINUTE)
    loads = [until for _, since, until in table.queries if until - since == HISTORY]
    gaps = [(later - earlier) // MINUTE for earlier, later in pairwise(loads)]
    assert gaps[:4] == [2, 4, 8, 16]
    assert max(gaps) == 6 * 60
    assert len(loads) <= 14
