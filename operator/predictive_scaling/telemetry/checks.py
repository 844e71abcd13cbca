"""Health checks of dependencies with time limits, and the resulting health of the process."""

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
    """Health, from best to worst."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Degraded(Exception):  # noqa: N818 (a result, not an error)
    """Raised by a probe when a dependency works with restrictions; the message says which."""


Probe = Callable[[], Awaitable[None]]
"""Returns when healthy; otherwise raises Degraded or any other exception, whose message is the problem."""


@dataclass(frozen=True, slots=True)
class Check:
    """A health check of a dependency.

    required: whether a failure makes the process unhealthy rather than degraded.
    """

    name: str
    probe: Probe
    required: bool = True
    limit_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check; no message when healthy."""

    status: Health
    latency_seconds: float
    message: str | None = None

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {"status": self.status.value, "latency_seconds": round(self.latency_seconds, 6)}
        return document if self.message is None else {**document, "message": self.message}


@dataclass(frozen=True, slots=True)
class ProcessHealth:
    """The health of a process, as /health returns it."""

    status: Health
    checks: Mapping[str, CheckResult]

    @property
    def http_status(self) -> int:
        """503 when unhealthy, otherwise 200."""
        return 503 if self.status is Health.UNHEALTHY else 200

    def as_json(self) -> dict[str, object]:
        return {
            "status": self.status.value,
            "checks": {name: result.as_json() for name, result in self.checks.items()},
        }


async def examine(checks: Sequence[Check]) -> ProcessHealth:
    """Run all checks concurrently; takes at most as long as the longest limit. Never raises."""
    results = await asyncio.gather(*(_run_check(check) for check in checks))
    named = {check.name: result for check, result in zip(checks, results, strict=True)}
    return ProcessHealth(_worst([result.status for result in results]), named)


async def _run_check(check: Check) -> CheckResult:
    began = monotonic()
    failed = Health.UNHEALTHY if check.required else Health.DEGRADED
    try:
        async with asyncio.timeout(check.limit_seconds):
            await check.probe()
    except Degraded as restriction:
        return CheckResult(Health.DEGRADED, monotonic() - began, _message(restriction))
    except TimeoutError:
        message = f"no response within {check.limit_seconds:g} s"
        return CheckResult(failed, monotonic() - began, message)
    except Exception as error:  # any exception of a probe is a failed check
        return CheckResult(failed, monotonic() - began, _message(error))
    return CheckResult(Health.HEALTHY, monotonic() - began)


def _worst(statuses: Sequence[Health]) -> Health:
    order = list(Health)
    return max(statuses, key=order.index, default=Health.HEALTHY)


def _message(error: Exception) -> str:
    text = " ".join(masked(str(error)).split())[:_MAX_MESSAGE_LENGTH]
    return text or type(error).__name__


class Pool(Protocol):
    """The subset of storage.Database that a check needs."""

    def connection(self) -> AbstractAsyncContextManager[object]:
        """Return a tested connection; raises when the server does not respond."""
        ...


def database_check(database: Pool, *, required: bool = True) -> Check:
    """Return a check that PostgreSQL provides a working connection."""

    async def probe() -> None:
        async with database.connection():
            pass

    return Check("database", probe, required)


class PingableRedis(Protocol):
    """The subset of redis.asyncio.Redis that a check needs."""

    def ping(self) -> Awaitable[object]:
        """Send PING."""
        ...


def redis_check(redis: PingableRedis | None) -> Check:
    """Return a check that Redis responds. A failure only degrades; without a client it is healthy."""

    async def probe() -> None:
        if redis is not None:
            await redis.ping()

    return Check("redis", probe, required=False, limit_seconds=1.0)


def sources_check(problems: Callable[[], Awaitable[Sequence[str]]]) -> Check:
    """Return a check that all pull sources are read. A failing source delays demand only, so the health is degraded.

    problems: returns a sentence for each query that fails.
    """

    async def probe() -> None:
        if failing := await problems():
            raise Degraded("; ".join(failing))

    return Check("sources", probe, required=False)


def models_check(usable_models: Callable[[], int]) -> Check:
    """Return a check that a usable model exists. Without one the baselines forecast, so the health is degraded.

    usable_models: returns their number; reads files, so it runs in a thread.
    """

    async def probe() -> None:
        if await asyncio.to_thread(usable_models) == 0:
            raise Degraded("no trained model; forecasts come from the baselines")

    return Check("models", probe, required=False)
