"""What changed in the database, for any number of listeners from one reader, which runs while there are listeners."""

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from prometheus_client import Gauge

from predictive_scaling.api.visible_namespaces import Visible
from predictive_scaling.clock import Clock
from predictive_scaling.periodic_task import PeriodicTask, run_periodically
from predictive_scaling.storage.change_markers import ChangeMarkers, Marker

MAX_LISTENERS, MAX_LISTENERS_OF_CLIENT = 200, 10
POLL_SECONDS = 2.0
MAX_NAMES = 100
"""Maximum number of names in a notice; with more changes it has none, which means any."""

_MAX_PAUSE_SECONDS = 30.0

Keys = set[tuple[str, str]]
"""Namespaces and names."""


class MarkerReader(Protocol):
    """Reads the markers of the rows that listeners see."""

    async def read(self, now: datetime, known: ChangeMarkers) -> ChangeMarkers:
        """Return the current markers."""
        ...


@dataclass(slots=True)
class Notice:
    """Policies, policies with changed decisions, and business events that changed."""

    policies: Keys = field(default_factory=Keys)
    decisions: Keys = field(default_factory=Keys)
    events: Keys = field(default_factory=Keys)

    def as_json(self) -> dict[str, list[str] | None]:
        """Return `namespace/name` by kind, for the kinds that changed; null for more than MAX_NAMES."""
        kinds = {"policies": self.policies, "decisions": self.decisions, "events": self.events}
        return {
            kind: None if len(keys) > MAX_NAMES else [f"{namespace}/{name}" for namespace, name in sorted(keys)]
            for kind, keys in kinds.items()
            if keys
        }


class Listener:
    """Collects what changed until it is read: a slow reader gets one notice with all of it, not many."""

    def __init__(self, visible: Visible) -> None:
        self._names = None if visible.names is None else frozenset(visible.names)
        self._pending = Notice()
        self._woken = asyncio.Event()
        self.is_closed = False

    async def next(self, wait_seconds: float) -> Notice | None:
        """Return what changed; None after a wait without changes, and when the listener is closed."""
        try:
            async with asyncio.timeout(wait_seconds):
                await self._woken.wait()
        except TimeoutError:
            return None
        if self.is_closed:
            return None
        notice, self._pending = self._pending, Notice()
        self._woken.clear()
        return notice

    def add(self, notice: Notice) -> None:
        """Add the changes of visible namespaces."""
        for pending, changed in (
            (self._pending.policies, notice.policies),
            (self._pending.decisions, notice.decisions),
            (self._pending.events, notice.events),
        ):
            visible = {key for key in changed if self._names is None or key[0] in self._names}
            pending |= visible
            if visible:
                self._woken.set()

    def close(self) -> None:
        """End the listener's wait."""
        self.is_closed = True
        self._woken.set()


class ChangeFeed:
    """Reads the database every POLL_SECONDS while there are listeners, however many. Belongs to one event loop."""

    def __init__(self, reader: MarkerReader, clock: Clock, poll_seconds: float = POLL_SECONDS) -> None:
        self._reader, self._clock = reader, clock
        self._listeners: dict[Listener, str] = {}
        self._known: ChangeMarkers | None = None
        self._task = PeriodicTask(
            "api_changes", self._poll, poll_seconds, on_standby=True, max_pause_seconds=_MAX_PAUSE_SECONDS
        )
        self._running: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()
        self._is_closed = False

    def refusal(self, client: str) -> str | None:
        """Return why another listener of this client is refused; None if it is not."""
        if self._is_closed:
            return "the API is stopping; connect again"
        if Counter(self._listeners.values())[client] >= MAX_LISTENERS_OF_CLIENT:
            return f"this client has {MAX_LISTENERS_OF_CLIENT} open streams; close one"
        if len(self._listeners) >= MAX_LISTENERS:
            return f"the API has {MAX_LISTENERS} open streams; retry later, or read the lists instead"
        return None

    @contextmanager
    def listening(self, client: str, visible: Visible) -> Generator[Listener]:
        """Return a listener that gets all changes while the block runs."""
        listener = Listener(visible)
        self._listeners[listener] = client
        STREAMS.set(len(self._listeners))
        if self._running is None or self._running.done():
            self._known = None
            self._is_ready.clear()
            work = run_periodically(self._task, lambda: True)
            # A context of its own: the request that began it ends before it does.
            self._running = asyncio.create_task(work, name=self._task.name, context=Context())
        try:
            yield listener
        finally:
            del self._listeners[listener]
            STREAMS.set(len(self._listeners))
            if not self._listeners:
                self._running.cancel()

    async def ready(self) -> None:
        """Wait for the first reading: listeners get the changes after it."""
        await self._is_ready.wait()

    def close(self) -> None:
        """End all listeners and accept no others."""
        self._is_closed = True
        for listener in self._listeners:
            listener.close()

    async def _poll(self) -> None:
        known = self._known
        self._known = current = await self._reader.read(self._clock.now(), known or ChangeMarkers())
        self._is_ready.set()
        if known is None:
            return
        notice = Notice(
            policies=_changed(known.policies, current.policies, both=True),
            # Decisions leave the reading with time, which is no change.
            decisions=_changed(known.decisions, current.decisions),
            events=_changed(known.events, current.events, both=True),
        )
        for listener in self._listeners:
            listener.add(notice)


def _changed(before: frozenset[Marker], after: frozenset[Marker], *, both: bool = False) -> Keys:
    """Return the names with new markers. both: also those with markers that are gone."""
    if before is after:
        return set()
    markers = before ^ after if both else after - before
    return {(namespace, name) for namespace, name, _ in markers}


STREAMS = Gauge("predictive_scaling_api_streams", "Open streams of changes, such as those of web pages.")
