"""Raw samples, their 1-minute rollups, and their series."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from predictive_scaling.storage.database import Connection, Database


class Sample(NamedTuple):
    """A measured value. series: `series_of(labels)`. is_counter: the value is a total, whose demand is its rate."""

    time: datetime
    service_name: str
    metric_name: str
    series: int
    value: float
    labels: Mapping[str, str]
    is_counter: bool = False


class SampleSeries(NamedTuple):
    """A metric of a service with a set of labels."""

    service_name: str
    metric_name: str
    series: int


def series_of(labels: Mapping[str, str]) -> int:
    """Return a signed 64-bit hash of a set of labels, independent of their order. Must never change: it is a key.

    >>> series_of({"pod": "a", "zone": "b"}) == series_of({"zone": "b", "pod": "a"})
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(labels.items()):
        for part in (name.encode(), value.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
    return int.from_bytes(digest.digest(), "big", signed=True)


CREATE_PARTITIONS = """
select create_partitions('metrics_raw', %(times)s), create_partitions('metrics_1m', %(times)s)
"""

CREATE_ROLLUP_PARTITIONS = "select create_partitions('metrics_1m', %(times)s)"

STAGE = """
create temporary table if not exists incoming (
    time timestamptz, service_name text, metric_name text, series bigint, value float8, labels jsonb)
on commit delete rows
"""

COPY = "copy incoming (time, service_name, metric_name, series, value, labels) from stdin (format binary)"
TYPES = ["timestamptz", "text", "text", "int8", "float8", "jsonb"]

# Only new rows update the rollups: a duplicate sample counts once, independent of the order of samples.
# Ordered by key, so that concurrent ingesters of the same minutes wait for each other instead of deadlocking.
KEEP = """
with fresh as (
    insert into metrics_raw (time, service_name, metric_name, series, value, labels)
    select time, service_name, metric_name, series, value, labels from incoming
    order by service_name, metric_name, series, time
    on conflict do nothing
    returning time, service_name, metric_name, series, value),
minutes as (
    insert into metrics_1m as rollup
        (minute, service_name, metric_name, series, sum, count, min, max, last, last_time)
    select date_bin('1 minute', time, 'epoch') as minute, service_name, metric_name, series, sum(value), count(*),
        min(value), max(value), (array_agg(value order by time desc))[1], max(time)
    from fresh
    group by 1, 2, 3, 4
    order by 2, 3, 1, 4
    on conflict (service_name, metric_name, minute, series) do update
    set sum = rollup.sum + excluded.sum,
        count = rollup.count + excluded.count,
        min = least(rollup.min, excluded.min),
        max = greatest(rollup.max, excluded.max),
        last = case when excluded.last_time >= rollup.last_time then excluded.last else rollup.last end,
        last_time = greatest(rollup.last_time, excluded.last_time)
    returning 1)
select (select count(*) from fresh), (select count(*) from minutes)
"""

TOUCH_SERIES = """
insert into series (service_name, metric_name, series, labels, last_day, is_counter)
values (%(service_name)s, %(metric_name)s, %(series)s, %(labels)s, %(last_day)s, %(is_counter)s)
on conflict (service_name, metric_name, series) do update
set last_day = greatest(series.last_day, excluded.last_day), is_counter = excluded.is_counter
"""

SERIES_OF_SERVICES = """
select service_name, metric_name, series, last_day from series
where service_name = any(%(services)s) and last_day >= %(since)s
"""

ACTIVE_SERVICES = "select service_name, max(last_day) from series where last_day >= %(since)s group by service_name"


class Samples:
    """The tables `metrics_raw`, `metrics_1m` and `series`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def services(self, since: date) -> dict[str, date]:
        """Return the services with samples since `since`, with their last day."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(ACTIVE_SERVICES, {"since": since})).fetchall()
            return dict(rows)

    async def series(self, services: Collection[str], since: date) -> dict[SampleSeries, date]:
        """Return the series of these services with samples since `since`, with their last day."""
        values = {"services": list(services), "since": since}
        async with self._database.connection() as connection:
            rows = await (await connection.execute(SERIES_OF_SERVICES, values)).fetchall()
            return {SampleSeries(service, metric, series): last_day for service, metric, series, last_day in rows}

    async def record(self, samples: Sequence[Sample]) -> int:
        """Write samples outside of ingest, for demos and tests; return the number of new samples."""
        await self.prepare(sample.time for sample in samples)
        newest = {
            SampleSeries(sample.service_name, sample.metric_name, sample.series): sample
            for sample in sorted(samples, key=lambda sample: sample.time)
        }
        async with self._database.connection() as connection:
            await touch_series(connection, newest.values())
            return await keep(connection, samples)

    async def prepare(self, times: Iterable[datetime], *, history: bool = False) -> None:
        """Create the partitions of these times, in a separate transaction, because it is rare and blocks others.

        history: those of the rollups only, for `keep_history`.
        """
        days = sorted({time.date() for time in times})
        statement = CREATE_ROLLUP_PARTITIONS if history else CREATE_PARTITIONS
        async with self._database.connection() as connection:
            await connection.execute(statement, {"times": days})


async def keep(connection: Connection, samples: Sequence[Sample]) -> int:
    """Write samples within the caller's transaction; return the number of new samples.

    Requires `Samples.prepare` for their times. Raises psycopg's CheckViolation for a sample without a partition.
    """
    if not samples:
        return 0
    async with connection.cursor() as cursor:
        await stage(cursor, samples)
        row = await (await cursor.execute(KEEP)).fetchone()
        return row[0] if row else 0


async def stage(cursor: psycopg.AsyncCursor[TupleRow], samples: Sequence[Sample]) -> None:
    """Copy samples to the table `incoming` of the transaction."""
    await cursor.execute(STAGE)
    async with cursor.copy(COPY) as copy:
        copy.set_types(TYPES)
        wrapped: dict[int, Jsonb] = {}
        for sample in samples:
            labels = wrapped.get(sample.series) or wrapped.setdefault(sample.series, Jsonb(dict(sample.labels)))
            await copy.write_row((*sample[:5], labels))


async def touch_series(connection: Connection, newest: Iterable[Sample]) -> None:
    """Update the last day of series within the caller's transaction; new series are registered."""
    values = [
        {
            "service_name": sample.service_name,
            "metric_name": sample.metric_name,
            "series": sample.series,
            "labels": Jsonb(dict(sample.labels)),
            "last_day": sample.time.date(),
            "is_counter": sample.is_counter,
        }
        for sample in sorted(newest, key=lambda sample: sample[1:4])
    ]
    if values:
        async with connection.cursor() as cursor:
            await cursor.executemany(TOUCH_SERIES, values)
