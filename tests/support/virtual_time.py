"""Tests in virtual time: waits take no real time, and a busy machine changes neither their lengths nor their order."""

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVarTuple
from unittest import mock

from predictive_scaling import clock

Parameters = ParamSpec("Parameters")
Arguments = TypeVarTuple("Arguments")


def in_virtual_time(test: Callable[Parameters, Coroutine[Any, Any, None]]) -> Callable[Parameters, None]:
    """Return a test that runs on a VirtualTimeLoop; the product's `monotonic` reads the time of that loop.

    The test uses no asynchronous fixture, which would belong to another loop, and no connection: the time would pass
    before the other side responds.
    """

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            loop = runner.get_loop()

            def clock_gettime(_clock: int) -> float:
                return loop.time()

            module = SimpleNamespace(clock_gettime=clock_gettime, CLOCK_MONOTONIC=time.CLOCK_MONOTONIC)
            with mock.patch.object(clock, "time", module):
                runner.run(test(*args, **kwargs))

    return run


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while it works, and advances to the next timer when it is idle.

    It is not idle while a thread of `asyncio.to_thread` or `run_in_executor` works.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._threads = set[asyncio.Future[Any]]()
        super().__init__(_WaitlessSelector(self._wait))
        # Rounding in the times of some decades must not keep a timer from its end.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now

    def run_in_executor(  # pyright: ignore[reportIncompatibleMethodOverride] (the base allows any awaitable)
        self, executor: Any, func: Callable[[*Arguments], Any], *args: *Arguments
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        return future

    def _wait(self, seconds: float) -> bool:
        """Let `seconds` pass. Returns False, at an unchanged time, while a thread works."""
        if self._threads:
            return False
        self._now += seconds
        return True


class _WaitlessSelector(selectors.DefaultSelector):
    """Calls `wait` in place of a wait without events, and waits for events if that returns False."""

    def __init__(self, wait: Callable[[float], bool]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(0)
        return events if events or self._wait(timeout) else super().select(None)
