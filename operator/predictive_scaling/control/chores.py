"""What runs beside the tick in turns of its own, only while this process leads; a failed turn is tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.errors import PredictiveScalingError

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Chore:
    """A turn, and the product time between two of them."""

    name: str
    turn: Callable[[], Awaitable[object]]
    every: timedelta


async def keep_doing(chore: Chore, clock: Clock, leads: Callable[[], bool]) -> None:
    """Turn after turn, for ever."""
    while True:
        if leads():
            try:
                await chore.turn()
            except PredictiveScalingError as error:
                log.info("chore_failed", chore=chore.name, error=str(error))
            except Exception:  # the next turn may do better; nothing else depends on this one
                log.exception("chore_failed", chore=chore.name)
        await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, clock.real_seconds(chore.every)))
