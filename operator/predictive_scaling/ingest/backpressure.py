"""Back-pressure: while PostgreSQL is slow or unavailable, ingest fetches nothing from Kafka and stays in its group.

What waits in memory is bounded by one batch and librdkafka's prefetch limit. Kafka removes a member that does not poll
within `max.poll.interval.ms`, so the paused consumer polls on.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import DatabaseUnavailableError, KafkaUnavailableError
from predictive_scaling.ingest import metrics
from predictive_scaling.ingest.source import KafkaSource
from predictive_scaling.telemetry.checks import Check, Degraded

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 10.0
SLOW_SECONDS = 5.0
"""A step that takes longer is slow."""
POLL_SECONDS = 0.5

Work = Callable[[], Awaitable[None]]


class Stopped(Exception):  # noqa: N818 (not an error)
    """`stop` was set before the current work succeeded; its messages are read again at the next start."""


class Backpressure:
    """Carries out work of the consumer until it succeeds, and pauses reading when that takes long."""

    def __init__(self, source: KafkaSource, on_poll: Work, on_retry: Callable[[], None]) -> None:
        """on_poll: called after each poll while reading is paused. on_retry: called before work is attempted again."""
        self._source = source
        self._on_poll = on_poll
        self._on_retry = on_retry
        self._paused_at: float | None = None
        self._counted_at = 0.0
        self._cause = ""

    async def complete(self, work: Work, stop: asyncio.Event) -> None:
        """Retry work until it succeeds, also through long outages of PostgreSQL or Kafka.

        Raises Stopped when `stop` was set before it succeeded.
        """
        pause = FIRST_PAUSE_SECONDS
        while (failure := await self._attempt(work, stop)) is not None:
            metrics.WRITE_FAILURES.inc()
            log.warning("ingest_write_retried", error=failure, seconds=pause)
            await self._pause(failure)
            await self._wait(pause, stop)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        await self._resume()

    def check(self) -> Check:
        """Return a check that is degraded while reading is paused, or while the group does not accept this member."""

        async def probe() -> None:
            if self._paused_at is not None:
                seconds = monotonic() - self._paused_at
                raise Degraded(f"reading from Kafka has been paused for {seconds:.0f} s: {self._cause}")
            if self._source.last_error is not None and not self._source.assigned:
                raise Degraded(f"no partition is assigned: {self._source.last_error}")

        return Check("reading", probe, required=False)

    async def _attempt(self, work: Work, stop: asyncio.Event) -> str | None:
        """Return None after success, or why it has to be repeated."""
        attempt = asyncio.ensure_future(work())
        limit = SLOW_SECONDS
        try:
            while not (await asyncio.wait({attempt}, timeout=limit))[0]:
                if stop.is_set():
                    raise Stopped
                await self._pause(f"PostgreSQL or Kafka has not answered for {SLOW_SECONDS:g} s")
                await self._poll(0.0)
                limit = POLL_SECONDS
            await attempt
        except (DatabaseUnavailableError, KafkaUnavailableError) as error:
            return str(error)
        finally:
            if not attempt.done():
                attempt.cancel()
                await asyncio.gather(attempt, return_exceptions=True)
        return None

    async def _wait(self, seconds: float, stop: asyncio.Event) -> None:
        until = monotonic() + seconds
        while (remaining := until - monotonic()) > 0:
            await self._poll(min(remaining, POLL_SECONDS))
            if stop.is_set():
                raise Stopped
        self._on_retry()

    async def _pause(self, cause: str) -> None:
        self._cause = cause
        if self._paused_at is None:
            await self._source.pause()
            self._paused_at = self._counted_at = monotonic()
            log.warning("reading_paused", topic=self._source.topic, cause=cause)

    async def _poll(self, seconds: float) -> None:
        await self._source.hold(seconds)
        self._count()
        await self._on_poll()

    async def _resume(self) -> None:
        if self._paused_at is None:
            return
        self._count()
        seconds, self._paused_at = monotonic() - self._paused_at, None
        await self._source.resume()
        log.info("reading_resumed", topic=self._source.topic, seconds=round(seconds, 1))

    def _count(self) -> None:
        now = monotonic()
        metrics.PAUSED_SECONDS.inc(now - self._counted_at)
        self._counted_at = now
