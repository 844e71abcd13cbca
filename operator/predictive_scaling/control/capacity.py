"""What one ready replica serves when it is full, learned from demand, ready replicas and their utilization."""

from collections import deque
from statistics import median

_ENOUGH = 10
_NEWEST = 120
_TOO_IDLE = 0.05


class Capacities:
    """Recent observations of each target, by its uid."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}

    def observe(self, target_uid: str, demand: float, ready_replicas: int, utilization: float | None) -> None:
        """Take up a moment. An idle target says nothing: its overhead would count as capacity."""
        if utilization is None or utilization < _TOO_IDLE or ready_replicas < 1 or demand <= 0:
            return
        self._seen.setdefault(target_uid, deque(maxlen=_NEWEST)).append(demand / (ready_replicas * utilization))

    def of(self, target_uid: str, configured: float | None) -> float | None:
        """The configured one, or the median of recent observations; None until there are enough."""
        if configured is not None:
            return configured
        seen = self._seen.get(target_uid, ())
        return median(seen) if len(seen) >= _ENOUGH else None
