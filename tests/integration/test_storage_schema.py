"""Migrations, chunks, and the refusal to start with another schema version."""

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


async def test_a_second_migration_changes_nothing(database_url: str) -> None:
    async with Database(database_url) as database:
        assert len(await migrate(database, CLOCK)) == len(migrations())
        tables_before = await tables(database)
        assert await migrate(database, CLOCK) == []
        assert await tables(database) == tables_before
        assert await scalar(database, "select min(applied_at) from schema_migrations") == CLOCK.at


async def test_concurrent_migrations_execute_each_step_once(database_url: str) -> None:
    databases = [Database(database_url, max_size=1) for _ in range(6)]
    try:
        executed = await asyncio.gather(*(migrate(database, CLOCK) for database in databases))
        assert sorted(name for names in executed for name in names) == [
            f"{migration.version:04}_{migration.name}" for migration in migrations()
        ]
        await check_schema(databases[0])
    finally:
        for database in databases:
            await database.close()


async def test_a_database_without_a_schema_is_refused(database_url: str) -> None:
    async with Database(database_url) as database:
        with pytest.raises(SchemaError, match=r"has no schema, this code needs \d+; run `predictive-scaling migrate`"):
            await check_schema(database)


async def test_older_and_newer_schema_versions_are_refused(migrated_database_url: str) -> None:
    required = migrations()[-1].version
    async with Database(migrated_database_url) as database:
        await check_schema(database)
        await scalar(database, f"delete from schema_migrations where version = {required} returning 1")
        with pytest.raises(SchemaError, match=f"has schema version {required - 1}, this code needs {required}; run"):
            await check_schema(database)
        await scalar(database, "insert into schema_migrations values (9999, 'future', '', '1998-07-03') returning 1")
        with pytest.raises(SchemaError, match=f"has schema version 9999, this code supports up to {required}"):
            await check_schema(database)
        with pytest.raises(SchemaError, match="migrate with the newer release"):
            await migrate(database, CLOCK)


async def test_a_migration_whose_content_changed_is_refused(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        await scalar(database, "update schema_migrations set checksum = 'other' where version = 1 returning 1")
        with pytest.raises(SchemaError, match=r"migration 1 \(tables.pre\) was applied with"):
            await migrate(database, CLOCK)


async def test_error_messages_contain_no_password() -> None:
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


async def test_samples_of_any_year_are_stored_in_their_partition(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        times = [datetime(year, 7, 3, 23, 59, 59, tzinfo=UTC) for year in (1998, 2025, 2026)]
        samples = [Sample(time, "checkout", "requests_per_second", series_of({}), 1.0, {}) for time in times]
        assert await Samples(database).record(samples) == 3
        assert {"metrics_raw_19980703", "metrics_1m_19980629"} < await tables(database)


async def test_a_sample_without_a_partition_is_an_error(
    migrated_database_url: str,
) -> None:
    async with Database(migrated_database_url) as database:
        with pytest.raises(psycopg.errors.CheckViolation):
            await scalar(
                database,
                "insert into metrics_raw (time, service_name, metric_name, series, value) "
                "values ('1998-07-03', 'checkout', 'x', 1, 1) returning 1",
            )


async def test_concurrent_writers_create_each_partition_once(migrated_database_url: str) -> None:
    days = [date(2026, 11, 1) + timedelta(days=day) for day in range(20)]
    async with Database(migrated_database_url, max_size=6) as database:
        samples = Samples(database)
        times = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
        await asyncio.gather(*(samples.prepare(times) for _ in range(6)))
        count = "select count(*) from pg_inherits where inhparent = 'metrics_raw'::regclass"
        assert await scalar(database, count) == 20


async def test_drop_chunks_drops_entirely_older_chunks_and_returns_their_names(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        days = [datetime(2026, 11, day, 12, tzinfo=UTC) for day in (20, 21, 22)]
        await Samples(database).record([Sample(day, "api", "cpu", 0, 1.0, {}) for day in days])
        dropped = await scalar(
            database, "select array_agg(c) from drop_chunks('metrics_raw', timestamptz '2026-11-22 11:59Z') as c"
        )
        assert dropped == ["public.metrics_raw_20261120", "public.metrics_raw_20261121"]
        assert await scalar(database, "select count(*) from metrics_raw") == 1
        assert await scalar(database, "select count(*) from metrics_1m") == 3


async def test_drop_chunks_accepts_an_interval(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        await Samples(database).record([Sample(CLOCK.at, "api", "cpu", 0, 1.0, {})])
        query = "select count(*) from drop_chunks('metrics_raw', older_than => interval '30 days')"
        assert await scalar(database, query) == 1
        assert await scalar(database, query) == 0
        with pytest.raises(psycopg.errors.WrongObjectType, match="predictions is not kept in chunks"):
            await scalar(database, "select drop_chunks('predictions', interval '1 day')")


async def test_retention_uses_the_given_time_and_not_the_servers(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        times = [CLOCK.at - timedelta(days=days) for days in (1, 29, 40, 399, 500)]
        await Samples(database).record([Sample(time, "api", "cpu", 0, 1.0, {}) for time in times])
        removed = await Retention(database, timedelta(days=30), timedelta(days=400)).apply(CLOCK.at)
        assert (len(removed.chunks), removed.failed) == (4, [])
        assert await scalar(database, "select count(*) from metrics_raw") == 2
        assert await scalar(database, "select count(*) from metrics_1m") == 4
        assert await scalar(database, "select count(*) from series") == 1


async def test_the_engine_of_the_runbook_connects(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    async with engine.connect() as conn:
        row = await (await conn.execute("SELECT 1")).fetchone()
    assert row == (1,)


async def test_the_pool_recovers_after_a_restart_of_postgresql(
    postgres: PostgreSQL, migrated_database_url: str
) -> None:
    async with Database(migrated_database_url, max_size=3) as database:
        await asyncio.gather(*(database.ping() for _ in range(3)))
        await postgres.stop()
        with pytest.raises(DatabaseUnavailableError):
            await database.ping()
        await postgres.start()
        await database.ping()


async def test_a_statement_timeout_is_reported_as_unavailable(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, statement_timeout=timedelta(milliseconds=50)) as database:
        with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
            await scalar(database, "select pg_sleep(5)")
        await database.ping()


async def test_a_read_only_connection_is_replaced(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=1) as database:
        await database.ping()
        await scalar(database, "select set_config('default_transaction_read_only', 'on', false)")
        with pytest.raises(DatabaseUnavailableError, match="read-only"):
            await scalar(database, "insert into ingest_offsets values ('t', 0, 0, '', '1998-07-03') returning 1")
        assert (
            await scalar(database, "insert into ingest_offsets values ('t', 0, 0, '', '1998-07-03') returning 1") == 1
        )
