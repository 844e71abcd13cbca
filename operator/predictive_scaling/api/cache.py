"""A Redis cache of API responses, shared by all processes of the API."""

from datetime import timedelta

from redis.asyncio import Redis

from predictive_scaling.storage.redis_circuit import RedisCircuit

MAX_AGE = timedelta(seconds=5)
"""Lifetime of a response, in product time."""

_MAX_BYTES = 1 << 20


class ResponseCache:
    """Best effort: an unreachable, slow or full Redis behaves like an empty cache, as does a missing client.

    owner: the location of the database; installations may share a Redis.
    """

    def __init__(self, redis: Redis | None = None, owner: str = "") -> None:
        self._redis = RedisCircuit(redis, "responses", owner)

    async def get(self, query: str) -> bytes | None:
        """Return the cached response of a query; None without an entry."""
        return await self._redis.get(query)

    async def put(self, query: str, response: bytes, ttl_seconds: float) -> None:
        """Cache a response for `ttl_seconds` of real time; responses above 1 MiB are not cached."""
        if len(response) <= _MAX_BYTES:
            await self._redis.put(query, response, round(ttl_seconds * 1000))
