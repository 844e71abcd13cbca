"""Requests share reads that began after them, and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

import pytest

from predictive_scaling.api import shared_reads
from predictive_scaling.api.shared_reads import SharedReads

REQUEST: ContextVar[str] = ContextVar("REQUEST", default="none")


class Reader:
    """Reads the number of the read; `ends` holds a read back."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.ends = asyncio.Event()
        self.ends.set()
        self.fails = False
        self.request = ""

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.reads.append(list(keys))
        self.request = REQUEST.get()
        number = len(self.reads)
        await self.ends.wait()
        if self.fails:
            raise ConnectionError("lost")
        return dict.fromkeys(keys, number)


async def progress() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_of_one_moment_share_a_read() -> None:
    reads, reader = SharedReads(), Reader()
    values = await asyncio.gather(*(reads.get("decisions", key, reader) for key in ("a", "b", "a")))
    assert values == [1, 1, 1]
    assert reader.reads == [["a", "b"]]
    assert len(reads) == 0, "nothing is kept"
    assert await reads.get("decisions", "a", reader) == 2


async def test_a_request_gets_no_value_of_a_read_that_began_before_it() -> None:
    reads, reader = SharedReads(), Reader()
    reader.ends.clear()
    early = asyncio.create_task(reads.get("decisions", "a", reader))
    await progress()
    late = asyncio.create_task(reads.get("decisions", "a", reader))
    await progress()
    reader.ends.set()
    assert (await early, await late) == (1, 2)


async def test_while_reads_run_the_next_ones_wait_and_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_reads, "MAX_KEYS", 3)
    reads, reader = SharedReads(), Reader()
    reader.ends.clear()
    tasks = list[asyncio.Task[int]]()
    for key in "abcdef":
        tasks.append(asyncio.create_task(reads.get("decisions", key, reader)))
        await progress()
    assert reader.reads == [["a"], ["b"]]
    reader.ends.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 3, 3, 4]
    assert reader.reads[2:] == [["c", "d", "e"], ["f"]]


async def test_groups_do_not_wait_for_each_other() -> None:
    reads, slow, fast = SharedReads(), Reader(), Reader()
    slow.ends.clear()
    waiting = [asyncio.create_task(reads.get("decisions", key, slow)) for key in "ab"]
    await progress()
    assert await reads.get("forecasts", "a", fast) == 1
    slow.ends.set()
    await asyncio.gather(*waiting)


async def test_a_failure_reaches_the_requests_of_the_read_only() -> None:
    reads, reader = SharedReads(), Reader()
    reader.fails = True
    results = await asyncio.gather(*(reads.get("decisions", key, reader) for key in "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]
    reader.fails = False
    assert await reads.get("decisions", "a", reader) == 2


async def test_a_cancelled_request_cancels_no_other() -> None:
    reads, reader = SharedReads(), Reader()
    reader.ends.clear()
    left, stays = (asyncio.create_task(reads.get("decisions", "a", reader)) for _ in range(2))
    await progress()
    left.cancel()
    reader.ends.set()
    assert await stays == 1


async def test_a_read_belongs_to_no_request() -> None:
    reads, reader = SharedReads(), Reader()
    REQUEST.set("request-1")
    await reads.get("decisions", "a", reader)
    assert reader.request == "none"
