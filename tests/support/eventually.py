"""Waiting for a condition by polling, far longer than a free machine needs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from predictive_scaling.clock import monotonic
from tests.support.forked_program import ForkedProgram

Value = TypeVar("Value")

STRETCH = 6.0
"""The ratio of a wait's limit to the seconds that it names: a machine with slow or too few cores needs longer.

A passing test does not wait longer for it.
"""


async def eventually(
    read: Callable[[], Awaitable[Value]],
    predicate: Callable[[Value], bool] = bool,
    seconds: float = 20.0,
    interval_seconds: float = 0.1,
) -> Value:
    """Return the first value of `read` for which `predicate` is true. seconds: enough on a free machine, see STRETCH.

    Raises AssertionError with the last value, or the last AssertionError.
    """
    limit_seconds = seconds * STRETCH
    until = monotonic() + limit_seconds
    while True:
        try:
            value = await read()
            if predicate(value):
                return value
            last_result: object = value
        except AssertionError as error:
            last_result = error
        if monotonic() > until:
            raise AssertionError(f"not true within {limit_seconds:g} s; last result: {last_result}")
        await asyncio.sleep(interval_seconds)


async def exit_code(process: asyncio.subprocess.Process | ForkedProgram, seconds: float = 60.0) -> int:
    """Return the exit code of a process that ends. Raises AssertionError when it still runs, as `eventually` does."""

    async def has_ended() -> bool:
        return process.returncode is not None

    await eventually(has_ended, seconds=seconds, interval_seconds=0.02)
    return await process.wait()
