from itertools import count

import pytest

from tests.support import eventually as waiting
from tests.support.eventually import MAX_STRETCH, Budget, eventually


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The wall clock, and how long processes waited for a core."""
    clocks = {"wall": 0.0, "stalled": 0.0}
    monkeypatch.setattr(waiting, "monotonic", lambda: clocks["wall"])
    monkeypatch.setattr(waiting, "_stalled_seconds", lambda: clocks["stalled"])
    return clocks


def test_a_budget_counts_seconds_in_which_no_process_waited_for_a_core(clocks: dict[str, float]) -> None:
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


async def test_waiting_returns_the_first_value_that_holds_and_raises_with_the_last_one() -> None:
    numbers = count()

    async def look() -> int:
        return next(numbers)

    assert await eventually(look, lambda number: number == 3, interval_seconds=0) == 3
    with pytest.raises(AssertionError, match="last result: "):
        await eventually(look, lambda number: number < 0, seconds=0.01, interval_seconds=0.002)
