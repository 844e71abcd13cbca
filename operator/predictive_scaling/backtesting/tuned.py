"""Choose quantile and HPA target from the past before the split, as a tuner would."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forecasting.scaling import frontier
from forecasting.scaling.frontier import Point, Prices
from predictive_scaling.resources.scaling_policy import Objective
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class TunedSettings:
    """Settings chosen from the past.

    quantile: the cheapest point at the current HPA target. both: the cheapest point of all quantiles and targets.
    prices: of `quantile` and of `both`. hpa_only_target: the cheapest target of an HPA without a policy, by the prices
    of `both`. further: the cheapest point at the current HPA target by each of the further prices.
    """

    quantile: Point
    both: Point
    prices: tuple[Prices, Prices]
    hpa_only_target: float
    further: tuple[tuple[Prices, Point], ...] = ()


def choose(past: ScalingSimulation, further: Sequence[Prices] = ()) -> TunedSettings:
    """Choose the cheapest settings by the prices of the policy, or by the default prices if it states none.

    further: prices for which only the quantile is chosen.
    """
    scenario = past.scenario
    objective = scenario.policy.spec.forecast.objective
    prices = (_prices(objective, frontier.QUANTILE_PRICES), _prices(objective, frontier.TARGET_PRICES))
    points = past.frontier(*grid_of(scenario))
    at_current_target = frontier.at_target(points, scenario.hpa_target)
    hpa_only = frontier.cheapest((hpa.outcome.at(0.0, hpa.target) for hpa in past.hpa_by_target()), prices[1])
    return TunedSettings(
        quantile=frontier.cheapest(at_current_target, prices[0]),
        both=frontier.cheapest(points, prices[1]),
        prices=prices,
        hpa_only_target=hpa_only.hpa_target,
        further=tuple((stated, frontier.cheapest(at_current_target, stated)) for stated in further),
    )


def grid_of(scenario: Scenario) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the quantiles and HPA targets of a frontier, including those of the policy."""
    quantiles = {*frontier.QUANTILES, scenario.policy.spec.forecast.effective_quantile}
    return tuple(sorted(quantiles)), tuple(sorted({*frontier.TARGETS, scenario.hpa_target}))


def with_settings(scenario: Scenario, quantile: float, hpa_target: float) -> Scenario:
    """Return the scenario with another quantile and HPA target."""
    policy = scenario.policy
    forecast = policy.spec.forecast.model_copy(update={"quantile": quantile, "objective": None})
    policy = policy.model_copy(update={"spec": policy.spec.model_copy(update={"forecast": forecast})})
    return replace(scenario, policy=policy, hpa_target=hpa_target)


def _prices(objective: Objective | None, default: Prices) -> Prices:
    return Prices(objective.under_provisioned_minute, objective.replica_hour) if objective else default
