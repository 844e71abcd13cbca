"""Which quantile of the forecast the floor covers."""

from predictive_scaling.decision.model import Situation


def quantile_of(situation: Situation) -> tuple[float, str]:
    """The quantile, and why it is that one: empty where the policy states it.

    A policy with an objective starts with what its prices say of one replica (ForecastOptions.effective_quantile), and
    goes on with what they chose over its last days.
    """
    options = situation.policy.spec.forecast
    if options.objective is None:
        return options.effective_quantile, ""
    if situation.tuned is None:
        return options.effective_quantile, "to begin with, as no days have been looked back on yet"
    return situation.tuned.quantile, situation.tuned.why
