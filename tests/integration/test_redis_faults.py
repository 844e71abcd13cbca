"""Redis is only a cache: whatever happens to it, the answers are those without it, and only the latency changes."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis

from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.features.cache import FeatureCache
from predictive_scaling.features.store import FeatureStore
from predictive_scaling.stack.ports import free_port
from predictive_scaling.storage import redis_circuit
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.redis_circuit import connect_redis
from predictive_scaling.storage.samples import Sample, Samples, series_of
from tests.support.api_services import NOW, a_forecast, api_client, api_services
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.integration

SERVICES = ("cart", "checkout", "search")
CACHED_PATHS = [
    "/api/v1/predictions/current",
    *(f"/api/v1/predictions/current?limit={limit}" for limit in (1, 2, 3, 4)),
]
PATHS = [*CACHED_PATHS, *(f"/api/v1/predictions/current?service={service}" for service in SERVICES)]
MAX_SECONDS_PER_REQUEST = 5.0
"""Far above the time limits of Redis, and far below those of a client that waits for Redis."""


@asynccontextmanager
async def recorded(url: str, redis_url: str | None, owner: str = "") -> AsyncGenerator[httpx.AsyncClient]:
    """The API over recorded forecasts, with this Redis."""
    redis = connect_redis(redis_url) if redis_url else None
    clock = ReplayClock(NOW, monotonic(), rate=1)
    try:
        async with api_services(url, clock=clock, cache=ResponseCache(redis, owner)) as services:
            for service in SERVICES:
                await services.predictions.record(a_forecast(service))
            async with api_client(services) as client:
                yield client
    finally:
        if redis is not None:
            await redis.aclose()


async def responses(client: httpx.AsyncClient) -> list[str]:
    """Return the bodies of all paths, each asked for twice and by several requests at once."""
    began = monotonic()
    answers = await asyncio.gather(*(client.get(path) for path in PATHS for _ in range(2)))
    answers += [await client.get(path) for path in PATHS]
    assert (monotonic() - began) / (len(PATHS) + 1) < MAX_SECONDS_PER_REQUEST
    assert {answer.status_code for answer in answers} == {200}
    return [answer.text for answer in answers]


@pytest.fixture
async def proxy(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Proxy]:
    """A proxy for Redis, whose commands have their usual time limit. After a failure Redis is tried again at once."""
    monkeypatch.setattr(redis_circuit, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(redis_circuit, "OPEN_SECONDS", 0.0)
    async with proxied(urlsplit(redis_url).port or 0) as proxy:
        yield proxy


async def flush(redis: Redis) -> None:
    await redis.flushall()


async def fill_up(redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "noeviction")
    await redis.config_set("maxmemory", "1")


async def write_garbage(redis: Redis) -> None:
    """Overwrite each entry, with another one where there is one, and with what is no entry elsewhere."""
    keys = sorted(await redis.keys("predictive-scaling:*"))
    assert len(keys) >= len(CACHED_PATHS)
    first, last = await _entry(redis, keys[0]), await _entry(redis, keys[-1])
    garbage = [last, b"", b"{}", b"\x00" * 16, first[:-1]]
    for number, key in enumerate(keys):
        await redis.set(key, garbage[number % len(garbage)])


async def _entry(redis: Redis, key: bytes | str) -> bytes:
    entry = await redis.get(key)
    assert isinstance(entry, bytes)
    return entry


async def write_lists(redis: Redis) -> None:
    for key in await redis.keys("predictive-scaling:*"):
        await redis.delete(key)
        await redis.rpush(key, "not a string")


FAULTS: dict[str, Callable[[Redis], Awaitable[None]]] = {
    "flushed": flush,
    "full": fill_up,
    "with other values": write_garbage,
    "with values of another type": write_lists,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_answers_do_not_depend_on_the_content_of_redis(
    fault: str, migrated_database_url: str, redis_url: str
) -> None:
    async with recorded(migrated_database_url, None) as client:
        expected = await responses(client)
    async with recorded(migrated_database_url, redis_url) as client, Redis.from_url(redis_url) as redis:
        assert await responses(client) == expected
        try:
            await FAULTS[fault](redis)
            assert await responses(client) == expected
        finally:
            await redis.config_set("maxmemory", "0")


@pytest.mark.parametrize("delay_seconds", [0.02, 0.045, 0.5])
async def test_the_answers_of_a_slow_redis_are_never_those_to_other_questions(
    delay_seconds: float, migrated_database_url: str, proxy: Proxy
) -> None:
    async with recorded(migrated_database_url, None) as client:
        expected = await responses(client)
    async with recorded(migrated_database_url, f"redis://127.0.0.1:{proxy.port}/0") as client:
        assert await responses(client) == expected
        proxy.delay_seconds = delay_seconds
        assert await responses(client) == expected
        assert await responses(client) == expected


async def test_the_answers_are_the_same_while_redis_is_gone_and_when_it_is_back(
    migrated_database_url: str, proxy: Proxy
) -> None:
    async with recorded(migrated_database_url, None) as client:
        expected = await responses(client)
    async with recorded(migrated_database_url, f"redis://127.0.0.1:{proxy.port}/0") as client:
        assert await responses(client) == expected
        proxy.cut()
        assert await responses(client) == expected
        proxy.restore()
        assert await responses(client) == expected


async def test_the_answers_are_the_same_with_a_wrong_password_or_address(
    migrated_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recorded(migrated_database_url, None) as client:
        expected = await responses(client)
    async with Redis.from_url(redis_url) as redis:
        await redis.config_set("requirepass", "right")
        try:
            port = urlsplit(redis_url).port
            wrong = (f"redis://:wrong@127.0.0.1:{port}/0", redis_url, f"redis://127.0.0.1:{free_port()}/0")
            for url in wrong:
                async with recorded(migrated_database_url, url) as client:
                    assert await responses(client) == expected
        finally:
            await redis.config_set("requirepass", "")


async def test_installations_that_share_a_redis_do_not_share_answers(
    migrated_database_url: str, redis_url: str
) -> None:
    async with recorded(migrated_database_url, redis_url, "db-1/app") as client:
        path = "/api/v1/predictions/current?limit=5"
        assert len((await client.get(path)).json()["predictions"]) == len(SERVICES)
    clock = ReplayClock(NOW, monotonic(), rate=1)
    async with Redis.from_url(redis_url) as redis, Database(migrated_database_url) as database:
        async with database.connection() as connection:
            await connection.execute("delete from current_predictions")
        for owner, found in (("db-1/app", len(SERVICES)), ("db-2/app", 0)):
            cache = ResponseCache(redis, owner)
            async with (
                api_services(migrated_database_url, clock=clock, cache=cache) as services,
                api_client(services) as client,
            ):
                assert len((await client.get(path)).json()["predictions"]) == found


async def test_features_do_not_depend_on_the_content_of_redis(database: Database, redis_url: str) -> None:
    clock = ReplayClock(NOW, monotonic(), rate=1)
    labels = {"pod": "a"}
    for service in SERVICES:
        sample = Sample(NOW - timedelta(minutes=2), service, "rps", series_of(labels), len(service), labels)
        await Samples(database).record([sample])
    expected = [await FeatureStore(database, clock=clock).get_latest(service) for service in SERVICES]
    cache = FeatureCache(redis_url)
    store = FeatureStore(database, cache, clock)
    async with Redis.from_url(redis_url) as redis:
        assert [await store.get_latest(service) for service in SERVICES] == expected
        keys = sorted(await redis.keys("predictive-scaling:features:*"))
        await redis.set(keys[0], await _entry(redis, keys[1]))
        await redis.set(keys[1], b'{"service": "checkout", "time": null, "metrics": {}}')
        assert [await store.get_latest(service) for service in SERVICES] == expected
    await cache.close()


async def test_the_operator_does_not_load_a_client_of_redis() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import predictive_scaling.commands.operate, sys; print('redis' in sys.modules)"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert output.split() == [b"False"]
