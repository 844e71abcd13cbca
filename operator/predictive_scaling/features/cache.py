"""Redis in front of the database: quick or not at all. Losing it loses nothing."""

import asyncio
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from predictive_scaling.clock import monotonic

log = structlog.get_logger(__name__)

LIMIT_SECONDS = 0.05
"""A visit takes no longer; what takes longer is asked of the database."""

PAUSE_SECONDS = 10.0
"""After a failed visit Redis is left alone this long."""

TTL_SECONDS = 15
"""How long an entry serves."""


class FeatureCache:
    """Best effort: a Redis that is away, slow or full reads as an empty one, and costs nothing for a while."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=LIMIT_SECONDS, socket_connect_timeout=LIMIT_SECONDS)
        self._closed_until = 0.0

    @property
    def circuit_open(self) -> bool:
        """True for a while after a failed visit."""
        return monotonic() < self._closed_until

    async def get(self, service: str) -> dict[str, Any] | None:
        """What was put for a service in the last seconds."""
        raw = await self._visit("get", _key(service))
        try:
            return msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, bytes) else None
        except msgspec.DecodeError:
            return None

    async def put(self, service: str, features: dict[str, Any]) -> None:
        """Keep features for some seconds."""
        await self._visit("set", _key(service), msgspec.json.encode(features), "EX", TTL_SECONDS)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _visit(self, *command: str | bytes | int) -> Any:
        if self.circuit_open:
            return None
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                return await self._redis.execute_command(*command)
        except (RedisError, OSError, TimeoutError) as error:
            self._closed_until = monotonic() + PAUSE_SECONDS
            log.warning("feature_cache_left_alone", error=str(error) or type(error).__name__, seconds=PAUSE_SECONDS)
            return None


def _key(service: str) -> str:
    return f"predictive-scaling:features:{service}"
