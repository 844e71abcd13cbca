"""Waiting is polling with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from predictive_scaling.clock import monotonic

Value = TypeVar("Value")


async def eventually(
    look: Callable[[], Awaitable[Value]],
    holds: Callable[[Value], bool] = bool,
    seconds: float = 20.0,
    every_seconds: float = 0.1,
) -> Value:
    """What `look` returns once it `holds`. Raises AssertionError with the last value, or the last AssertionError."""
    until = monotonic() + seconds
    while True:
        try:
            value = await look()
            if holds(value):
                return value
            last: object = value
        except AssertionError as error:
            last = error
        if monotonic() > until:
            raise AssertionError(f"not true within {seconds:g} s; last seen: {last}")
        await asyncio.sleep(every_seconds)
