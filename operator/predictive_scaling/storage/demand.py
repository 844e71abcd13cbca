"""Demand per minute, read from the 1-minute rollups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from psycopg.rows import class_row

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
    """Reads the table `metrics_1m`. The demand of a minute is the aggregation over the series' means in it."""

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
            for position, packed in await self._read(batch, since, until):
                key = batch[position]
                demand[key] = _aggregate(np.frombuffer(packed, _PACKED), Aggregation(key.aggregation), since, length)
        return demand

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
            return await cursor.fetchall()

    async def _read(self, keys: Sequence[SeriesKey], since: datetime, until: datetime) -> list[tuple[int, bytes]]:
        values = {
            "services": [key.service for key in keys],
            "metrics": [key.metric for key in keys],
            "since": since,
            "until": until,
        }
        async with self._database.connection() as connection:
            return await (await connection.execute(MINUTES, values, binary=True)).fetchall()


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


def _truncate_to_minute(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)
