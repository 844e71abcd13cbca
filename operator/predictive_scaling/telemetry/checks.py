"""Health: what each part answers when it is asked, within a limit, and what that means for the whole."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from predictive_scaling.clock import monotonic
from predictive_scaling.telemetry.logs import masked

_MAX_MESSAGE_LENGTH = 300


class Health(StrEnum):
    """From best to worst."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Degraded(Exception):  # noqa: N818 (an answer, not an error)
    """Raised by a probe: it works, but less well than it should; the message says why."""


Probe = Callable[[], Awaitable[None]]
"""Returns when all is well; raises Degraded, or anything else, with a message that says what is wrong."""


@dataclass(frozen=True, slots=True)
class Check:
    """One part that is asked.

    required: without it the process is unhealthy; otherwise only degraded.
    """

    name: str
    probe: Probe
    required: bool = True
    limit_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one part answered; no message when all is well."""

    status: Health
    latency_seconds: float
    message: str | None = None

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"status": self.status.value, "latency_seconds": round(self.latency_seconds, 6)}
        return found if self.message is None else {**found, "message": self.message}


@dataclass(frozen=True, slots=True)
class ProcessHealth:
    """The whole, as /health shows it."""

    status: Health
    checks: Mapping[str, CheckResult]

    @property
    def http_status(self) -> int:
        """503 when unhealthy; degraded still serves."""
        return 503 if self.status is Health.UNHEALTHY else 200

    def as_json(self) -> dict[str, object]:
        return {
            "status": self.status.value,
            "checks": {name: result.as_json() for name, result in self.checks.items()},
        }


async def examine(checks: Sequence[Check]) -> ProcessHealth:
    """Ask all at once; each has its own limit, so this takes as long as the slowest limit at most. Never raises."""
    results = await asyncio.gather(*(_ask(check) for check in checks))
    named = {check.name: result for check, result in zip(checks, results, strict=True)}
    return ProcessHealth(_worst([result.status for result in results]), named)


async def _ask(check: Check) -> CheckResult:
    began = monotonic()
    failed = Health.UNHEALTHY if check.required else Health.DEGRADED
    try:
        async with asyncio.timeout(check.limit_seconds):
            await check.probe()
    except Degraded as why:
        return CheckResult(Health.DEGRADED, monotonic() - began, _message(why))
    except TimeoutError:
        message = f"no answer within {check.limit_seconds:g} s"
        return CheckResult(failed, monotonic() - began, message)
    except Exception as error:  # whatever a part raises is its answer
        return CheckResult(failed, monotonic() - began, _message(error))
    return CheckResult(Health.HEALTHY, monotonic() - began)


def _worst(statuses: Sequence[Health]) -> Health:
    order = list(Health)
    return max(statuses, key=order.index, default=Health.HEALTHY)


def _message(error: Exception) -> str:
    text = " ".join(masked(str(error)).split())[:_MAX_MESSAGE_LENGTH]
    return text or type(error).__name__


class Pool(Protocol):
    """The part of storage.Database that a check needs."""

    def connection(self) -> AbstractAsyncContextManager[object]:
        """A connection that was tried before it is handed out; raises when the server does not answer."""
        ...


def database_check(database: Pool, *, required: bool = True) -> Check:
    """Does PostgreSQL hand out a working connection?"""

    async def probe() -> None:
        async with database.connection():
            pass

    return Check("database", probe, required)


class PingableRedis(Protocol):
    """The part of redis.asyncio.Redis that a check needs."""

    def ping(self) -> Awaitable[object]:
        """Ask for a sign of life."""
        ...


def redis_check(redis: PingableRedis | None) -> Check:
    """Does the cache answer? Losing it loses nothing, so it only degrades; none at all is a choice."""

    async def probe() -> None:
        if redis is not None:
            await redis.ping()

    return Check("redis", probe, required=False, limit_seconds=1.0)


def models_check(usable_models: Callable[[], int]) -> Check:
    """Is there a model that passed its checks? Without one the baselines forecast, which works less well.

    usable_models: how many there are; reads files, so it runs in a thread.
    """

    async def probe() -> None:
        if await asyncio.to_thread(usable_models) == 0:
            raise Degraded("no trained model yet; forecasts come from the baselines")

    return Check("models", probe, required=False)
