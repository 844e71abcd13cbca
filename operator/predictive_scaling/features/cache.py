"""A Redis cache of features."""

from typing import Any

import msgspec

from predictive_scaling.storage.redis_circuit import RedisCircuit, connect_redis

TTL_SECONDS = 15
"""Lifetime of an entry."""


class FeatureCache:
    """Best effort: an unreachable, slow or full Redis behaves like an empty cache."""

    def __init__(self, url: str) -> None:
        self._redis = RedisCircuit(connect_redis(url), "features")

    @property
    def circuit_open(self) -> bool:
        """Whether the cache is skipped because of a recent failure."""
        return self._redis.circuit_open

    async def get(self, service: str) -> dict[str, Any] | None:
        """Return the cached features of a service; None without a valid entry."""
        raw = await self._redis.execute("get", _key(service))
        try:
            return msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, bytes) else None
        except msgspec.DecodeError:
            return None

    async def put(self, service: str, features: dict[str, Any]) -> None:
        """Cache features for TTL_SECONDS."""
        await self._redis.execute("set", _key(service), msgspec.json.encode(features), "EX", TTL_SECONDS)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()


def _key(service: str) -> str:
    return f"predictive-scaling:features:{service}"
