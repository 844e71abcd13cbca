"""Values that are slow to compute are cached."""

import pytest

from predictive_scaling.api import responses
from predictive_scaling.api.responses import CachedValue


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(responses, "monotonic", clock)
    return clock


@pytest.mark.parametrize(("duration_seconds", "is_cached"), [(0.01, False), (0.2, True)])
async def test_only_a_slow_value_is_cached(clock: Clock, duration_seconds: float, is_cached: bool) -> None:
    calls = 0

    async def compute() -> float:
        nonlocal calls
        calls += 1
        clock.now += duration_seconds
        return float(calls)

    value = CachedValue()
    assert await value.get(compute) == 1.0
    clock.now += responses.CACHED_SECONDS / 2
    assert await value.get(compute) == (1.0 if is_cached else 2.0)
    clock.now += responses.CACHED_SECONDS
    assert await value.get(compute) == (2.0 if is_cached else 3.0)
