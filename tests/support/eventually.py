"""Waiting for a condition by polling, with a budget of seconds in which the product could work."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from predictive_scaling.clock import monotonic

Value = TypeVar("Value")

MAX_STRETCH = 6.0
"""Maximum ratio of a wait's wall-clock duration to its budget."""
_PRESSURE = Path("/proc/pressure/cpu")


class Budget:
    """Seconds in which no process of this machine waited for a core.

    On a busy machine the product does less in a second, so its tests wait longer. Without pressure stall information
    the budget counts wall-clock seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started_at = monotonic()
        self._stalled_before = _stalled_seconds()

    @property
    def is_spent(self) -> bool:
        elapsed = monotonic() - self._started_at
        stalled = _stalled_seconds() - self._stalled_before
        return max(elapsed - stalled, elapsed / MAX_STRETCH) > self._seconds


async def eventually(
    read: Callable[[], Awaitable[Value]],
    predicate: Callable[[Value], bool] = bool,
    seconds: float = 20.0,
    interval_seconds: float = 0.1,
) -> Value:
    """Return the first value of `read` for which `predicate` is true. seconds: the budget, see Budget.

    Raises AssertionError with the last value, or the last AssertionError.
    """
    budget = Budget(seconds)
    while True:
        try:
            value = await read()
            if predicate(value):
                return value
            last_result: object = value
        except AssertionError as error:
            last_result = error
        if budget.is_spent:
            raise AssertionError(f"not true within {seconds:g} s of work; last result: {last_result}")
        await asyncio.sleep(interval_seconds)


async def exit_code(process: asyncio.subprocess.Process, seconds: float = 60.0) -> int:
    """Return the exit code of a process that ends within the budget. Raises AssertionError when it still runs."""

    async def has_ended() -> bool:
        return process.returncode is not None

    await eventually(has_ended, seconds=seconds, interval_seconds=0.02)
    return await process.wait()


def _stalled_seconds() -> float:
    """Seconds since boot in which at least one process waited for a core."""
    try:
        some_line = _PRESSURE.read_text().splitlines()[0]
    except OSError:
        return 0.0
    return int(some_line.rpartition("total=")[2]) / 1e6
