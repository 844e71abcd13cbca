"""Limits on the rate of requests: one token bucket per client, in bounded memory."""

from collections import OrderedDict
from typing import Final

from predictive_scaling.clock import monotonic

BURST_SECONDS: Final = 10.0
"""A client that was idle may send the requests of this time at once."""
MAX_CLIENTS: Final = 10_000


class TokenBuckets:
    """rate: requests per second that each client may send in the long run.

    Beyond MAX_CLIENTS the bucket that was used least recently is dropped, so that its client starts with a full one.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate * BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a token from the client's bucket and return 0; if it is empty, return the seconds until it has one."""
        now = monotonic()
        tokens, filled_at = self._buckets.get(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - filled_at) * self._rate)
        is_allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if is_allowed else tokens, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1.0 - tokens) / self._rate
