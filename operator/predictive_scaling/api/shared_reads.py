"""Reads that requests share: those that arrive while one runs wait for the next one, which reads for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_KEYS = 50
"""Maximum number of keys of a read; it limits the size of its result."""

MAX_RUNNING = 2
"""Maximum number of reads of a group at a time: while one is slow, another may run."""


@dataclass(slots=True)
class _Group:
    read: Callable[[Sequence[Any]], Awaitable[Mapping[Any, Any]]]
    waiting: dict[Any, asyncio.Future[Any]] = field(default_factory=dict[Any, "asyncio.Future[Any]"])
    running: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    is_scheduled: bool = False


class SharedReads:
    """Reads values by key, few queries for many requests.

    Every value is from a read that began after the request for it: a client that has written sees what it wrote, and
    all processes of the API respond alike. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}

    async def get(
        self, group: Hashable, key: Key, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]
    ) -> Value:
        """Return the value of a key. Raises what the read raises.

        group: requests with the same one share reads. read: returns a value for each key; the same for the whole group.
        """
        shared = self._groups.get(group)
        if shared is None:
            shared = self._groups[group] = _Group(read)
        future = shared.waiting.get(key)
        if future is None:
            future = shared.waiting[key] = asyncio.get_running_loop().create_future()
            self._schedule(group, shared)
        # A request that is cancelled must not cancel the others.
        return await asyncio.shield(future)

    def __len__(self) -> int:
        return len(self._groups)

    def _schedule(self, name: Hashable, group: _Group) -> None:
        if group.waiting and not group.is_scheduled and len(group.running) < MAX_RUNNING:
            group.is_scheduled = True
            # After the requests that are ready in this round of the event loop. A context of its own: the request
            # that begins the read may end before it.
            asyncio.get_running_loop().call_soon(self._start, name, group, context=Context())

    def _start(self, name: Hashable, group: _Group) -> None:
        group.is_scheduled = False
        futures = {key: group.waiting.pop(key) for key in list(group.waiting)[:MAX_KEYS]}
        task = asyncio.get_running_loop().create_task(_run(group, futures))
        group.running.add(task)
        task.add_done_callback(lambda done: self._finish(name, group, done))
        self._schedule(name, group)

    def _finish(self, name: Hashable, group: _Group, task: asyncio.Task[None]) -> None:
        group.running.discard(task)
        self._schedule(name, group)
        if not group.waiting and not group.running:
            del self._groups[name]


async def _run(group: _Group, futures: Mapping[Any, asyncio.Future[Any]]) -> None:
    try:
        values = await group.read(list(futures))
        for key, future in futures.items():
            future.set_result(values[key])
    except Exception as error:
        for future in futures.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # retrieved: the requests may have been cancelled
    finally:
        for future in futures.values():
            future.cancel()  # changes nothing unless the process stops
