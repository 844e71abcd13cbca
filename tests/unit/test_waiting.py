"""Waiting with a budget of time in which the machine had a free core."""

from itertools import count

import pytest

from tests.support import eventually as waiting
from tests.support.eventually import MAX_STRETCH, Budget, eventually


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The wall clock, and the time for which processes waited for a core."""
    clocks = {"wall": 0.0, "stalled": 0.0}
    monkeypatch.setattr(waiting, "monotonic", lambda: clocks["wall"])
    monkeypatch.setattr(waiting, "_stalled_seconds", lambda: clocks["stalled"])
    return clocks


def test_a_budget_excludes_time_in_which_a_process_waited_for_a_core(clocks: dict[str, float]) -> None:
    budget = Budget(10)
    clocks |= {"wall": 30.0, "stalled": 21.0}
    assert not budget.is_spent
    clocks |= {"wall": 32.0}
    assert budget.is_spent


def test_a_budget_ends_on_a_machine_that_is_always_busy(clocks: dict[str, float]) -> None:
    budget = Budget(10)
    wall = 10 * MAX_STRETCH + 1
    clocks |= {"wall": wall, "stalled": wall}
    assert budget.is_spent


async def test_eventually_returns_the_first_matching_value_and_raises_with_the_last_value() -> None:
    numbers = count()

    async def read() -> int:
        return next(numbers)

    assert await eventually(read, lambda number: number == 3, interval_seconds=0) == 3
    with pytest.raises(AssertionError, match="last result: "):
        await eventually(read, lambda number: number < 0, seconds=0.01, interval_seconds=0.002)
