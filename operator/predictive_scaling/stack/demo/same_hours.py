"""Simulates the HPA alone at the replica-hours of the Deployment with a policy. Pure."""

from dataclasses import dataclass, replace

import numpy as np

from forecasting.scaling.simulation import AutoscalerRules
from forecasting.scaling.simulation_grid import simulate_grid
from forecasting.series import FloatArray
from predictive_scaling.stack.demo.scenario import HPA_UTILIZATION, POD_START
from predictive_scaling.stack.demo.workload import MINUTE

_STEPS_A_MINUTE = 4
_TARGETS = np.round(np.arange(0.2, 1.2001, 0.005), 3)
_RULES = AutoscalerRules(target=HPA_UTILIZATION, start_steps=round(POD_START / MINUTE) * _STEPS_A_MINUTE)


@dataclass(frozen=True, slots=True)
class SimulatedHpa:
    """The HPA alone at a target, simulated. hours_ratio: replica-hours over those at HPA_UTILIZATION."""

    target: float
    under_provisioned_minutes: float
    hours_ratio: float


def hpa_at_same_hours(demand: FloatArray, per_replica: float, hours_ratio: float) -> SimulatedHpa:
    """The HPA whose target spends nearest to `hours_ratio` of the replica-hours of the HPA at HPA_UTILIZATION.

    demand: of each minute, shape (minutes,), finite.
    """
    simulations = _simulate_targets(demand, per_replica)
    reference = next(simulation for simulation in simulations if simulation.target == HPA_UTILIZATION)
    ratios = [
        replace(simulation, hours_ratio=simulation.hours_ratio / reference.hours_ratio) for simulation in simulations
    ]
    return min(ratios, key=lambda simulation: abs(simulation.hours_ratio - hours_ratio))


def _simulate_targets(demand: FloatArray, per_replica: float) -> list[SimulatedHpa]:
    """At each target; hours_ratio holds the replica-steps themselves."""
    steps = np.repeat(demand, _STEPS_A_MINUTE)
    grid = simulate_grid(steps, per_replica, _RULES, _TARGETS)
    short = (steps[:, None] > grid.ready * per_replica * (1 + 1e-9)).sum(axis=0) / _STEPS_A_MINUTE
    return [
        SimulatedHpa(float(target), float(minutes), float(replica_steps))
        for target, minutes, replica_steps in zip(_TARGETS, short, grid.existing.sum(axis=0), strict=True)
    ]
