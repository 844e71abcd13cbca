"""The newest features of a service, with and without Redis."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio

from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.features import FeatureStore
from predictive_scaling.features.cache import FeatureCache
from predictive_scaling.stack.ports import free_port
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.samples import Sample, Samples, series_of

pytestmark = pytest.mark.integration

NOW = datetime(1998, 7, 3, 15, 0, 30, tzinfo=UTC)
CLOCK = ManualClock(NOW)
UNREACHABLE_DATABASE = Database("postgresql://127.0.0.1:1/away", checkout_timeout=timedelta(milliseconds=100))


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncGenerator[Database]:
    async with Database(migrated_database_url, purpose="tests") as database:
        await Samples(database).record(
            [
                Sample(
                    NOW - timedelta(minutes=minute),
                    "api",
                    "requests",
                    series_of({"pod": pod}),
                    60.0 - minute,
                    {"pod": pod},
                )
                for minute in range(30)
                for pod in "ab"
            ]
        )
        yield database


async def test_features_are_sums_over_the_series_in_the_newest_minute(database: Database) -> None:
    assert await FeatureStore(database, clock=CLOCK).get_latest("api") == {
        "service": "api",
        "time": "1998-07-03T15:00:00+00:00",
        "metrics": {
            "requests": {
                "time": "1998-07-03T15:00:00+00:00",
                "last": 120.0,
                "mean_5m": 116.0,
                "mean_15m": 106.0,
                "mean_1h": 91.0,
                "max_1h": 120.0,
                "level": 106.0,
            }
        },
    }


async def test_a_service_without_samples_has_no_features(database: Database) -> None:
    assert await FeatureStore(database, clock=CLOCK).get_latest("b") == {"service": "b", "time": None, "metrics": {}}


async def test_a_feature_store_without_arguments_uses_the_environment(
    database: Database, migrated_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("PREDICTIVE_SCALING_CLOCK", f"{NOW.isoformat()},1e9,1")
    without_redis = await FeatureStore().get_latest("api")
    assert without_redis["metrics"]["requests"]["last"] == 120.0
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert await FeatureStore().get_latest("api") == without_redis


async def test_features_are_served_from_redis_without_the_database(database: Database, redis_url: str) -> None:
    cache = FeatureCache(redis_url)
    features = await FeatureStore(database, cache, CLOCK).get_latest("api")
    assert await FeatureStore(UNREACHABLE_DATABASE, cache, CLOCK).get_latest("api") == features
    await cache.close()
    await UNREACHABLE_DATABASE.close()


async def test_without_redis_and_database_the_error_names_the_database(redis_url: str) -> None:
    with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1:1/away"):
        await FeatureStore(UNREACHABLE_DATABASE, clock=CLOCK).get_latest("api")
    await UNREACHABLE_DATABASE.close()


async def test_an_unreachable_or_silent_redis_opens_the_circuit_and_changes_no_result(database: Database) -> None:
    async def read_without_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    expected = await FeatureStore(database, clock=CLOCK).get_latest("api")
    silent = await asyncio.start_server(read_without_answer, "127.0.0.1", 0)
    async with silent:
        for port in (silent.sockets[0].getsockname()[1], free_port()):
            cache = FeatureCache(f"redis://127.0.0.1:{port}/0")
            store = FeatureStore(database, cache, CLOCK)
            assert await store.get_latest("api") == expected
            assert cache.circuit_open
            assert await store.get_latest("api") == expected
            await cache.close()


async def test_an_unreadable_cache_entry_is_ignored(database: Database, redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.set("predictive-scaling:features:api", b"\x00")
    cache = FeatureCache(redis_url)
    assert (await FeatureStore(database, cache, CLOCK).get_latest("api"))["time"] is not None
    await cache.close()
