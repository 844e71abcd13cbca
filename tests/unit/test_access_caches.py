"""What the access control keeps in memory: expiring caches and token buckets, both bounded."""

import asyncio

import pytest

from predictive_scaling.access import expiring_cache, token_buckets
from predictive_scaling.access.expiring_cache import ExpiringCache
from predictive_scaling.access.token_buckets import TokenBuckets
from tests.support.manual_seconds import ManualSeconds


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, expiring_cache, token_buckets)


class Reviews:
    """A computation whose results are set, and which counts its calls."""

    def __init__(self, *results: bool | Exception | None) -> None:
        self._results = list(results)
        self.calls = 0

    async def __call__(self) -> bool | None:
        self.calls += 1
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def a_cache(max_entries: int = 10) -> ExpiringCache[str, bool | None]:
    return ExpiringCache(lambda result: 45.0 if result else 10.0, max_entries)


@pytest.mark.parametrize(("result", "lifetime"), [(True, 45.0), (False, 10.0), (None, 10.0)])
async def test_a_result_expires_after_its_lifetime(
    seconds: ManualSeconds, result: bool | None, lifetime: float
) -> None:
    cache, reviews = a_cache(), Reviews(result, True)
    assert await cache.get_or_compute("a", reviews) is result
    seconds.now += lifetime - 0.1
    assert await cache.get_or_compute("a", reviews) is result
    assert reviews.calls == 1
    seconds.now += 0.1
    assert cache.get("a") is None
    assert await cache.get_or_compute("a", reviews) is True
    assert reviews.calls == 2


async def test_the_lifetime_begins_with_the_computation(seconds: ManualSeconds) -> None:
    async def slow() -> bool:
        seconds.now += 40
        return True

    cache = a_cache()
    await cache.get_or_compute("a", slow)
    seconds.now += 5
    assert cache.get("a") is None


async def test_an_error_is_not_cached() -> None:
    cache, reviews = a_cache(), Reviews(ValueError("down"), True)
    with pytest.raises(ValueError, match="down"):
        await cache.get_or_compute("a", reviews)
    assert await cache.get_or_compute("a", reviews) is True


async def test_the_entry_used_least_recently_is_dropped() -> None:
    cache = a_cache(max_entries=2)
    for key in ("a", "b", "a", "c"):
        await cache.get_or_compute(key, Reviews(True))
    assert (len(cache), cache.get("a"), cache.get("b"), cache.get("c")) == (2, True, None, True)


async def test_concurrent_requests_share_a_computation_that_a_cancelled_one_does_not_end() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    calls = 0

    async def review() -> bool:
        nonlocal calls
        calls += 1
        begun.set()
        await may_end.wait()
        return True

    cache = a_cache()
    first, second = (asyncio.create_task(cache.get_or_compute("a", review)) for _ in range(2))
    await begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    may_end.set()
    assert await second is True
    assert (first.cancelled(), calls) == (True, 1)


def test_an_idle_client_may_send_a_burst_and_then_its_rate(seconds: ManualSeconds) -> None:
    buckets = TokenBuckets(2.0)
    assert [buckets.take("a") for _ in range(20)] == [0.0] * 20
    assert buckets.take("a") == 0.5
    assert buckets.take("b") == 0.0
    seconds.now += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0.0
    seconds.now += 1e9
    assert [buckets.take("a") for _ in range(21)].count(0.0) == 20


def test_a_rate_below_one_per_burst_still_allows_a_request(seconds: ManualSeconds) -> None:
    buckets = TokenBuckets(0.01)
    assert buckets.take("a") == 0.0
    assert buckets.take("a") == pytest.approx(100.0)
    seconds.now += 100.0
    assert buckets.take("a") == 0.0


def test_the_number_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_buckets, "MAX_CLIENTS", 3)
    buckets = TokenBuckets(1.0)
    for number in range(10):
        buckets.take(str(number))
    assert len(buckets) == 3
