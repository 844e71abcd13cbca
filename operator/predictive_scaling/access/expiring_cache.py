"""A bounded cache of values that expire, in which concurrent requests for one key share one computation."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from predictive_scaling.clock import monotonic

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ExpiringCache(Generic[Key, Value]):
    """lifetime: seconds that a value may be used, counted from the begin of its computation.

    An error of a computation is raised to all who wait for it, and is not cached.
    """

    def __init__(self, lifetime: Callable[[Value], float], max_entries: int) -> None:
        self._lifetime = lifetime
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._running: dict[Key, asyncio.Task[Value]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the value of a key; None without a value, and when it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires_at, value = entry
        if monotonic() >= expires_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    async def get_or_compute(self, key: Key, compute: Callable[[], Awaitable[Value]]) -> Value:
        """Return the cached value of a key; otherwise compute it and cache the result."""
        value = self.get(key)
        if value is not None or key in self._entries:
            return value  # pyright: ignore[reportReturnType] (None is a value of this cache then)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._compute(key, compute))
            self._running[key] = task
            task.add_done_callback(lambda done: self._finish(key, done))
        # A client that disconnects must not cancel the computation that others wait for.
        return await asyncio.shield(task)

    async def _compute(self, key: Key, compute: Callable[[], Awaitable[Value]]) -> Value:
        began = monotonic()
        value = await compute()
        self._entries[key] = (began + self._lifetime(value), value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return value

    def _finish(self, key: Key, task: asyncio.Task[Value]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # marks it as retrieved: everybody who waited may have disconnected
