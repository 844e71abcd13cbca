"""The only source of time; all other modules receive a Clock.

Product time (`now`) may run faster than real time and in another year: demos and tests replay a day of 1998 in
minutes. It is derived from the machine's monotonic clock, which all processes of a machine share and which does not
jump when the wall clock is set.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from predictive_scaling.errors import SettingsError


class Clock(Protocol):
    """Product time and its conversion to real time."""

    def now(self) -> datetime:
        """Return the current product time, timezone-aware in UTC."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait for `duration` of product time."""
        ...

    def real_seconds(self, duration: timedelta) -> float:
        """Return `duration` of product time in seconds of real time."""
        ...


@dataclass(frozen=True, slots=True)
class WallClock:
    """Product time equals real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(0.0, duration.total_seconds()))

    def real_seconds(self, duration: timedelta) -> float:
        return duration.total_seconds()


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """Product time that was `start` at monotonic second `origin` and runs `rate` times as fast as real time.

    A process that starts before `origin` sees `start` until then, so that all processes of a replay start together.
    """

    start: datetime
    origin: float
    rate: float

    def now(self) -> datetime:
        return self.start + timedelta(seconds=max(0.0, monotonic() - self.origin) * self.rate)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(self.real_seconds(duration))

    def real_seconds(self, duration: timedelta) -> float:
        return max(0.0, duration.total_seconds() / self.rate)

    def __str__(self) -> str:
        return f"{self.start.isoformat()},{self.origin!r},{self.rate!r}"


@dataclass(slots=True)
class ManualClock:
    """Time that advances only when a test advances it or sleeps."""

    at: datetime

    def now(self) -> datetime:
        return self.at

    def advance(self, duration: timedelta) -> None:
        self.at += duration

    async def sleep(self, duration: timedelta) -> None:
        self.advance(duration)
        await asyncio.sleep(0)

    def real_seconds(self, duration: timedelta) -> float:
        return 0.0


def monotonic() -> float:
    """Return monotonic seconds, including suspended time; for leases and timeouts. All processes share this clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def has_elapsed(period: timedelta, since: datetime, now: datetime) -> bool:
    """Whether `period` has passed since a time that was read from the clock.

    A time in the future counts as elapsed: the clock was stepped back, and no task may wait for the length of that
    step.

    >>> has_elapsed(timedelta(minutes=1), datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    True
    """
    return not timedelta() <= now - since < period


def parse_clock(text: str | None) -> Clock:
    """Return the clock that a setting describes: empty for real time, `START,ORIGIN,RATE` for a replay.

    START is an RFC 3339 time with a zone, ORIGIN a second of the monotonic clock, RATE a positive number.
    Raises SettingsError, which names the wrong part.
    """
    if not text:
        return WallClock()
    parts = text.split(",")
    try:
        start, origin, rate = datetime.fromisoformat(parts[0]), float(parts[1]), float(parts[2])
    except (ValueError, IndexError):
        raise SettingsError(f"PREDICTIVE_SCALING_CLOCK is {text!r}; write START,ORIGIN,RATE or leave it out") from None
    if start.tzinfo is None:
        raise SettingsError(f"PREDICTIVE_SCALING_CLOCK starts at {parts[0]!r} without a zone; add one, such as Z")
    if not (0 < rate < 1e6):
        raise SettingsError(f"PREDICTIVE_SCALING_CLOCK has the rate {parts[2]!r}; write a number above 0")
    return ReplayClock(start.astimezone(UTC), origin, rate)
