"""A Redis cache of features."""

from typing import Any

import msgspec

from predictive_scaling.storage.redis_circuit import RedisCircuit, connect_redis

TTL_SECONDS = 15
"""Lifetime of an entry."""


class FeatureCache:
    """Best effort: an unreachable, slow or full Redis behaves like an empty cache.

    owner: the location of the database that the features come from.
    """

    def __init__(self, url: str, owner: str = "") -> None:
        self._redis = RedisCircuit(connect_redis(url), "features", owner)

    @property
    def circuit_open(self) -> bool:
        """Whether the cache is skipped because of a recent failure."""
        return self._redis.circuit_open

    async def get(self, service: str) -> dict[str, Any] | None:
        """Return the cached features of a service; None without a valid entry."""
        encoded = await self._redis.get(service)
        return None if encoded is None else msgspec.json.decode(encoded, type=dict[str, Any])

    async def put(self, service: str, features: dict[str, Any]) -> None:
        """Cache features for TTL_SECONDS."""
        await self._redis.put(service, msgspec.json.encode(features), TTL_SECONDS * 1000)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()
