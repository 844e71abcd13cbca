"""A circuit breaker for Redis, which is only a cache: fast or skipped, and safe to lose."""

import asyncio
from hashlib import blake2b
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from predictive_scaling import __version__
from predictive_scaling.clock import monotonic

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 0.05
"""Time limit of a Redis command; after that the caller reads from the database."""

OPEN_SECONDS = 10.0
"""Time that the circuit stays open after a failed command."""

_SEAL_BYTES = 16


class RedisCircuit:
    """Executes Redis commands; after a failure the circuit is open, and commands are skipped, for OPEN_SECONDS.

    Without a client all commands are skipped. cache: the name of the cache in keys and logs. owner: the location of the
    database whose data are cached; entries of another database, release or key, and damaged ones, are ignored.
    """

    def __init__(self, redis: Redis | None, cache: str, owner: str = "") -> None:
        self._redis = redis
        self._cache = cache
        self._seal_key = blake2b(f"{__version__} {owner}".encode(), digest_size=32).digest()
        self._open_until = 0.0

    @property
    def circuit_open(self) -> bool:
        """Whether commands are skipped because of a recent failure."""
        return monotonic() < self._open_until

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None without a value that `put` wrote."""
        entry = await self._execute("get", self._name(key))
        if not isinstance(entry, bytes) or entry[:_SEAL_BYTES] != self._seal(key, entry[_SEAL_BYTES:]):
            return None
        return entry[_SEAL_BYTES:]

    async def put(self, key: str, value: bytes, milliseconds: int) -> None:
        """Keep a value for this time."""
        await self._execute("set", self._name(key), self._seal(key, value) + value, "PX", max(1, milliseconds))

    def _name(self, key: str) -> str:
        return f"predictive-scaling:{self._cache}:{key}"

    def _seal(self, key: str, value: bytes) -> bytes:
        name = key.encode()
        length = len(name).to_bytes(4, "big")
        return blake2b(length + name + value, digest_size=_SEAL_BYTES, key=self._seal_key).digest()

    async def _execute(self, *command: str | bytes | int) -> Any:
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
