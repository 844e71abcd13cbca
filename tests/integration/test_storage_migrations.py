"""Migration of the rows of every older schema, on a real PostgreSQL."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling.clock import WallClock
from predictive_scaling.errors import SchemaError
from predictive_scaling.storage import migrate as migrate_module
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.schema import Migration, check_schema, migrations
from tests.support.filled_tables import contents, fill_tables, read_rows

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

OLD_PREDICTIONS = """
insert into predictions
select made, 'checkout', made + bin * interval '5 minutes', 5, 10 + bin, %(p80)s, 30, 1e-300, 'LightGBM', '1', 'shop',
    policy, 'fresh', made + interval '1 hour'
from generate_series(%(since)s, %(until)s, interval '1 minute') as made, generate_series(0, 12) as bin,
    unnest(array['cart', 'checkout']) as policy
"""


NEWEST = migrations()[-1].version
ROWS = 20

# The contents of migrations that were changed on the first day of development, as replacements in the final ones.
SERVICE_INDEX = "create index predictions_by_service on predictions (service_name, target_time);\n"
POLICY_FIRST = (
    "(namespace, policy, target_time, created_at desc)",
    "(target_time, namespace, policy, created_at desc)",
)
OUTCOME = ("    event text,\n    outcome text\n", "    event text\n")
TABLE_LOCK = (
    (
        " The table's lock and no other: with it the server takes note of\n"
        "            -- what others made meanwhile. It lets readers and writers pass.\n"
        "            execute format('lock table only %s in share update exclusive mode', relation);\n"
    ),
    "\n            perform pg_advisory_xact_lock(7291040362);\n",
)
CHUNK_END = "to_timestamp(right(relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' + chunk_width(relation)\n"
INDEX_NAMES = (
    (
        "                -- A plan may look at this before the parent, and so at the names of others, such as indexes."
        "\n                and case when relname ~ '_[0-9]{8}$' then\n"
        f"                    {CHUNK_END}                end <= older_than\n"
    ),
    f"                and {CHUNK_END}                    <= older_than\n",
)
FIRST_TABLES = (OUTCOME, POLICY_FIRST, (SERVICE_INDEX, ""))
FIRST_SCHEMAS = {
    "first": {1: FIRST_TABLES, 2: (TABLE_LOCK, INDEX_NAMES)},
    "second": {1: FIRST_TABLES, 2: (INDEX_NAMES,)},
    "third": {1: (OUTCOME,), 2: (INDEX_NAMES,)},
    "fourth": {1: (OUTCOME,), 2: ()},
}


async def migrate_to(steps: Sequence[Migration], database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrate to the schema of an older release."""
    with monkeypatch.context() as patch:
        patch.setattr(migrate_module, "migrations", lambda: tuple(steps))
        await migrate(database, WallClock())


def up_to(version: int, without: int | None = None) -> list[Migration]:
    return [step for step in migrations() if step.version <= version and step.version != without]


async def check_that_rows_survive(
    steps: Sequence[Migration], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate_to(steps, database, monkeypatch)
    await fill_tables(database, ROWS)
    before = await contents(database)
    forecasts = before.pop("predictions")
    assert all(content.rows == ROWS for content in before.values())
    await migrate(database, WallClock())
    assert await contents(database, before) == before
    assert (await contents(database))["predictions"].rows == forecasts.rows
    assert await migrate(database, WallClock()) == []
    await check_schema(database)
    # Rows of accuracy from before 0006 have no sums, and belong to no window.
    filled = {*before, "predictions"} - ({"model_performance"} if steps[-1].version < 6 else set[str]())
    assert {table for table, entries in (await read_rows(database)).items() if not entries} & filled == set()


@pytest.mark.parametrize("version", range(2, NEWEST + 1))
async def test_rows_of_every_older_schema_survive(
    version: int, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url, purpose="tests") as database:
        await check_that_rows_survive(up_to(version), database, monkeypatch)


@pytest.mark.parametrize("version", [17, 18])
async def test_a_migration_that_came_later_than_its_successors_is_applied(
    version: int, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url, purpose="tests") as database:
        await check_that_rows_survive(up_to(version, without=16), database, monkeypatch)


@pytest.mark.parametrize("name", FIRST_SCHEMAS)
async def test_rows_of_the_first_schemas_survive(
    name: str, database_url: str, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Migration] = []
    for step in up_to(2):
        text = step.sql
        for final, earlier in FIRST_SCHEMAS[name][step.version]:
            assert final in text
            text = text.replace(final, earlier)
        assert text == step.sql or step.upgrade(hashlib.sha256(text.encode()).hexdigest()) is not None
        steps.append(replace(step, sql=text))
    async with Database(database_url) as database, Database(migrated_database_url) as new:
        await check_that_rows_survive(steps, database, monkeypatch)
        assert await definitions(database) == await definitions(new)


async def definitions(database: Database) -> list[object]:
    """Return the columns, indexes and functions of the schema, without partitions."""
    statement = """
        select table_name, column_name, udt_name, is_nullable from information_schema.columns
        where table_schema = 'public' and table_name !~ '_[0-9]{8}$'
        union all
        select tablename, indexname, indexdef, '' from pg_indexes
        where schemaname = 'public' and tablename !~ '_[0-9]{8}$'
        union all
        select proname, pg_get_function_arguments(oid), prosrc, '' from pg_proc
        where pronamespace = 'public'::regnamespace
        order by 1, 2, 3
    """
    async with database.connection() as connection:
        return list(await (await connection.execute(statement)).fetchall())


async def test_a_schema_without_a_migration_in_the_middle_is_refused(migrated_database_url: str) -> None:
    async with Database(migrated_database_url) as database:
        async with database.connection() as connection:
            await connection.execute("delete from schema_migrations where version = 16")
        with pytest.raises(SchemaError, match=f"has schema version {NEWEST} without 16, this code needs {NEWEST}; run"):
            await check_schema(database)


async def test_migration_keeps_the_last_forecast_of_each_five_minutes_of_a_week(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url, purpose="tests") as database:
        await migrate_to(up_to(4), database, monkeypatch)
        values = {"since": NOW - timedelta(days=8), "until": NOW, "p80": 1e300}
        async with database.connection() as connection:
            await connection.execute(OLD_PREDICTIONS, values)
        await migrate(database, WallClock())
        async with database.connection() as connection:
            query = "select policy, count(*), count(distinct created_at), max(created_at) from predictions group by 1"
            rows = await (await connection.execute(f"{query} order by 1")).fetchall()
            old_table = await (await connection.execute("select to_regclass('predictions_before')")).fetchone()
        week = 7 * 24 * 12 + 1  # the newest forecast begins a new interval
        assert rows == [(policy, 13 * week, week, NOW) for policy in ("cart", "checkout")]
        assert old_table == (None,)
        (point,) = await Predictions(database).ahead(15 * MINUTE, NOW, NOW + 5 * MINUTE, ("shop", "cart"))
        assert (point.created_at, point.target_time) == (NOW - 11 * MINUTE, NOW + 4 * MINUTE)
        assert (point.p10, point.p50, point.p95, point.source) == (5.0, 13.0, 0.0, "FreshForecast")
        assert point.p80 == pytest.approx(3.4e38)


async def test_a_database_without_forecasts_migrates(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Database(database_url, purpose="tests") as database:
        await migrate_to(up_to(4), database, monkeypatch)
        await migrate(database, WallClock())
        assert await Predictions(database).newest(NOW, NOW) == []
