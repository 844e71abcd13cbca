"""The outcomes of all scaling strategies over the same demand, and of further variants of a policy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from forecasting.scaling.frontier import Prices
from predictive_scaling.backtesting.replay import Replayed, replay
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts
from predictive_scaling.backtesting.tuned import TunedSettings, with_settings
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


@dataclass(slots=True)
class PolicyReplays:
    """The outcomes of a policy at several quantiles and HPA targets over one demand, when the live code decides.

    Each pair is replayed once.
    """

    simulation: ScalingSimulation
    forecasts: RollingForecasts
    report: ReportProgress
    _outcomes: dict[tuple[float, float], Outcome] = field(default_factory=dict[tuple[float, float], Outcome])

    @property
    def as_written(self) -> tuple[float, float]:
        """The quantile and the HPA target of the policy."""
        scenario = self.simulation.scenario
        return scenario.policy.spec.forecast.effective_quantile, scenario.hpa_target

    def add(self, replayed: Replayed) -> None:
        """Add a replay of the policy as written."""
        self._outcomes[self.as_written] = self._outcome(replayed)

    def at(self, quantile: float, target: float, stage: str) -> Tuned:
        """Return the outcome at a quantile and an HPA target. stage: what to report during a replay."""
        key = (quantile, target)
        if key not in self._outcomes:
            scenario = with_settings(self.simulation.scenario, quantile, target)
            replayed = replay(scenario, self.simulation.work, self.forecasts, lambda done: self.report(stage, done))
            self._outcomes[key] = self._outcome(replayed)
        return Tuned(quantile, target, self._outcomes[key])

    def _outcome(self, replayed: Replayed) -> Outcome:
        simulation = self.simulation
        return outcome(simulation.work, replayed.existing, replayed.ready, simulation.scenario.per_replica)


def compare(replays: PolicyReplays, chosen: TunedSettings, alternatives: Sequence[HpaOnly]) -> Comparison:
    """Return the outcomes of all strategies. alternatives: the HPA alone at each target."""
    simulation, (quantile, target) = replays.simulation, replays.as_written
    predictive = replays.at(quantile, target, "replaying the policy").outcome
    tuned = replays.at(chosen.quantile.quantile, chosen.quantile.hpa_target, "replaying the tuned policy")
    both = replays.at(chosen.both.quantile, chosen.both.hpa_target, "replaying the tuned policy and target")
    return Comparison(
        hpa_only=simulation.hpa_only(np.array([target]))[0],
        hpa_tuned=next(alternative for alternative in alternatives if alternative.target == chosen.hpa_only_target),
        same_hours=SameHours(
            *(
                at_same_hours(alternatives, strategy.replica_hours)
                for strategy in (predictive, tuned.outcome, both.outcome)
            )
        ),
        seasonal_naive=simulation.with_forecasts(replays.forecasts.of_baseline("SeasonalNaive"), quantile),
        predictive=predictive,
        tuned=tuned,
        tuned_with_target=both,
        oracle=simulation.oracle(),
    )


def compare_variants(
    replays: PolicyReplays, chosen: TunedSettings, alternatives: Sequence[HpaOnly], quantiles: Sequence[float]
) -> tuple[Variant, ...]:
    """Return the outcomes of the policy at these quantiles, then at those that further prices chose from the past."""
    _, target = replays.as_written
    settings: list[tuple[Prices | None, float]] = [(None, quantile) for quantile in quantiles]
    settings += [(prices, point.quantile) for prices, point in chosen.further]
    variants: list[Variant] = []
    for prices, quantile in settings:
        tuned = replays.at(quantile, target, f"replaying p{100 * quantile:.3g}")
        variants.append(Variant(prices, tuned, at_same_hours(alternatives, tuned.outcome.replica_hours)))
    return tuple(variants)
