"""Demand that a fully used replica serves, learned from demand, ready replicas and their utilization."""

from collections import deque
from collections.abc import Collection
from statistics import median

from predictive_scaling.resources.series_key import SeriesKey

_MIN_OBSERVATIONS = 10
_NEWEST = 120
_TOO_IDLE = 0.05

CapacityKey = tuple[str, SeriesKey]
"""A target's uid and the demand that it serves: capacities in requests and in queued jobs differ."""


class Capacities:
    """Recent observations of each target and series."""

    def __init__(self) -> None:
        self._seen: dict[CapacityKey, deque[float]] = {}

    def observe(self, key: CapacityKey, demand: float, ready_replicas: int, utilization: float | None) -> None:
        """Add an observation. An idle target is ignored: its overhead would count as capacity."""
        if utilization is None or utilization < _TOO_IDLE or ready_replicas < 1 or demand <= 0:
            return
        self._seen.setdefault(key, deque(maxlen=_NEWEST)).append(demand / (ready_replicas * utilization))

    def of(self, key: CapacityKey, configured: float | None) -> float | None:
        """Return the configured value, or the median of recent observations; None until there are enough."""
        if configured is not None:
            return configured
        observations = self._seen.get(key, ())
        return median(observations) if len(observations) >= _MIN_OBSERVATIONS else None

    def keep_only(self, keys: Collection[CapacityKey]) -> None:
        """Forget targets and series that no policy combines any more: they are learned again from the beginning."""
        for key in self._seen.keys() - set(keys):
            del self._seen[key]
