"""Demand of counters: totals are stored, and read as rates per second."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.samples import Sample, Samples, series_of

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def totals(pod: str, at_second: int, *values: float, counter: bool = True) -> list[Sample]:
    labels = {"pod": pod}
    first = START + timedelta(seconds=at_second)
    return [
        Sample(first + minute * MINUTE, "checkout", "requests_total", series_of(labels), value, labels, counter)
        for minute, value in enumerate(values)
        if not np.isnan(value)
    ]


async def test_the_demand_of_a_counter_is_its_rate_across_resets_and_pods(database: Database) -> None:
    samples = Samples(database)
    # 2 per second, a restart in minute 2, then 1 per second; the other pod starts later, at 3 per second.
    await samples.record([*totals("a", 0, 600, 720, 840, 60, 120, 180), *totals("b", 30, np.nan, np.nan, 0, 180, 360)])
    demand = Demand(database)
    key = SeriesKey("checkout", "requests_total")
    peak = SeriesKey("checkout", "requests_total", Aggregation.MAX)
    minutes = await demand.minutes([key, peak, SeriesKey("checkout", "other")], START, START + 6 * MINUTE)
    assert minutes[key].tolist() == pytest.approx([2, 2, 1, 4, 1, np.nan], nan_ok=True)
    assert minutes[peak].tolist() == pytest.approx([2, 2, 1, 3, 1, np.nan], nan_ok=True)
    # A window in the middle has the same rates, because totals around it are read as well.
    window = (await demand.minutes([key], START + 2 * MINUTE, START + 4 * MINUTE))[key]
    assert window.tolist() == pytest.approx([1, 4])
    read = await demand.of_service("checkout", START, START + 3 * MINUTE)
    assert [minute.value for minute in read] == pytest.approx([2, 2, 1, 4])
    assert [minute.minute for minute in read] == [START + number * MINUTE for number in range(4)]


async def test_a_gap_of_a_counter_is_a_gap_in_its_demand(database: Database) -> None:
    await Samples(database).record(totals("a", 0, 0, 60, 120, *[np.nan] * 5, 480, 540, 600, 660))
    key = SeriesKey("checkout", "requests_total")
    minutes = (await Demand(database).minutes([key], START, START + 11 * MINUTE))[key]
    assert minutes.tolist() == pytest.approx([1, 1, *[np.nan] * 6, 1, 1, 1], nan_ok=True)


async def test_duplicates_and_another_order_do_not_change_the_rate(database: Database) -> None:
    samples = Samples(database)
    known = totals("a", 15, 600, 720, 840, 60, 120)
    for sample in [*reversed(known), *known]:
        await samples.record([sample])
    key = SeriesKey("checkout", "requests_total")
    minutes = (await Demand(database).minutes([key], START, START + 4 * MINUTE))[key]
    assert minutes.tolist() == pytest.approx([np.nan, 2, 1.25, 1], nan_ok=True)
