"""How well replicas met a demand, and every way of setting them that is compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.floors import FloorRules, Mask, Stride, floors_of
from forecasting.scaling.frontier import Point
from forecasting.scaling.simulation_grid import Counts, Grid, simulate_grid
from forecasting.series import FloatArray
from predictive_scaling.resources.scaling_policy import ScalingPolicySpec
from predictive_scaling.resources.step import Step
from predictive_scaling.simulation.forecast_batch import ForecastBatch
from predictive_scaling.simulation.recommendations import peaks, replicas
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import STEP, Workload

_MINUTE_STEPS = 4
_HOUR_STEPS = 240
_MAX_COLUMNS = 40
"""Simulated at once: more take more memory and hardly less time."""
_SEARCHED = np.round(np.arange(0.2, 1.5001, 0.005), 3)
"""Targets of the HPA alone that are compared with a policy; above 1 an HPA overloads its replicas."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """under_provisioned_share: of observed time. lost_demand_share: of demand. replica_hours: all that existed."""

    under_provisioned_share: float
    lost_demand_share: float
    replica_hours: float
    minutes: float
    """Under-provisioned."""

    def at(self, quantile: float, target: float) -> Point:
        """As a point of a frontier."""
        return Point(
            quantile, target, self.under_provisioned_share, self.lost_demand_share, self.minutes, self.replica_hours
        )


def outcome(work: Workload, existing: Counts, ready: Counts, per_replica: float) -> Outcome:
    """Judge one way of setting replicas; shapes (steps,). Gaps of the trace are not judged."""
    return outcomes(work, Grid(existing[:, None], ready[:, None]), per_replica)[0]


def outcomes(work: Workload, grid: Grid, per_replica: float) -> list[Outcome]:
    """Judge each column."""
    seen = work.observed
    demand = work.demand[seen][:, None]
    missing = np.maximum(demand - grid.ready[seen] * per_replica, 0.0)
    short = (missing > 1e-9 * per_replica).sum(axis=0)
    lost, total, hours = missing.sum(axis=0), float(demand.sum()), grid.existing.sum(axis=0) / _HOUR_STEPS
    return [
        Outcome(
            under_provisioned_share=float(count / max(1, len(demand))),
            lost_demand_share=float(gone / total) if total > 0 else 0.0,
            replica_hours=float(spent),
            minutes=float(count / _MINUTE_STEPS),
        )
        for count, gone, spent in zip(short, lost, hours, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class HpaOnly:
    """The HPA without a policy. target: its utilization target, a fraction."""

    target: float
    outcome: Outcome


def at_same_hours(alternatives: Sequence[HpaOnly], replica_hours: float) -> HpaOnly:
    """The HPA whose target spends nearest to so many replica-hours over this demand: chosen with hindsight.

    It is what the HPA alone does with the replica-hours that a policy spends.
    """
    return min(alternatives, key=lambda it: abs(it.outcome.replica_hours - replica_hours))


@dataclass(frozen=True, slots=True)
class EventFloors:
    """What events asked for at each step, from a replay by the live code: shapes (steps,)."""

    floors: Counts
    suppressed: Mask


@dataclass(frozen=True, slots=True)
class ScalingSimulation:
    """A demand, a policy and its forecasts: where ways of setting replicas compete."""

    scenario: Scenario
    work: Workload
    forecasts: ForecastBatch
    events: EventFloors | None = None

    def hpa_only(self, targets: FloatArray) -> list[Outcome]:
        """The HPA without a floor, at each target."""
        grid = simulate_grid(self.work.metric, self.scenario.per_replica, self.scenario.rules, targets)
        return outcomes(self.work, grid, self.scenario.per_replica)

    def hpa_by_target(self) -> tuple[HpaOnly, ...]:
        """The HPA without a policy at each target from 20 to 150 %, ascending."""
        return tuple(map(HpaOnly, _SEARCHED.tolist(), self.hpa_only(_SEARCHED)))

    def frontier(self, quantiles: tuple[float, ...], targets: tuple[float, ...]) -> list[Point]:
        """Every pair, by the arithmetic of the policy's rules."""
        return self.points(self.floors(self.forecasts, quantiles), quantiles, targets)

    def points(self, floors: Counts, quantiles: tuple[float, ...], targets: tuple[float, ...]) -> list[Point]:
        """Every pair. floors: of each quantile, shape (steps, quantiles)."""
        together = max(1, _MAX_COLUMNS // len(targets))
        found: list[Point] = []
        for first in range(0, len(quantiles), together):
            some = quantiles[first : first + together]
            columns = np.repeat(floors[:, first : first + together], len(targets), axis=1)
            aims = np.tile(np.array(targets), len(some))
            grid = simulate_grid(self.work.metric, self.scenario.per_replica, self.scenario.rules, aims, columns)
            pairs = [(quantile, target) for quantile in some for target in targets]
            judged = outcomes(self.work, grid, self.scenario.per_replica)
            found += [one.at(*pair) for one, pair in zip(judged, pairs, strict=True)]
        return found

    def floors(self, forecasts: ForecastBatch, quantiles: tuple[float, ...]) -> Counts:
        """What the policy's floor would be at each quantile: shape (steps, quantiles)."""
        scenario, spec = self.scenario, self.scenario.policy.spec
        share = spec.forecast.utilization / 100
        ahead = scenario.lead_time + forecasts.series.step
        recommendations = replicas(peaks(forecasts, self.work, ahead, quantiles), scenario.per_replica, share)
        if self.events is not None:
            recommendations = np.where(self.events.suppressed[:, None], 0, recommendations)
            recommendations = np.maximum(recommendations, self.events.floors[:, None]).astype(np.int32)
        needed = replicas(self.work.metric, scenario.per_replica, share)
        sees = (self.work.metric > 0) | spec.demand.zero_is_valid
        return floors_of(recommendations, needed, sees, rules_of(spec), scenario.rules.minimum)

    def by(self, forecasts: ForecastBatch, quantile: float) -> Outcome:
        """The policy on the forecasts of another model."""
        return self._with(self.floors(forecasts, (quantile,)))

    def replayed_hpa_only(self) -> Grid:
        """The HPA without a floor at its target, step by step: one column."""
        target = np.array([self.scenario.hpa_target])
        return simulate_grid(self.work.metric, self.scenario.per_replica, self.scenario.rules, target)

    def oracle(self) -> Outcome:
        """A floor that is what the demand will need until replicas asked for now are ready, and no rule but bounds."""
        needed = replicas(self.work.demand, self.scenario.per_replica, 1.0)
        for _ in range(self.scenario.rules.start_steps):
            needed = np.maximum(needed, np.append(needed[1:], needed[-1]))
        return self._with(needed[:, None].astype(np.int32))

    def _with(self, floors: Counts) -> Outcome:
        scenario = self.scenario
        target = np.array([scenario.hpa_target])
        grid = simulate_grid(self.work.metric, scenario.per_replica, scenario.rules, target, floors)
        return outcomes(self.work, grid, scenario.per_replica)[0]


def rules_of(spec: ScalingPolicySpec) -> FloorRules:
    """A policy's rules as arithmetic."""
    return FloorRules(
        minimum=spec.replicas.min,
        maximum=spec.replicas.max,
        up=_stride(spec.scale_up.max_step, spec.scale_up.period / STEP),
        down=_stride(spec.scale_down.max_step, spec.scale_down.period / STEP),
        window_steps=int(-(-spec.scale_down.stabilization_window // STEP)),
        band_replicas=spec.dead_band.replicas,
        band_percent=spec.dead_band.percent,
    )


def _stride(step: Step, period_steps: float) -> Stride:
    return Stride(step.amount, step.is_percent, max(1, int(np.ceil(period_steps))))
