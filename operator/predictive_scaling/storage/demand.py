"""Demand per minute, read from the 1-minute rollups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import numpy as np
import numpy.typing as npt
from psycopg.rows import class_row

from forecasting.cleaning.counters import counter_rates
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.storage.database import Connections

FloatArray = npt.NDArray[np.float64]
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class DemandMinute:
    """One minute of a metric of a service, Sum over its series."""

    metric: str
    minute: datetime
    value: float


# One row per key with packed minutes: millions of single rows would cost ten times as much to transfer.
MINUTES = """
select (position - 1)::int4, read.packed
from unnest(%(services)s::text[], %(metrics)s::text[]) with ordinality as key (service_name, metric_name, position)
cross join lateral (
    select string_agg(timestamptz_send(minute) || float8send(sum / count), '') as packed
    from metrics_1m as rollup
    where rollup.service_name = key.service_name and rollup.metric_name = key.metric_name
        and rollup.minute >= %(since)s and rollup.minute < %(until)s and rollup.count > 0) as read
where read.packed is not null
"""

COUNTERS = """
select distinct key.service_name, key.metric_name
from unnest(%(services)s::text[], %(metrics)s::text[]) as key (service_name, metric_name)
join series using (service_name, metric_name)
where series.is_counter and series.last_day >= %(first_day)s
"""

# One row per series: the totals of its minutes, each with its time.
TOTALS = """
select (position - 1)::int4, string_agg(timestamptz_send(last_time) || float8send(last), '' order by minute)
from unnest(%(services)s::text[], %(metrics)s::text[]) with ordinality as key (service_name, metric_name, position)
join metrics_1m as rollup using (service_name, metric_name)
where rollup.minute >= %(since)s and rollup.minute < %(until)s
group by position, series
having count(*) > 1
"""
COUNTER_MARGIN = 5 * MINUTE
"""Totals are read this much before and after a span, because the rate of a minute needs totals on both sides."""

_PACKED = np.dtype([("microseconds", ">i8"), ("mean", ">f8")])
_POSTGRESQL_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

CELLS_PER_STATEMENT = 4_000_000
"""Maximum number of minutes over all keys per statement, far within the statement timeout."""

RECORDED = """
select distinct service_name, metric_name from series where last_day >= %(since)s order by 1, 2
"""

OF_SERVICE = """
select metric_name as metric, minute, sum(sum / count) as value
from metrics_1m
where service_name = %(service)s and minute >= %(since)s and minute <= %(now)s and count > 0
group by metric_name, minute
order by metric_name, minute
"""


class Demand:
    """Reads the table `metrics_1m`.

    The demand of a minute is the aggregation over the series' means in it; for counters, over their rates per second.
    """

    def __init__(self, database: Connections) -> None:
        self._database = database

    async def minutes(self, keys: Sequence[SeriesKey], since: datetime, until: datetime) -> dict[SeriesKey, FloatArray]:
        """Return the demand of each key in every minute of [since, until), both truncated to minutes.

        Each array has shape (minutes,), NaN where there was no sample: a missing minute is never zero. The result has
        all keys; a key without samples is all NaN. One statement reads up to CELLS_PER_STATEMENT minutes.
        """
        since, until = _truncate_to_minute(since), _truncate_to_minute(until)
        unique_keys = list(dict.fromkeys(keys))
        length = max(0, (until - since) // MINUTE)
        demand = {key: np.full(length, np.nan) for key in unique_keys}
        step = CELLS_PER_STATEMENT // max(1, length) or 1
        for first in range(0, len(unique_keys) if length else 0, step):
            batch = unique_keys[first : first + step]
            counters = await self._counters(batch, since)
            gauges = [key for key in batch if (key.service, key.metric) not in counters]
            for position, packed in await self._read(MINUTES, gauges, since, until):
                key = gauges[position]
                demand[key] = _aggregate(np.frombuffer(packed, _PACKED), Aggregation(key.aggregation), since, length)
            if len(gauges) < len(batch):
                totals = [key for key in batch if (key.service, key.metric) in counters]
                for key, rates in (await self._rates(totals, since, until)).items():
                    demand[key] = _aggregate(rates, Aggregation(key.aggregation), since, length)
        return demand

    async def resets(self, keys: Sequence[SeriesKey], since: datetime, until: datetime) -> dict[SeriesKey, int]:
        """Return how often the counters of each key restarted in [since, until), over all series; 0 for gauges."""
        resets = dict.fromkeys(keys, 0)
        counters = await self._counters(keys, since)
        totals = [key for key in resets if (key.service, key.metric) in counters]
        for position, packed in await self._read(TOTALS, totals, since, until):
            series = np.frombuffer(packed, _PACKED)
            seconds = series["microseconds"].astype(np.float64) / 1e6
            resets[totals[position]] += counter_rates(seconds, series["mean"].astype(np.float64), 60.0)[2]
        return resets

    async def recorded(self, since: datetime) -> list[SeriesKey]:
        """Return a Sum key of every metric with a sample since then, sorted."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(RECORDED, {"since": since.date()})).fetchall()
            return [SeriesKey(service, metric) for service, metric in rows]

    async def of_service(self, service: str, since: datetime, now: datetime) -> list[DemandMinute]:
        """Return the recorded minutes of all metrics of a service in [since, now], by metric and time."""
        values = {"service": service, "since": since, "now": now}
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(DemandMinute)) as cursor,
        ):
            await cursor.execute(OF_SERVICE, values)
            minutes = await cursor.fetchall()
        keys = [SeriesKey(service, metric) for metric in sorted({minute.metric for minute in minutes})]
        known = await self._counters(keys, since)
        counters = [key for key in keys if (service, key.metric) in known]
        if not counters:
            return minutes
        others = [minute for minute in minutes if SeriesKey(service, minute.metric) not in counters]
        rates = await self.minutes(counters, since, now + MINUTE)
        start = _truncate_to_minute(since)
        of_counters = [
            DemandMinute(key.metric, start + number * MINUTE, float(rate))
            for key, values in rates.items()
            for number, rate in enumerate(values)
            if not np.isnan(rate)
        ]
        return sorted([*others, *of_counters], key=lambda minute: (minute.metric, minute.minute))

    async def _counters(self, keys: Sequence[SeriesKey], since: datetime) -> set[tuple[str, str]]:
        """Return service and metric of the keys with a counter among their series since `since`."""
        values = {
            "services": [key.service for key in keys],
            "metrics": [key.metric for key in keys],
            "first_day": since.date(),
        }
        async with self._database.connection() as connection:
            rows = await (await connection.execute(COUNTERS, values)).fetchall()
            return {(service, metric) for service, metric in rows}

    async def _rates(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.void]]:
        """Return the rates per second of the series of counters, packed like their means."""
        rates: dict[SeriesKey, list[npt.NDArray[np.void]]] = {}
        rows = await self._read(TOTALS, keys, since - COUNTER_MARGIN, until + COUNTER_MARGIN)
        for position, packed in rows:
            rates.setdefault(keys[position], []).append(_rates_of(np.frombuffer(packed, _PACKED), since, until))
        return {key: np.concatenate(series) for key, series in rates.items()}

    async def _read(
        self, statement: LiteralString, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> list[tuple[int, bytes]]:
        if not keys:
            return []
        values = {
            "services": [key.service for key in keys],
            "metrics": [key.metric for key in keys],
            "since": since,
            "until": until,
        }
        async with self._database.connection() as connection:
            return await (await connection.execute(statement, values, binary=True)).fetchall()


def _aggregate(packed: npt.NDArray[np.void], aggregation: Aggregation, since: datetime, length: int) -> FloatArray:
    """Return the aggregation over the series' means of each minute, shape (length,); NaN without a sample."""
    start = (since - _POSTGRESQL_EPOCH) // timedelta(microseconds=1)
    minutes = (packed["microseconds"].astype(np.int64) - start) // 60_000_000
    means = packed["mean"].astype(np.float64)
    counts = np.bincount(minutes, minlength=length)
    if aggregation is Aggregation.MAX:
        values = np.full(length, -np.inf)
        np.maximum.at(values, minutes, means)
    else:
        values = np.bincount(minutes, means, length)
    if aggregation is Aggregation.MEAN:
        values = values / np.maximum(counts, 1)
    return np.where(counts > 0, values, np.nan)


def _rates_of(totals: npt.NDArray[np.void], since: datetime, until: datetime) -> npt.NDArray[np.void]:
    """Return the known rates of a counter in the minutes of [since, until)."""
    seconds = totals["microseconds"].astype(np.float64) / 1e6
    start, rates, _ = counter_rates(seconds, totals["mean"].astype(np.float64), MINUTE.total_seconds())
    # In full seconds: a floating-point time could fall into the minute before.
    begins = round(start) + 60 * np.arange(len(rates), dtype=np.int64)
    first, end = ((time - _POSTGRESQL_EPOCH) // timedelta(seconds=1) for time in (since, until))
    known = ~np.isnan(rates) & (begins >= first) & (begins < end)
    packed = np.empty(int(known.sum()), _PACKED)
    packed["microseconds"], packed["mean"] = begins[known] * 1_000_000, rates[known]
    return packed


def _truncate_to_minute(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)
