"""Migrations, chunks and the refusal to start on another schema."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import DatabaseUnavailableError, SchemaError, SettingsError
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.database import Database, engine
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.samples import Sample, Samples, series_of
from predictive_scaling.storage.schema import check_schema, migrations

pytestmark = pytest.mark.integration

CLOCK = ManualClock(datetime(1998, 7, 3, 13, tzinfo=UTC))


async def tables(database: Database) -> set[str]:
    async with database.connection() as connection:
        rows = await (await connection.execute("select relname from pg_class where relkind in ('r', 'p')")).fetchall()
        return {name for (name,) in rows if not name.startswith(("pg_", "sql_"))}


async def scalar(database: Database, query: str) -> object:
    async with database.connection() as connection:
        row = await (await connection.execute(query.encode())).fetchone()
        return row[0] if row else None


async def test_migrating_twice_changes_nothing_the_second_time(database_url: str) -> None:
    async with Database(database_url) as database:
        assert len(await migrate(database, CLOCK)) == len(migrations())
        made = await tables(database)
        assert await migrate(database, CLOCK) == []
        assert await tables(database) == made
        assert await scalar(database, "select min(applied_at) from schema_migrations") == CLOCK.at


async def test_of_many_that_migrate_at_once_each_step_is_done_by_one(database_url: str) -> None:
    databases = [Database(database_url, max_size=1) for _ in range(6)]
    try:
        done = await asyncio.gather(*(migrate(database, CLOCK) for database in databases))
        assert sorted(name for names in done for name in names) == [
            f"{migration.version:04}_{migration.name}" for migration in migrations()
        ]
        await check_schema(databases[0])
    finally:
        for database in databases:
            await database.close()


async def test_a_database_without_schema_is_refused_with_the_command_to_run(database_url: str) -> None:
    async with Database(database_url) as database:
        with pytest.raises(SchemaError, match=r"has no schema, this code needs \d+; run `predictive-scaling migrate`"):
            await check_schema(database)


async def test_an_older_and_a_newer_schema_are_refused_with_both_versions(migrated_database_url: str) -> None:
    needed = migrations()[-1].version
    async with Database(migrated_database_url) as database:
        await check_schema(database)
        await scalar(database, f"delete from schema_migrations where version = {needed} returning 1")
        with pytest.raises(SchemaError, match=f"has schema version {needed - 1}, this code needs {needed}; run"):
            await check_schema(database)
        await scalar(database, "insert into schema_migrations values (9999, 'future', '', '1998-07-03') returning 1")
        with pytest.raises(SchemaError, match=f"has schema version 9999, this code supports up to {needed}"):
            await check_schema(database)
        with pytest.raises(SchemaError, match="migrate with the newer release"):
            await migrate(database, CLOCK)


async def test_a_step_that_was_applied_with_other_contents_is_refused(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        await scalar(database, "update schema_migrations set checksum = 'other' where version = 1 returning 1")
        with pytest.raises(SchemaError, match=r"migration 1 \(tables.pre\) was applied with other contents"):
            await migrate(database, CLOCK)


async def test_a_password_never_stands_in_a_message() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as raised:
        Database("postgresql://app:hunter2@[::bad/x?unknown=1")
    assert "hunter2" not in str(raised.value)
    database = Database("postgresql://app:hunter2@127.0.0.1:1/x", checkout_timeout=timedelta(seconds=1))
    try:
        with pytest.raises(DatabaseUnavailableError, match=r"PostgreSQL at 127\.0\.0\.1:1/x") as unreachable:
            await database.ping()
        assert "hunter2" not in str(unreachable.value)
    finally:
        await database.close()


async def test_samples_of_any_year_find_their_partition(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        times = [datetime(year, 7, 3, 23, 59, 59, tzinfo=UTC) for year in (1998, 2025, 2026)]
        samples = [Sample(time, "checkout", "requests_per_second", series_of({}), 1.0, {}) for time in times]
        assert await Samples(database).record(samples) == 3
        assert {"metrics_raw_19980703", "metrics_1m_19980629"} < await tables(database)


async def test_a_sample_without_partition_is_an_error_and_never_hidden_in_a_default_one(
    migrated_database_url: str,
) -> None:
    async with Database(migrated_database_url) as database:
        with pytest.raises(psycopg.errors.CheckViolation):
            await scalar(
                database,
                "insert into metrics_raw (time, service_name, metric_name, series, value) "
                "values ('1998-07-03', 'checkout', 'x', 1, 1) returning 1",
            )


async def test_partitions_made_by_many_at_once_are_made_once(migrated_database_url: str) -> None:
    days = [date(2026, 11, 1) + timedelta(days=day) for day in range(20)]
    async with Database(migrated_database_url, max_size=6) as database:
        samples = Samples(database)
        times = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
        await asyncio.gather(*(samples.prepare(times) for _ in range(6)))
        count = "select count(*) from pg_inherits where inhparent = 'metrics_raw'::regclass"
        assert await scalar(database, count) == 20


async def test_drop_chunks_drops_what_is_wholly_older_and_names_it(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        days = [datetime(2026, 11, day, 12, tzinfo=UTC) for day in (20, 21, 22)]
        await Samples(database).record([Sample(day, "api", "cpu", 0, 1.0, {}) for day in days])
        dropped = await scalar(
            database, "select array_agg(c) from drop_chunks('metrics_raw', timestamptz '2026-11-22 11:59Z') as c"
        )
        assert dropped == ["public.metrics_raw_20261120", "public.metrics_raw_20261121"]
        assert await scalar(database, "select count(*) from metrics_raw") == 1
        assert await scalar(database, "select count(*) from metrics_1m") == 3


async def test_drop_chunks_takes_an_interval_as_people_type_it(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        await Samples(database).record([Sample(CLOCK.at, "api", "cpu", 0, 1.0, {})])
        query = "select count(*) from drop_chunks('metrics_raw', older_than => interval '30 days')"
        assert await scalar(database, query) == 1
        assert await scalar(database, query) == 0
        with pytest.raises(psycopg.errors.WrongObjectType, match="predictions is not kept in chunks"):
            await scalar(database, "select drop_chunks('predictions', interval '1 day')")


async def test_retention_goes_by_the_products_clock_not_by_the_servers(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        times = [CLOCK.at - timedelta(days=days) for days in (1, 29, 40, 399, 500)]
        await Samples(database).record([Sample(time, "api", "cpu", 0, 1.0, {}) for time in times])
        removed = await Retention(database, timedelta(days=30), timedelta(days=400)).apply(CLOCK.at)
        assert (len(removed.chunks), removed.failed) == (4, [])
        assert await scalar(database, "select count(*) from metrics_raw") == 2
        assert await scalar(database, "select count(*) from metrics_1m") == 4
        assert await scalar(database, "select count(*) from series") == 1


async def test_the_engine_of_the_runbook_answers(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    async with engine.connect() as conn:
        row = await (await conn.execute("SELECT 1")).fetchone()
    assert row == (1,)


async def test_the_pool_heals_when_postgresql_is_restarted(postgres: PostgreSQL, migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=3) as database:
        await asyncio.gather(*(database.ping() for _ in range(3)))
        await postgres.stop()
        with pytest.raises(DatabaseUnavailableError):
            await database.ping()
        await postgres.start()
        await database.ping()


async def test_a_statement_that_takes_too_long_ends_as_unavailable(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, statement_timeout=timedelta(milliseconds=50)) as database:
        with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
            await scalar(database, "select pg_sleep(5)")
        await database.ping()


async def test_a_connection_that_turned_read_only_is_replaced(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=1) as database:
        await database.ping()
        await scalar(database, "select set_config('default_transaction_read_only', 'on', false)")
        with pytest.raises(DatabaseUnavailableError, match="read-only"):
            await scalar(database, "insert into ingest_offsets values ('t', 0, 0, '', '1998-07-03') returning 1")
        assert (
            await scalar(database, "insert into ingest_offsets values ('t', 0, 0, '', '1998-07-03') returning 1") == 1
        )
