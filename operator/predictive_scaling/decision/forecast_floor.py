"""The forecast's recommendation (semantics 2): enough replicas for the highest demand of the window ahead."""

from predictive_scaling.decision.context import TrustedInputs
from predictive_scaling.decision.formatting import amount, clock_time, quantile_name, replicas
from predictive_scaling.decision.inputs import Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import highest_demand, replicas_for
from predictive_scaling.decision.spans import Span


def recommend_from_forecast(
    situation: Situation, inputs: TrustedInputs, spans: tuple[Span, ...]
) -> Recommendation | None:
    """Replicas for the policy's quantile of the highest demand within `spans`, at forecast.utilization of each.

    None where there is no usable forecast, the capacity of a replica is unknown, or `spans` is empty.
    """
    forecast, per_replica = inputs.forecast, inputs.per_replica
    if forecast is None or per_replica is None or not spans:
        return None
    options = situation.policy.spec.forecast
    quantile, quantile_reason = quantile_of(situation)
    peak = highest_demand(forecast, quantile, spans)
    if peak is None:
        return None
    needed = replicas_for(peak.value, per_replica, options.utilization / 100)
    model = f"{forecast.model} {forecast.version}".strip()
    details = ", ".join(part for part in (quantile_name(quantile), quantile_reason, model) if part)
    utilization = f" and {options.utilization} % utilization" if options.utilization != 100 else ""
    why = (
        f"a peak of {amount(peak.value)} {situation.policy.spec.demand.metric} until {clock_time(spans[-1].end)} "
        f"({details}) requires {replicas(needed)} at {amount(per_replica)} per replica{utilization}"
    )
    return Recommendation(needed, Source.FORECAST, why, demand=peak.value, at=peak.at)


def quantile_of(situation: Situation) -> tuple[float, str]:
    """The quantile and the reason for it; the reason is empty where the policy states the quantile.

    A policy with an objective starts with the quantile that its prices give for one replica
    (ForecastOptions.effective_quantile), and continues with the one that had the lowest cost over its last days.
    """
    options = situation.policy.spec.forecast
    if options.objective is None:
        return options.effective_quantile, ""
    if situation.tuned is None:
        return options.effective_quantile, "initial value, as no past days have been analyzed yet"
    return situation.tuned.quantile, situation.tuned.why
