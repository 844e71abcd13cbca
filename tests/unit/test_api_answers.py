"""Values that are costly to count, and kept answers."""

import pytest

from predictive_scaling.api import answers
from predictive_scaling.api.answers import CostlyValue


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(answers, "monotonic", clock)
    return clock


@pytest.mark.parametrize(("took_seconds", "is_kept"), [(0.01, False), (0.2, True)])
async def test_only_what_took_long_to_count_is_shown_again(clock: Clock, took_seconds: float, is_kept: bool) -> None:
    counted = 0

    async def count() -> float:
        nonlocal counted
        counted += 1
        clock.now += took_seconds
        return float(counted)

    value = CostlyValue()
    assert await value.get(count) == 1.0
    clock.now += answers.KEPT_SECONDS / 2
    assert await value.get(count) == (1.0 if is_kept else 2.0)
    clock.now += answers.KEPT_SECONDS
    assert await value.get(count) == (2.0 if is_kept else 3.0)
