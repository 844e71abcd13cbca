"""Retention on a real PostgreSQL: every run completes, and a failure of one table does not affect another.

RETENTION_ROWS sets how many rows are generated (a million by default); with 30000000 it takes several minutes.
"""

import asyncio
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import pytest
from prometheus_client import REGISTRY

from predictive_scaling.clock import monotonic
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.retention import RULES, Removed, Retention
from predictive_scaling.storage.samples import Sample, Samples

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RAW, ROLLUPS = 30 * DAY, 400 * DAY
CHUNKS = 31
"""Days of samples that are entirely older than RAW, out of the 62 generated days."""
ROWS = int(os.environ.get("RETENTION_ROWS", "1000000"))

# Share of ROWS and statement of each table. The rows cover twice the retention, so that half of them expire.
GENERATE: dict[str, tuple[float, LiteralString]] = {
    "predictions": (
        0.6,
        """insert into predictions
        select made, made + point * interval '5 minutes', 1, 2, 3, 4, 5, 2, 3, 4, 5, 'FreshForecast', 'service',
            'shop', 'policy-' || policy, 'LightGBM', '20261124T120000Z'
        from generate_series(0, %(rows)s / 100 / 8 - 1) as step, generate_series(1, 100) as policy,
            generate_series(0, 7) as point,
            lateral (select %(now)s - 60 * interval '1 day' * step / (%(rows)s / 100 / 8)) as at (made)""",
    ),
    "metrics_raw": (
        0.15,
        """insert into metrics_raw
        select %(now)s - 60 * interval '1 day' * step / %(rows)s, 'service', 'requests', step %% 10, 1, '{}'
        from generate_series(0, %(rows)s - 1) as step""",
    ),
    "model_performance": (
        0.05,
        """insert into model_performance (created_at, model_name, model_version, service_name, namespace, policy,
            period, samples, since, until)
        select at, 'LightGBM', '1', 'service', 'shop', 'policy', '15 minutes', 3, at, at + interval '15 minutes'
        from generate_series(0, %(rows)s - 1) as step,
            lateral (select %(now)s - 800 * interval '1 day' * step / %(rows)s) as at (at)""",
    ),
    "scaling_decisions": (
        0.05,
        """insert into scaling_decisions
        select step::text, %(now)s - 800 * interval '1 day' * step / %(rows)s, 'service', 'shop', 'policy', 'uid', 1,
            'HorizontalPodAutoscaler/x', 'scale_up', 'succeeded', 1, 2, 2, 'Forecast', 'ForecastRose', 'It rose.',
            'Auto', 1, null, null, null, null, '{}', null, null
        from generate_series(0, %(rows)s - 1) as step""",
    ),
    "dead_letters": (
        0.05,
        """insert into dead_letters
        select 'metrics.raw', 0, step, 'id', 'undecodable', 'It is no JSON.', 'x', 1,
            %(now)s - 60 * interval '1 day' * step / %(rows)s
        from generate_series(0, %(rows)s - 1) as step""",
    ),
    "shadow_hours": (
        0.05,
        """insert into shadow_hours
        select 'shop', step::text, since, since, '1', 'hpa/x', 100, 180, 60, 60, 0, 0, 1, 1, ''
        from (select step, %(now)s - 60 * interval '1 day' * step / %(rows)s as since
            from generate_series(0, %(rows)s - 1) as step) as hours""",
    ),
    "replica_history": (
        0.05,
        """insert into replica_history
        select 'shop', step::text, %(now)s - 60 * interval '1 day' * step / %(rows)s, 1, 2, 2
        from generate_series(0, %(rows)s - 1) as step""",
    ),
    "sample_arrivals": (
        0.05,
        """insert into sample_arrivals
        select 'service', step::text, %(now)s - 60 * interval '1 day' * step / %(rows)s, 1, 0, 1
        from generate_series(0, %(rows)s - 1) as step""",
    ),
    "ingest_history": (
        0.05,
        """insert into ingest_history
        select 'metrics.raw', step %% 50, %(now)s - 60 * interval '1 day' * step / %(rows)s, step
        from generate_series(0, %(rows)s - 1) as step""",
    ),
    "series": (
        0.05,
        """insert into series
        select 'service', 'requests', step, '{}', (%(now)s - 800 * interval '1 day' * step / %(rows)s)::date
        from generate_series(0, %(rows)s - 1) as step""",
    ),
}


async def execute(database: Database, statement: LiteralString, **values: object) -> None:
    async with database.connection() as connection:
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(statement, values or None)


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        await connection.execute("set local statement_timeout = 0")
        row = await (await connection.execute(f"select count(*) from {table}".encode())).fetchone()
    return row[0] if row else 0


async def generate(database: Database, rows: int) -> dict[str, int]:
    """Insert rows into each table and return their number by table."""
    for table in ("predictions", "model_performance", "scaling_decisions", "dead_letters", "ingest_history", "series"):
        async with database.connection() as connection:
            # The rows need not survive a crash of the server.
            await connection.execute(f"alter table {table} set unlogged".encode())
    await Samples(database).prepare([NOW - day * DAY for day in range(62)])
    for share, statement in GENERATE.values():
        await execute(database, statement, rows=round(rows * share), now=NOW)
    return {table: await count(database, table) for table in GENERATE}


async def count_expired(database: Database) -> int:
    """Return the number of expired rows; metrics_raw loses complete chunks only."""
    columns = {
        "predictions": ("created_at", RAW),
        "model_performance": ("created_at", ROLLUPS),
        "scaling_decisions": ("created_at", ROLLUPS),
        "dead_letters": ("received_at", RAW),
        "shadow_hours": ("since", RAW),
        "replica_history": ("at", RAW),
        "sample_arrivals": ("hour", RAW),
        "ingest_history": ("minute", RAW),
        "series": ("last_day", ROLLUPS),
        "metrics_raw": ("time", RAW + DAY),
    }
    expired = 0
    for table, (column, retention) in columns.items():
        expired += await count(database, f"{table} where {column} < '{(NOW - retention).isoformat()}'")
    return expired


@pytest.mark.timeout(3600)
async def test_retention_completes_on_a_million_rows_during_writes(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=4) as database:
        before = await generate(database, ROWS)
        max_write_seconds = 0.0

        async def write_continuously() -> None:
            nonlocal max_write_seconds
            number = 0
            while True:
                started_at, number = monotonic(), number + 1
                await Samples(database).record([Sample(NOW - number * DAY / 86_400, "other", "cpu", 1, 1.0, {})])
                max_write_seconds = max(max_write_seconds, monotonic() - started_at)
                await asyncio.sleep(0)

        writer = asyncio.create_task(write_continuously())
        try:
            started_at = monotonic()
            removed = await Retention(database, RAW, ROLLUPS).apply(NOW)
            seconds = monotonic() - started_at
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
        assert removed.failed == []
        assert len(removed.chunks) == CHUNKS
        assert await count_expired(database) == 0
        for table, rows in before.items():
            if table not in ("metrics_raw", "series"):
                assert 0.45 * rows < removed.rows[table] < 0.55 * rows, table
        _print(sum(before.values()), removed, seconds, max_write_seconds)
        # With a retention of a day a single run removes all but the newest rows.
        started_at = monotonic()
        lowered = await Retention(database, DAY, DAY).apply(NOW)
        assert lowered.failed == []
        assert await count(database, "predictions") < before["predictions"] / 50
        print(f"lowered to a day: {sum(lowered.rows.values()):,} rows in {monotonic() - started_at:.0f} s")
        second_run = await Retention(database, DAY, DAY).apply(NOW)
        assert (second_run.chunks, sum(second_run.rows.values()), second_run.failed) == ([], 0, [])


def _print(rows: int, removed: Removed, total_seconds: float, max_write_seconds: float) -> None:
    tables = ", ".join(
        f"{table} {removed.rows.get(table, 0):,} in {seconds:.1f} s" for table, seconds in removed.seconds.items()
    )
    deleted = f"{sum(removed.rows.values()):,} deleted and {len(removed.chunks)} chunks"
    print(f"\n{rows:,} rows: {deleted} in {total_seconds:.0f} s")
    print(f"{tables}; the slowest concurrent write took {max_write_seconds:.1f} s")


def failures(table: str) -> float:
    return REGISTRY.get_sample_value("predictive_scaling_retention_failures_total", {"table": table}) or 0.0


async def test_a_locked_table_is_skipped_and_completed_by_the_next_run(
    migrated_database_url: str,
) -> None:
    async with Database(migrated_database_url, max_size=4) as database:
        await generate(database, 20_000)
        retention = Retention(database, RAW, ROLLUPS, lock_timeout=timedelta(milliseconds=50), lock_pauses=(0.01, 0.01))
        failures_before = {table: failures(table) for table in ("metrics_raw", "dead_letters", "series")}
        async with database.connection() as holder:
            await holder.execute("select count(*) from metrics_raw")
            await holder.execute("lock table dead_letters in share mode")
            removed = await retention.apply(NOW)
            assert removed.failed == ["metrics_raw", "dead_letters"]
        assert {table: failures(table) - before for table, before in failures_before.items()} == {
            "metrics_raw": 1.0,
            "dead_letters": 1.0,
            "series": 0.0,
        }
        assert removed.rows["series"] > 0
        assert removed.rows["predictions"] > 0
        removed = await retention.apply(NOW)
        assert (removed.failed, len(removed.chunks)) == ([], CHUNKS)
        assert await count_expired(database) == 0


@pytest.mark.parametrize("table", [rule.table for rule in RULES])
async def test_a_table_whose_deletes_fail_does_not_affect_others(migrated_database_url: str, table: str) -> None:
    async with Database(migrated_database_url, max_size=4) as database:
        await generate(database, 20_000)
        await execute(
            database,
            """
            insert into current_predictions values ('shop', 'old', 'old', '2020-01-01', '2020-01-01', 'FreshForecast',
                '', '', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
            insert into commands (created_at, kind, arguments) values ('2020-01-01', 'reload_models', '{}');
            insert into business_events values ('shop', 'sale', null, '2020-01-01', '2020-01-02', 2, null, 0, '{}',
                '2020-01-01');
            insert into backtest_results values ('unused', '2020-01-01', '{}', ''), ('shown', '2020-01-01', '{}', '');
            insert into backtests values ('uid', 'shop', 'kept', null, '2020-01-01', 'Succeeded', 'shown', '{}');
            create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
            """,
        )
        trigger = f"create trigger refuse before delete on {table} for each row execute function refuse()"
        async with database.connection() as connection:
            await connection.execute(trigger.encode())
        removed = await Retention(database, RAW, ROLLUPS).apply(NOW)
        assert removed.failed == [table]
        assert removed.rows.get("backtest_results", 1) == 1, "a result is kept as long as its backtest"
        assert {rule.table for rule in RULES if removed.rows.get(rule.table)} == {rule.table for rule in RULES} - {
            table
        }


async def test_batches_shrink_when_statements_time_out(migrated_database_url: str) -> None:
    """A trigger ends large deletes as the time limit of statements does, so that the test does not depend on time."""
    async with Database(migrated_database_url, max_size=2) as database:
        await generate(database, 20_000)
        await execute(
            database,
            """
            create function time_out() returns trigger language plpgsql as $$
            begin
                if (select count(*) from removed) > 200 then
                    raise exception 'canceling statement due to statement timeout' using errcode = 'query_canceled';
                end if;
                return null;
            end $$;
            create trigger time_out after delete on dead_letters referencing old table as removed
                for each statement execute function time_out();
            """,
        )
        removed = await Retention(database, RAW, ROLLUPS).apply(NOW)
        assert "dead_letters" not in removed.failed
        assert removed.rows["dead_letters"] == pytest.approx(500, abs=2)
        assert await count(database, f"dead_letters where received_at < '{(NOW - RAW).isoformat()}'") == 0
