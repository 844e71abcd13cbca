"""A circuit breaker for Redis, which is only a cache: fast or skipped, and safe to lose."""

import asyncio
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from predictive_scaling.clock import monotonic

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 0.05
"""Time limit of a Redis command; after that the caller reads from the database."""

OPEN_SECONDS = 10.0
"""Time that the circuit stays open after a failed command."""


class RedisCircuit:
    """Executes Redis commands; after a failure the circuit is open, and commands are skipped, for OPEN_SECONDS.

    Without a client all commands are skipped. cache: the name of the cache in the logs.
    """

    def __init__(self, redis: Redis | None, cache: str) -> None:
        self._redis = redis
        self._cache = cache
        self._open_until = 0.0

    @property
    def circuit_open(self) -> bool:
        """Whether commands are skipped because of a recent failure."""
        return monotonic() < self._open_until

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the response of a command; None when it fails, times out or is skipped. Never raises."""
        if self._redis is None or self.circuit_open:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._redis.execute_command(*command)
        except (RedisError, OSError, TimeoutError) as error:
            self._open_until = monotonic() + OPEN_SECONDS
            log.warning(
                "redis_circuit_opened",
                cache=self._cache,
                error=str(error) or type(error).__name__,
                seconds=OPEN_SECONDS,
            )
            return None

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()


def connect_redis(url: str) -> Redis:
    """Return a client whose connections use TIMEOUT_SECONDS."""
    return Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
