"""Waiting far longer than a free machine needs."""

from itertools import count

import pytest

from tests.support import eventually as waiting
from tests.support.eventually import STRETCH, eventually
from tests.support.manual_seconds import ManualSeconds


async def test_eventually_returns_the_first_matching_value_and_raises_with_the_last_value() -> None:
    numbers = count()

    async def read() -> int:
        return next(numbers)

    assert await eventually(read, lambda number: number == 3, interval_seconds=0) == 3
    with pytest.raises(AssertionError, match="last result: "):
        await eventually(read, lambda number: number < 0, seconds=0.01, interval_seconds=0.002)


async def test_a_value_that_a_starved_machine_reads_late_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualSeconds(monkeypatch, waiting)
    values = iter([False, False, True])

    async def read() -> bool:
        clock.now += 10 * STRETCH / 3
        return next(values)

    assert await eventually(read, seconds=10, interval_seconds=0)
