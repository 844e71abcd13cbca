"""Values that are slow to compute are cached."""

import pytest

from predictive_scaling.api import responses
from predictive_scaling.api.responses import CachedValues
from tests.support.manual_seconds import ManualSeconds


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, responses)


@pytest.mark.parametrize(("duration_seconds", "is_cached"), [(0.01, False), (0.2, True)])
async def test_only_a_slow_value_is_cached(seconds: ManualSeconds, duration_seconds: float, is_cached: bool) -> None:
    calls = 0

    async def compute() -> float:
        nonlocal calls
        calls += 1
        seconds.now += duration_seconds
        return float(calls)

    values = CachedValues()
    assert await values.get("*", compute) == 1.0
    seconds.now += responses.CACHED_SECONDS / 2
    assert await values.get("*", compute) == (1.0 if is_cached else 2.0)
    seconds.now += responses.CACHED_SECONDS
    assert await values.get("*", compute) == (2.0 if is_cached else 3.0)


async def test_a_slow_value_is_cached_for_its_key_only(seconds: ManualSeconds) -> None:
    async def compute(result: float) -> float:
        seconds.now += 0.2
        return result

    values = CachedValues()
    assert await values.get("*", lambda: compute(1.0)) == 1.0
    assert await values.get("shop", lambda: compute(2.0)) == 2.0
    assert await values.get("*", lambda: compute(3.0)) == 1.0


async def test_the_number_of_cached_values_is_bounded(seconds: ManualSeconds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "_MAX_ENTRIES", 2)
    calls: list[str] = []

    async def compute(key: str) -> float:
        seconds.now += 0.1
        calls.append(key)
        return 1.0

    values = CachedValues()
    for key in ("a", "b", "c", "c", "a"):
        await values.get(key, lambda key=key: compute(key))
    assert calls == ["a", "b", "c", "a"]
