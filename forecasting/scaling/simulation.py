"""A simulated horizontal pod autoscaler: its replicas over time for a demand and a minimum that may change.

Source: kubernetes, pkg/controller/podautoscaler (desired = ceil(demand / target), tolerance, stabilisation, the default
policies of scaling up, minimum last). One step of the simulation is one sync: 15 seconds.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray

IntArray = npt.NDArray[np.int64]
FloorAt = Callable[[int, "Replicas"], int]
"""Returns the minimum for a step from the step and the replicas of the step before."""


@dataclass(frozen=True, slots=True)
class AutoscalerRules:
    """The configuration of an HPA. Times are in steps of the simulation."""

    target: float = 0.8
    """Target utilization, as a fraction of a replica."""
    stabilization_steps: int = 20
    """The highest recommendation of this many steps limits a decrease."""
    start_steps: int = 32
    """From the creation of a replica until it is ready."""
    metric_delay_steps: int = 0
    tolerance: float = 0.1
    maximum: int = 1000
    minimum: int = 1
    """minReplicas without a floor."""
    up_factor: int = 2
    up_pods: int = 4
    """One step scales up to up_factor times the replicas, or by up_pods replicas; the larger result is the limit."""

    def max_after(self, current: int) -> int:
        """Return the most replicas that one step may scale up to."""
        return max(self.up_factor * current, current + self.up_pods)


@dataclass(frozen=True, slots=True)
class Replicas:
    """The existing replicas, and the ready ones among them."""

    existing: int
    ready: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """The result of a simulation. All shapes (steps,)."""

    existing: IntArray
    ready: IntArray
    short: npt.NDArray[np.bool_]
    """Whether the ready replicas could not carry the demand of that step."""

    @property
    def short_steps(self) -> int:
        return int(self.short.sum())

    @property
    def replica_steps(self) -> int:
        return int(self.existing.sum())


@dataclass(slots=True)
class Autoscaler:
    """One HPA and its pods, simulated step by step."""

    rules: AutoscalerRules
    per_replica: float
    ready_at: list[int]
    """The step at which each pod is ready, oldest first."""
    _step: int = 0
    _recommended: deque[int] = field(default_factory=deque[int])

    def advance(self, metric: float, floor: int) -> Replicas:
        """Run one sync with this metric and floor, and return the replicas after it."""
        current = len(self.ready_at)
        self._recommended.append(self._desired(metric, current))
        while len(self._recommended) > self.rules.stabilization_steps + 1:
            self._recommended.popleft()
        desired = self._recommended[-1]
        if desired < current:
            desired = min(current, max(self._recommended))
        desired = min(desired, self.rules.max_after(current))
        # The minimum is applied last: no scaling policy delays a raised minimum.
        desired = min(max(desired, floor, self.rules.minimum, 1), self.rules.maximum)
        self.ready_at += [self._step + self.rules.start_steps] * (desired - current)
        # The controller deletes pods that are not ready first: the youngest.
        del self.ready_at[desired:]
        ready = sum(at <= self._step for at in self.ready_at)
        self._step += 1
        return Replicas(desired, ready)

    def _desired(self, metric: float, current: int) -> int:
        ratio = metric / (self.rules.target * self.per_replica * current)
        if abs(ratio - 1) <= self.rules.tolerance:
            return current
        return math.ceil(metric / (self.rules.target * self.per_replica))


def simulate(demand: FloatArray, per_replica: float, rules: AutoscalerRules, floor_at: FloorAt) -> Simulation:
    """Run an HPA over a demand. It starts with the ready pods that the first demand needs.

    demand: shape (steps,), finite. floor_at is called before each sync.
    """
    autoscaler = Autoscaler(rules, per_replica, [-1] * max(1, math.ceil(demand[0] / (rules.target * per_replica))))
    replicas = Replicas(len(autoscaler.ready_at), len(autoscaler.ready_at))
    existing, ready = np.zeros(len(demand), np.int64), np.zeros(len(demand), np.int64)
    for step in range(len(demand)):
        metric = float(demand[max(0, step - rules.metric_delay_steps)])
        replicas = autoscaler.advance(metric, floor_at(step, replicas))
        existing[step], ready[step] = replicas.existing, replicas.ready
    return Simulation(existing, ready, ready * per_replica < demand)


def no_floor(step: int, replicas: Replicas) -> int:
    """Return 1, the lowest minimum: the HPA alone."""
    del step, replicas
    return 1
