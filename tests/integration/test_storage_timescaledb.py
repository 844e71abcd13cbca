"""What the storage asks of TimescaleDB: on a stand-in extension, and on a real server where TIMESCALEDB_URL names one.

TIMESCALEDB_URL is the URL of an empty database whose server has TimescaleDB 2.18.1 or newer; its tables are deleted.
The stand-in has the functions and views that are called, with their documented arguments, and records the calls.
"""

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from predictive_scaling.clock import WallClock
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage import timescaledb
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.pulled_samples import keep_corrected, keep_history
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.samples import Sample, Samples, series_of

pytestmark = pytest.mark.integration

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

STAND_IN: LiteralString = """
create table calls (number serial, call text);
create schema timescaledb_information;
create table timescaledb_information.hypertables (
    hypertable_schema name, hypertable_name name, compression_enabled boolean);
create table timescaledb_information.chunks (hypertable_schema name, hypertable_name name, range_end timestamptz);

create function create_hypertable(relation regclass, time_column_name name, chunk_time_interval interval,
    create_default_indexes boolean default true) returns void language sql as $$
    insert into timescaledb_information.hypertables values ('public', relation::text, false);
    insert into calls (call)
    values (format('create_hypertable %s %s %s', relation, time_column_name, chunk_time_interval))
$$;
create function drop_chunks(relation regclass, older_than timestamptz) returns setof text language sql as $$
    insert into calls (call) values (format('drop_chunks %s %s', relation, older_than));
    delete from timescaledb_information.chunks where hypertable_name = relation::text and range_end <= older_than
    returning hypertable_name
$$;
create procedure add_columnstore_policy(hypertable regclass, after interval, if_not_exists boolean default false)
language plpgsql as $$
begin
    if not (select compression_enabled from timescaledb_information.hypertables
        where hypertable_name = hypertable::text) then
        raise exception 'columnstore not enabled on hypertable "%"', hypertable;
    end if;
    insert into calls (call) values (format('add_columnstore_policy %s %s', hypertable, after));
end
$$;
create function enable_columnstore(hypertable regclass, segments text, ordered text) returns void language sql as $$
    update timescaledb_information.hypertables set compression_enabled = true where hypertable_name = hypertable::text;
    insert into calls (call) values (format('enable_columnstore %s: %s by %s', hypertable, segments, ordered))
$$;
"""


async def fetch(database: Database, query: str) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        return list(await (await connection.execute(query.encode())).fetchall())


@pytest.fixture
async def installation(
    database_url: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Awaitable[str]]:
    """Make a version and license of the stand-in available in an empty database, and return its URL."""

    async def install(version: str, license_name: str) -> str:
        folder = open_folder / "extension"
        folder.mkdir(mode=0o755, exist_ok=True)
        (folder / "timescaledb.control").write_text(f"default_version = '{version}'\nschema = public\n")
        (folder / f"timescaledb--{version}.sql").write_text(STAND_IN)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            name = connection.info.dbname
            path = f"alter database {name} set extension_control_path = '{open_folder}:$system'"
            await connection.execute(path.encode())
            await connection.execute(f"alter database {name} set timescaledb.license = '{license_name}'".encode())
        return database_url

    # PostgreSQL refuses the parameters of TimescaleDB's tables before a function can stand in for them.
    monkeypatch.setattr(timescaledb, "ENABLE", sql.SQL("select enable_columnstore('{table}', {segments}, {time})"))
    return install


CREATED = ["create_hypertable metrics_raw time 1 day", "create_hypertable metrics_1m minute 7 days"]
COLUMNSTORES = [
    "enable_columnstore metrics_raw: service_name, metric_name, series by time",
    "add_columnstore_policy metrics_raw 7 days",
    "enable_columnstore metrics_1m: service_name, metric_name, series by minute",
    "add_columnstore_policy metrics_1m 28 days",
]
LIMIT = "select current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true)"
KEYS = """
select relname from pg_class join pg_index on indexrelid = pg_class.oid
where indisprimary and indrelid in ('metrics_raw'::regclass, 'metrics_1m'::regclass) order by relname
"""


async def calls(database: Database) -> list[object]:
    return [call for (call,) in await fetch(database, "select call from calls order by number")]


async def test_migration_enables_the_columnstore_once(installation: Callable[[str, str], Awaitable[str]]) -> None:
    url = await installation("2.18.1", "timescale")
    async with Database(url) as database:
        await migrate(database, WallClock())
        assert await calls(database) == [*CREATED, *COLUMNSTORES]
        assert await fetch(database, KEYS) == [("metrics_1m_pkey",), ("metrics_raw_pkey",)]
        assert await migrate(database, WallClock()) == []
        assert await calls(database) == [*CREATED, *COLUMNSTORES]
    async with Database(url, max_size=1) as database:
        assert await fetch(database, LIMIT) == [("0",)]
        # As after the restore of a dump, which does not contain settings of the database.
        await fetch(
            database, "select set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '9', false)"
        )
        await migrate(database, WallClock())
    async with Database(url) as database:
        assert await fetch(database, LIMIT) == [("0",)]
        assert await calls(database) == [*CREATED, *COLUMNSTORES]


@pytest.mark.parametrize(
    ("version", "license_name"), [("2.17.2", "timescale"), ("2.18.0", "timescale"), ("2.20.0", "apache")]
)
async def test_an_unusable_columnstore_stays_off_until_it_is_usable(
    version: str, license_name: str, installation: Callable[[str, str], Awaitable[str]]
) -> None:
    async with Database(await installation(version, license_name), max_size=1) as database:  # its session is set
        await migrate(database, WallClock())
        assert await calls(database) == CREATED
        assert await fetch(database, KEYS) == [("metrics_1m_pkey",), ("metrics_raw_pkey",)]
        await fetch(database, "update pg_extension set extversion = '2.21.4' where extname = 'timescaledb' returning 1")
        await fetch(database, "select set_config('timescaledb.license', 'timescale', false)")
        await migrate(database, WallClock())
        assert await calls(database) == [*CREATED, *COLUMNSTORES]


async def test_retention_drops_one_chunk_at_a_time(installation: Callable[[str, str], Awaitable[str]]) -> None:
    async with Database(await installation("2.24.0", "timescale")) as database:
        await migrate(database, WallClock())
        chunks = "insert into timescaledb_information.chunks select 'public', 'metrics_raw', timestamptz '2026-11-24 Z'"
        await fetch(database, f"{chunks} - n * interval '1 day' from generate_series(28, 31) as n returning 1")
        removed = await Retention(database, 30 * DAY, 400 * DAY).apply(NOW)
        assert (removed.chunks, removed.failed) == (["metrics_raw", "metrics_raw"], [])
        assert (await calls(database))[-2:] == [
            "drop_chunks metrics_raw 2026-10-24 00:00:00+00",
            "drop_chunks metrics_raw 2026-10-25 00:00:00+00",
        ]


async def test_without_the_extension_nothing_is_set_up(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database, database.connection() as connection:
        assert await timescaledb.configure(connection) == []


@pytest.mark.skipif("TIMESCALEDB_URL" not in os.environ, reason="TIMESCALEDB_URL names no database")
async def test_late_samples_and_corrections_reach_compressed_chunks() -> None:
    url, key = os.environ["TIMESCALEDB_URL"], SeriesKey("checkout", "requests")
    begin = NOW - 60 * DAY

    def samples(minutes: range, value: float = 1.0, second: int = 0) -> list[Sample]:
        labels = {"pod": "a"}
        return [
            Sample(
                begin + minute * MINUTE + timedelta(seconds=second),
                key.service,
                key.metric,
                series_of(labels),
                value,
                labels,
            )
            for minute in minutes
        ]

    async with Database(url, max_size=1) as database:
        await migrate(database, WallClock())
        await fetch(
            database, "select drop_chunks(h, older_than => now()) from unnest(array['metrics_raw', 'metrics_1m']) h"
        )
        assert await Samples(database).record(samples(range(3000))) == 3000
        compressed = await fetch(database, "select compress_chunk(c) from show_chunks('metrics_raw') as c")
        compressed += await fetch(database, "select compress_chunk(c) from show_chunks('metrics_1m') as c")
        assert len(compressed) >= 4
        # Known samples and new ones in one statement: versions before 2.18.1 lose those after the first known one.
        assert await Samples(database).record(samples(range(90, 110)) + samples(range(90, 110), 3.0, 30)) == 20
        async with database.connection() as connection:
            assert await keep_corrected(connection, samples(range(200, 210), 5.0)) == (0, 10)
        async with database.connection() as connection:
            assert await keep_history(connection, samples(range(2999, 3010))) == 10
        demand = (await Demand(database).minutes([key], begin, begin + 3010 * MINUTE))[key].tolist()
        assert demand == [1.0] * 90 + [2.0] * 20 + [1.0] * 90 + [5.0] * 10 + [1.0] * 2800
        removed = await Retention(database, 59 * DAY, 400 * DAY).apply(NOW)
        assert (len(removed.chunks), removed.failed) == (1, [])
