import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


def run(main: Coroutine[object, object, Result]) -> Result:
    """`asyncio.run` that cancels `main` for SIGTERM and SIGHUP too, so that a stack is removed.

    Raises KeyboardInterrupt for each of these signals.
    """
    try:
        return asyncio.run(_cancelled_by_signals(main))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancelled_by_signals(main: Coroutine[object, object, Result]) -> Result:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await task
