"""A Redis cache of API responses, shared by all processes of the API."""

from datetime import timedelta

from redis.asyncio import Redis

from predictive_scaling.storage.redis_circuit import RedisCircuit

MAX_AGE = timedelta(seconds=5)
"""Lifetime of a response, in product time."""

_MAX_BYTES = 1 << 20


class ResponseCache:
    """Best effort: an unreachable, slow or full Redis behaves like an empty cache, as does a missing client."""

    def __init__(self, redis: Redis | None = None) -> None:
        self._redis = RedisCircuit(redis, "responses")

    async def get(self, query: str) -> bytes | None:
        """Return the cached response of a query; None without an entry."""
        response = await self._redis.execute("get", _key(query))
        return response if isinstance(response, bytes) else None

    async def put(self, query: str, response: bytes, ttl_seconds: float) -> None:
        """Cache a response for `ttl_seconds` of real time; responses above 1 MiB are not cached."""
        if len(response) <= _MAX_BYTES:
            await self._redis.execute("set", _key(query), response, "PX", max(1, round(ttl_seconds * 1000)))


def _key(query: str) -> str:
    return f"predictive-scaling:answers:{query}"
