"""Answers kept in Redis for some seconds: quick or not at all. The database stands behind it."""

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from predictive_scaling.clock import monotonic

log = structlog.get_logger(__name__)

LIMIT_SECONDS = 0.05
"""A visit takes no longer; what takes longer is asked of the database."""

PAUSE_SECONDS = 10.0
"""After a failed visit Redis is left alone this long."""

SERVES = timedelta(seconds=5)
"""How long an answer serves, in product time."""

_LARGEST = 1 << 20


class AnswerCache:
    """Best effort: a Redis that is away, slow or full reads as an empty one. Without a client it is always empty."""

    def __init__(self, redis: Redis | None = None) -> None:
        self._redis = redis
        self._closed_until = 0.0

    async def get(self, question: str) -> bytes | None:
        """What was put for a question in the last seconds."""
        answer = await self._visit("get", _key(question))
        return answer if isinstance(answer, bytes) else None

    async def put(self, question: str, answer: bytes, serves_seconds: float) -> None:
        """Keep an answer for `serves_seconds` of real time; a very large one is not worth it."""
        if len(answer) <= _LARGEST:
            await self._visit("set", _key(question), answer, "PX", max(1, round(serves_seconds * 1000)))

    async def _visit(self, *command: str | bytes | int) -> Any:
        if self._redis is None or monotonic() < self._closed_until:
            return None
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                return await self._redis.execute_command(*command)
        except (RedisError, OSError, TimeoutError) as error:
            self._closed_until = monotonic() + PAUSE_SECONDS
            log.warning("answer_cache_left_alone", error=str(error) or type(error).__name__, seconds=PAUSE_SECONDS)
            return None


def _key(question: str) -> str:
    return f"predictive-scaling:answers:{question}"
