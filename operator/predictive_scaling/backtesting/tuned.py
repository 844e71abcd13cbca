"""What a tuner would have chosen from what lies before the split, and a setting with it."""

from dataclasses import dataclass, replace

from forecasting.scaling import frontier as choices
from forecasting.scaling.frontier import Point, Prices
from predictive_scaling.resources.scaling_policy import Objective
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class TunedSettings:
    """quantile: the cheapest point at the HPA's target. both: the cheapest of all. prices: of the one and the other.

    hpa_alone_target: the target of an HPA without a policy that is cheapest by the prices of `both`.
    """

    quantile: Point
    both: Point
    prices: tuple[Prices, Prices]
    hpa_only_target: float


def choose(past: ScalingSimulation) -> TunedSettings:
    """By the policy's prices, or where it states none by the default ones, from the past only."""
    scenario = past.scenario
    objective = scenario.policy.spec.forecast.objective
    prices = (_prices(objective, choices.QUANTILE_PRICES), _prices(objective, choices.TARGET_PRICES))
    points = past.frontier(*grid_of(scenario))
    at_present = choices.at_target(points, scenario.hpa_target)
    hpa_only = choices.cheapest((it.outcome.at(0.0, it.target) for it in past.hpa_by_target()), prices[1])
    return TunedSettings(
        choices.cheapest(at_present, prices[0]), choices.cheapest(points, prices[1]), prices, hpa_only.hpa_target
    )


def grid_of(scenario: Scenario) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The quantiles and HPA targets of a frontier, those of the policy among them."""
    quantiles = {*choices.QUANTILES, scenario.policy.spec.forecast.effective_quantile}
    return tuple(sorted(quantiles)), tuple(sorted({*choices.TARGETS, scenario.hpa_target}))


def with_point(scenario: Scenario, point: Point) -> Scenario:
    """The setting with a point's quantile and HPA target."""
    policy = scenario.policy
    forecast = policy.spec.forecast.model_copy(update={"quantile": point.quantile, "objective": None})
    policy = policy.model_copy(update={"spec": policy.spec.model_copy(update={"forecast": forecast})})
    return replace(scenario, policy=policy, hpa_target=point.hpa_target)


def _prices(objective: Objective | None, default: Prices) -> Prices:
    return Prices(objective.under_provisioned_minute, objective.replica_hour) if objective else default
