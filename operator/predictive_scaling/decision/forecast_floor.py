"""What the forecast asks for (semantics 2): enough for the highest demand of the window ahead."""

from predictive_scaling.decision.context import TrustedInputs
from predictive_scaling.decision.formatting import amount, clock_time, quantile_name, replicas
from predictive_scaling.decision.inputs import Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import highest, replicas_for
from predictive_scaling.decision.spans import Span


def recommend_from_forecast(
    situation: Situation, sight: TrustedInputs, spans: tuple[Span, ...]
) -> Recommendation | None:
    """Replicas for the chosen quantile of the highest demand within `spans`, each filled to forecast.utilization.

    None where there is no usable forecast, what a replica carries is unknown, or all of the window is suppressed.
    """
    forecast, per_replica = sight.forecast, sight.per_replica
    if forecast is None or per_replica is None or not spans:
        return None
    options = situation.policy.spec.forecast
    quantile, chosen = quantile_of(situation)
    top = highest(forecast, quantile, spans)
    if top is None:
        return None
    needed = replicas_for(top.value, per_replica, options.utilization / 100)
    model = f"{forecast.model} {forecast.version}".strip()
    told = ", ".join(part for part in (quantile_name(quantile), chosen, model) if part)
    filled = f" at {options.utilization} %" if options.utilization != 100 else ""
    why = (
        f"{amount(top.value)} {situation.policy.spec.demand.metric} expected until {clock_time(spans[-1].end)} "
        f"({told}) need {replicas(needed)} of {amount(per_replica)}{filled}"
    )
    return Recommendation(needed, Source.FORECAST, why, demand=top.value, at=top.at)


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
