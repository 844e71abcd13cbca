"""Migration of the rows of an older release, on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling.clock import WallClock
from predictive_scaling.storage import migrate as migrate_module
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.schema import migrations

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


async def migrate_to(version: int, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrate to the schema of an older release."""
    older = tuple(migration for migration in migrations() if migration.version <= version)
    with monkeypatch.context() as patch:
        patch.setattr(migrate_module, "migrations", lambda: older)
        await migrate(database, WallClock())


async def test_migration_keeps_the_last_forecast_of_each_five_minutes_of_a_week(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url, purpose="tests") as database:
        await migrate_to(4, database, monkeypatch)
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
        await migrate_to(4, database, monkeypatch)
        await migrate(database, WallClock())
        assert await Predictions(database).newest(NOW, NOW) == []
