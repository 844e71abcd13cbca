"""Demand that a fully used replica serves, learned from demand, ready replicas and their utilization (semantics 32)."""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from forecasting.scaling.capacity import MIN_OBSERVATIONS, estimate_capacity
from predictive_scaling.resources.learned_status import LearnedCapacity
from predictive_scaling.resources.series_key import SeriesKey

CapacityKey = tuple[str, SeriesKey]
"""A target's uid and the demand that it serves: capacities in requests and in queued jobs differ."""

SETTLING: Final = timedelta(minutes=2)
"""After a change of the ready replicas: new ones are not at their speed yet, and the utilization is an average over
the last minute."""
_NEWEST = 60
"""Minutes of demand: an hour."""
_EVERY = 12
"""Observations between two estimates: of many estimates by much the same observations, some are trusted by chance."""
_MIN_MOVE = 0.02
"""A smaller relative change of an estimate is not used: each one writes the status and can move the floor."""
_TOO_IDLE = 0.05


@dataclass(frozen=True, slots=True)
class Observation:
    """Demand, replicas and utilization at one time."""

    at: datetime
    demand: float
    demand_at: datetime
    """The end of the minute that the demand covers."""
    ready_replicas: int
    utilization: float | None
    """A fraction of a replica; None where unknown."""
    release: str = ""
    """The pod template; empty where unknown."""


@dataclass(slots=True)
class _Learning:
    """What is remembered of one target and series."""

    points: deque[tuple[float, float]] = field(default_factory=lambda: deque[tuple[float, float]](maxlen=_NEWEST))
    """Utilization, and demand of each ready replica."""
    learned: LearnedCapacity | None = None
    """The last estimate that could be trusted."""
    waiting: int = 0
    """Observations since the last estimate."""
    demand_at: datetime | None = None
    """The minute of the last observation that was used."""
    ready_replicas: int | None = None
    changed_at: datetime | None = None
    """When the ready replicas last changed."""
    release: str = ""


class Capacities:
    """Recent observations of each target and series, and what they show."""

    def __init__(self) -> None:
        self._learning: dict[CapacityKey, _Learning] = {}

    def observe(self, key: CapacityKey, observation: Observation) -> LearnedCapacity | None:
        """Add an observation; return the new estimate if it changed one that can be trusted.

        Ignored are idle targets, whose overhead would count as capacity, and replicas that have just started. A minute
        of demand counts once, however many ticks see it: repetitions would narrow the interval without evidence. A new
        release is learned from the beginning; the earlier estimate is used until the new one can be trusted.
        """
        learning = self._learning.setdefault(key, _Learning())
        if observation.release and observation.release != learning.release:
            if learning.release:
                learning.points.clear()
                learning.waiting = 0
            learning.release = observation.release
        if not _has_settled(learning, observation):
            return None
        utilization, ready = observation.utilization, observation.ready_replicas
        if utilization is None or not _TOO_IDLE <= utilization < math.inf:
            return None
        if ready < 1 or not 0 < observation.demand < math.inf or observation.demand_at == learning.demand_at:
            return None
        learning.demand_at = observation.demand_at
        learning.points.append((utilization, observation.demand / ready))
        learning.waiting += 1
        if len(learning.points) < MIN_OBSERVATIONS or (learning.learned is not None and learning.waiting < _EVERY):
            return None
        return _estimate(learning)

    def restore(self, key: CapacityKey, learned: LearnedCapacity | None) -> None:
        """Continue after a restart with what the status shows, until observations show something else."""
        if learned is not None and key not in self._learning:
            self._learning[key] = _Learning(learned=learned)

    def of(self, key: CapacityKey, configured: float | None) -> float | None:
        """Return the configured value, or the last estimate that could be trusted; None until there is one."""
        if configured is not None:
            return configured
        learned = self.learned(key)
        return None if learned is None else learned.value

    def learned(self, key: CapacityKey) -> LearnedCapacity | None:
        """Return the last estimate that could be trusted; None until there is one."""
        learning = self._learning.get(key)
        return None if learning is None else learning.learned

    def keep_only(self, keys: Collection[CapacityKey]) -> None:
        """Forget targets and series that no policy combines any more: they are learned again from the beginning."""
        for key in self._learning.keys() - set(keys):
            del self._learning[key]


def _has_settled(learning: _Learning, observation: Observation) -> bool:
    """Whether the ready replicas have been the same for a while."""
    before = learning.ready_replicas
    if before != observation.ready_replicas:
        # The first observation is no change: how long its replicas have been ready is unknown, but usually long.
        learning.changed_at = None if before is None else observation.at
        learning.ready_replicas = observation.ready_replicas
    if learning.changed_at is not None and not timedelta() <= observation.at - learning.changed_at < SETTLING:
        learning.changed_at = None
    return learning.changed_at is None


def _estimate(learning: _Learning) -> LearnedCapacity | None:
    learning.waiting = 0
    points = np.array(learning.points)
    estimate = estimate_capacity(points[:, 0], points[:, 1])
    if estimate is None or not estimate.is_trustworthy:
        return None
    before = learning.learned
    if before is not None and abs(estimate.value - before.value) <= _MIN_MOVE * before.value:
        return None
    learning.learned = LearnedCapacity(
        value=estimate.value, low=estimate.low, high=estimate.high, samples=estimate.samples
    )
    return learning.learned
