"""Outcomes of a simulated HPA: under given floors, alone, and with an oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.floors import FloorRules, Mask, Stride, floors_of
from forecasting.scaling.frontier import Point
from forecasting.scaling.simulation_grid import Counts, Grid, simulate_grid
from forecasting.series import FloatArray
from predictive_scaling.resources.scaling_policy import ScalingPolicySpec
from predictive_scaling.resources.step import Step
from predictive_scaling.simulation.recommendations import ForecastBatch, peaks, replicas_for
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import STEP, Workload

_MINUTE_STEPS = 4
_HOUR_STEPS = 240
_MAX_COLUMNS = 40
"""Maximum number of columns simulated at once; more columns need more memory and save hardly any time."""
_SEARCHED_TARGETS = np.round(np.arange(0.2, 1.5001, 0.005), 3)
"""Utilization targets of the HPA alone that are compared with a policy; above 1 the HPA overloads its replicas."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well replicas carried a demand.

    under_provisioned_share: of the observed time. lost_demand_share: of the demand. replica_hours: of all replicas that
    existed, ready or not.
    """

    under_provisioned_share: float
    lost_demand_share: float
    replica_hours: float
    minutes: float
    """Under-provisioned minutes."""

    def at(self, quantile: float, target: float) -> Point:
        """Return the outcome as a point of a frontier."""
        return Point(
            quantile, target, self.under_provisioned_share, self.lost_demand_share, self.minutes, self.replica_hours
        )


def outcome(work: Workload, existing: Counts, ready: Counts, per_replica: float) -> Outcome:
    """Return the outcome of replica counts, shapes (steps,). Gaps of the trace are not judged."""
    return outcomes(work, Grid(existing[:, None], ready[:, None]), per_replica)[0]


def outcomes(work: Workload, grid: Grid, per_replica: float) -> list[Outcome]:
    """Return the outcome of each column."""
    observed = work.observed
    demand = work.demand[observed][:, None]
    missing = np.maximum(demand - grid.ready[observed] * per_replica, 0.0)
    short = (missing > 1e-9 * per_replica).sum(axis=0)
    lost, total, hours = missing.sum(axis=0), float(demand.sum()), grid.existing.sum(axis=0) / _HOUR_STEPS
    return [
        Outcome(
            under_provisioned_share=float(count / max(1, len(demand))),
            lost_demand_share=float(lost_demand / total) if total > 0 else 0.0,
            replica_hours=float(replica_hours),
            minutes=float(count / _MINUTE_STEPS),
        )
        for count, lost_demand, replica_hours in zip(short, lost, hours, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class HpaOnly:
    """The HPA without a policy. target: its utilization target, a fraction."""

    target: float
    outcome: Outcome


def at_same_hours(alternatives: Sequence[HpaOnly], replica_hours: float) -> HpaOnly:
    """Return the HPA whose replica-hours over this demand are closest to `replica_hours`, selected with hindsight.

    It shows what the HPA alone achieves with the replica-hours of a policy.
    """
    return min(alternatives, key=lambda hpa: abs(hpa.outcome.replica_hours - replica_hours))


@dataclass(frozen=True, slots=True)
class EventFloors:
    """The event floor at each step, from a replay by the live code: shapes (steps,).

    suppressed: whether an event suppressed the forecast.
    """

    floors: Counts
    suppressed: Mask


@dataclass(frozen=True, slots=True)
class ScalingSimulation:
    """Simulates a scenario's HPA over one workload: under floors of the policy, alone, and with an oracle."""

    scenario: Scenario
    work: Workload
    forecasts: ForecastBatch
    events: EventFloors | None = None

    def hpa_only(self, targets: FloatArray) -> list[Outcome]:
        """Return the outcomes of the HPA without a floor, at each target."""
        grid = simulate_grid(self.work.metric, self.scenario.per_replica, self.scenario.rules, targets)
        return outcomes(self.work, grid, self.scenario.per_replica)

    def hpa_by_target(self) -> tuple[HpaOnly, ...]:
        """Return the HPA without a policy at each target from 20 to 150 %, ascending."""
        return tuple(map(HpaOnly, _SEARCHED_TARGETS.tolist(), self.hpa_only(_SEARCHED_TARGETS)))

    def frontier(self, quantiles: tuple[float, ...], targets: tuple[float, ...]) -> list[Point]:
        """Return one point per pair of quantile and target, with floors by the rules of the policy."""
        return self.points(self.floors(self.forecasts, quantiles), quantiles, targets)

    def points(self, floors: Counts, quantiles: tuple[float, ...], targets: tuple[float, ...]) -> list[Point]:
        """Return one point per pair of quantile and target. floors: per quantile, shape (steps, quantiles)."""
        batch_size = max(1, _MAX_COLUMNS // len(targets))
        points: list[Point] = []
        for first in range(0, len(quantiles), batch_size):
            batch = quantiles[first : first + batch_size]
            columns = np.repeat(floors[:, first : first + batch_size], len(targets), axis=1)
            column_targets = np.tile(np.array(targets), len(batch))
            grid = simulate_grid(
                self.work.metric, self.scenario.per_replica, self.scenario.rules, column_targets, columns
            )
            pairs = [(quantile, target) for quantile in batch for target in targets]
            of_pairs = outcomes(self.work, grid, self.scenario.per_replica)
            points += [outcome.at(*pair) for outcome, pair in zip(of_pairs, pairs, strict=True)]
        return points

    def floors(self, forecasts: ForecastBatch, quantiles: tuple[float, ...]) -> Counts:
        """Return the floor of the policy at each quantile: shape (steps, quantiles)."""
        scenario, spec = self.scenario, self.scenario.policy.spec
        share = spec.forecast.utilization / 100
        ahead = scenario.lead_time + forecasts.series.step
        recommendations = replicas_for(peaks(forecasts, self.work, ahead, quantiles), scenario.per_replica, share)
        if self.events is not None:
            recommendations = np.where(self.events.suppressed[:, None], 0, recommendations)
            recommendations = np.maximum(recommendations, self.events.floors[:, None]).astype(np.int32)
        needed = replicas_for(self.work.metric, scenario.per_replica, share)
        is_valid = (self.work.metric > 0) | spec.demand.zero_is_valid
        return floors_of(recommendations, needed, is_valid, rules_of(spec), scenario.rules.minimum)

    def with_forecasts(self, forecasts: ForecastBatch, quantile: float) -> Outcome:
        """Return the outcome of the policy with the forecasts of another model."""
        return self._under_floors(self.floors(forecasts, (quantile,)))

    def replayed_hpa_only(self) -> Grid:
        """Return the replicas of the HPA without a floor at its own target, step by step: one column."""
        target = np.array([self.scenario.hpa_target])
        return simulate_grid(self.work.metric, self.scenario.per_replica, self.scenario.rules, target)

    def oracle(self) -> Outcome:
        """Return the outcome of a floor that is computed from the future demand.

        The floor is the highest need until replicas requested now are ready; no rule except the bounds limits it.
        """
        needed = replicas_for(self.work.demand, self.scenario.per_replica, 1.0)
        for _ in range(self.scenario.rules.start_steps):
            needed = np.maximum(needed, np.append(needed[1:], needed[-1]))
        return self._under_floors(needed[:, None].astype(np.int32))

    def _under_floors(self, floors: Counts) -> Outcome:
        scenario = self.scenario
        target = np.array([scenario.hpa_target])
        grid = simulate_grid(self.work.metric, scenario.per_replica, scenario.rules, target, floors)
        return outcomes(self.work, grid, scenario.per_replica)[0]


def rules_of(spec: ScalingPolicySpec) -> FloorRules:
    """Return the rules of a policy for the simulated floors, in replicas and steps."""
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
