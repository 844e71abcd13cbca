"""The outcomes of all scaling strategies over the same demand, and of further variants of a policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.scaling.frontier import Point, Prices
from predictive_scaling.backtesting.replay import Replayed, replay
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts
from predictive_scaling.backtesting.tuned import TunedSettings, with_point
from predictive_scaling.backtesting.walk_forward import ReportProgress
from predictive_scaling.simulation.outcomes import HpaOnly, Outcome, ScalingSimulation, at_same_hours, outcome


@dataclass(frozen=True, slots=True)
class Tuned:
    """A setting that was chosen from the past only, and its outcome afterwards."""

    quantile: float
    hpa_target: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SameHours:
    """The HPA alone at the replica-hours of each strategy, its target selected with hindsight."""

    predictive: HpaOnly
    tuned: HpaOnly
    tuned_with_target: HpaOnly


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcomes of all scaling strategies over the same demand.

    same_hours: the HPA alone at the replica-hours of each strategy. A gain is meaningful only against it, because an
    HPA with a lower target is short for fewer minutes too. hpa_tuned: the HPA alone at the target that the prices of
    `tuned_with_target` choose from the same past.
    """

    hpa_only: Outcome
    hpa_tuned: HpaOnly
    same_hours: SameHours
    seasonal_naive: Outcome
    predictive: Outcome
    tuned: Tuned
    tuned_with_target: Tuned
    oracle: Outcome


@dataclass(frozen=True, slots=True)
class Variant:
    """The policy at another quantile. prices: those that chose the quantile; None if it was given."""

    prices: Prices | None
    tuned: Tuned
    same_hours: HpaOnly


def compare(
    simulation: ScalingSimulation,
    chosen: TunedSettings,
    forecasts: RollingForecasts,
    replayed: Replayed,
    report: ReportProgress,
) -> Comparison:
    """Return the outcomes of all strategies. replayed: the policy as written."""
    scenario = simulation.scenario
    quantile, target = scenario.policy.spec.forecast.effective_quantile, scenario.hpa_target
    predictive = outcome(simulation.work, replayed.existing, replayed.ready, scenario.per_replica)
    tuned = _tuned(simulation, forecasts, chosen.quantile, lambda done: report("replaying the tuned policy", done))
    both = _tuned(
        simulation, forecasts, chosen.both, lambda done: report("replaying the tuned policy and target", done)
    )
    alternatives = simulation.hpa_by_target()
    return Comparison(
        hpa_only=simulation.hpa_only(np.array([target]))[0],
        hpa_tuned=next(alternative for alternative in alternatives if alternative.target == chosen.hpa_only_target),
        same_hours=SameHours(
            *(
                at_same_hours(alternatives, strategy.replica_hours)
                for strategy in (predictive, tuned.outcome, both.outcome)
            )
        ),
        seasonal_naive=simulation.with_forecasts(forecasts.of_baseline("SeasonalNaive"), quantile),
        predictive=predictive,
        tuned=tuned,
        tuned_with_target=both,
        oracle=simulation.oracle(),
    )


def compare_variants(
    simulation: ScalingSimulation,
    chosen: TunedSettings,
    forecasts: RollingForecasts,
    quantiles: Sequence[float],
    report: ReportProgress,
) -> tuple[Variant, ...]:
    """Return the outcomes of the policy at these quantiles, then at those that further prices chose from the past."""
    target, alternatives = simulation.scenario.hpa_target, simulation.hpa_by_target()
    settings: list[tuple[Prices | None, Point]] = [
        (None, Point(quantile, target, 0.0, 0.0, 0.0, 0.0)) for quantile in quantiles
    ]
    settings += chosen.further
    variants: list[Variant] = []
    for prices, point in settings:
        tuned = _tuned(
            simulation, forecasts, point, lambda done, at=point: report(f"replaying p{100 * at.quantile:.3g}", done)
        )
        variants.append(Variant(prices, tuned, at_same_hours(alternatives, tuned.outcome.replica_hours)))
    return tuple(variants)


def _tuned(
    simulation: ScalingSimulation, forecasts: RollingForecasts, chosen: Point, report: Callable[[float], None]
) -> Tuned:
    """Return the outcome of a point when the live code decides."""
    scenario = with_point(simulation.scenario, chosen)
    replayed = replay(scenario, simulation.work, forecasts, report)
    tuned = outcome(simulation.work, replayed.existing, replayed.ready, scenario.per_replica)
    return Tuned(chosen.quantile, chosen.hpa_target, tuned)
