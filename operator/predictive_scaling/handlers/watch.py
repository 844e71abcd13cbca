"""Runs kopf in its own thread and event loop.

kopf cancels all tasks of its loop when it ends, and installs signal handlers in the main thread; neither may affect the
control loop. If kopf ends, it is restarted with a new event loop.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import kopf
import structlog

from predictive_scaling.cluster.client import connected
from predictive_scaling.errors import ClusterUnavailableError, SettingsError
from predictive_scaling.handlers import indices, startup
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.handlers.rights import watchable_kinds
from predictive_scaling.handlers.startup import kopf_settings

log = structlog.get_logger(__name__)

_RESTART_SECONDS = 2.0
_CLOSE_SECONDS = 0.5
_STOP_SECONDS = 5.0


@dataclass(slots=True)
class Watch:
    """The watches of policies, events, HPAs and workloads, from `start` to `stop`."""

    context: HandlerContext
    namespaces: tuple[str, ...]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        """Whether it was started and its thread has ended."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Start watching; the indices fill in the background. Ticks are requested in the calling event loop."""
        here, context = asyncio.get_running_loop(), self.context
        memo = HandlerContext(context.cache, lambda: _call_in(here, context.wake))
        self._thread = threading.Thread(target=self._run, args=(memo,), name="watch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop watching; wait at most five seconds, as the thread has no unsaved state."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def _run(self, memo: HandlerContext) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self._watch(memo))
            except ClusterUnavailableError as error:
                log.warning("watch_delayed", error=str(error))
            except SettingsError as error:
                log.error("watch_refused", error=str(error))  # noqa: TRY400 (the message names the cause)
            except Exception:  # the watch restarts after any error
                log.exception("watch_ended")
            self._stop.wait(_RESTART_SECONDS)

    async def _watch(self, memo: HandlerContext) -> None:
        try:
            await self._operate(memo)
        finally:
            # kopf does not wait until its connections are closed, and TLS needs some iterations of the loop for that.
            await asyncio.sleep(_CLOSE_SECONDS)

    async def _operate(self, memo: HandlerContext) -> None:
        registry = kopf.OperatorRegistry()
        startup.register(registry)
        async with connected() as cluster:
            indices.register(registry, await watchable_kinds(cluster, self.namespaces))
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(self.namespaces),
            memo=memo,
            standalone=True,
            clusterwide=not self.namespaces,
            namespaces=self.namespaces,
            stop_flag=self._stop,
        )


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(function)
