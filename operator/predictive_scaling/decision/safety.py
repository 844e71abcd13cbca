"""No decrease without data (semantics 8)."""

from predictive_scaling.decision.context import DecisionContext, TrustedInputs
from predictive_scaling.decision.formatting import clock_time, replicas
from predictive_scaling.decision.inputs import Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import replicas_for, value_at
from predictive_scaling.resources.vocabulary import FallbackBehavior


def hold_without_data(floor: int, case: DecisionContext) -> int:
    """The floor sinks only while fresh demand, a forecast and what a replica carries are all known.

    A person's word stands in for data: a suppressing event, or a floor that spec.fallback names.
    """
    sure = case.inputs.allow_decrease or case.suppressed or case.fallback_may_lower
    return floor if sure else max(floor, case.before)


LOW_QUANTILE = 0.1
FAR_BELOW = 0.5
"""Half of the 0.1 quantile: a quiet hour does not get there."""


def is_outage(situation: Situation, sight: TrustedInputs) -> bool:
    """Whether demand is far below the 0.1 quantile of the last forecast made while it came in as expected.

    Later forecasts have seen the fall and expect it to go on, so they are no yardstick. That one is, for as long as it
    reaches: demand that stays low beyond its horizon is the new normal.
    """
    trusted = situation.state.reference_forecast
    if trusted is None or sight.demand is None or sight.demand_at is None:
        return False
    # The minute that ends at demand_at; before the first bin there is nothing to compare with.
    moment = sight.demand_at - trusted.step.resolution
    expected = value_at(trusted, LOW_QUANTILE, moment)
    return expected is not None and sight.demand < FAR_BELOW * expected


def hold_through_outage(floor: int, case: DecisionContext) -> int:
    """No decrease: the retry storm that follows must find its capacity. A planned outage (suppressForecast) is none."""
    return max(floor, case.before) if case.outage and not case.suppressed else floor


def keep_what_demand_needs(floor: int, case: DecisionContext) -> int:
    """A decrease stops at what the newest demand needs, each replica filled to forecast.utilization.

    The same measure as the forecast floor's: a replica is not fuller today than the policy lets a forecast fill it.
    """
    demand, per_replica = case.inputs.demand, case.inputs.per_replica
    if floor >= case.before or demand is None or per_replica is None:
        return floor
    needed = replicas_for(demand, per_replica, case.situation.policy.spec.forecast.utilization / 100)
    return max(floor, min(case.before, needed))


def is_in_fallback(situation: Situation, sight: TrustedInputs) -> bool:
    """Whether there has been no forecast, of any rung, for fallback.after."""
    blind_since = sight.no_forecast_since
    return blind_since is not None and situation.now - blind_since >= situation.policy.spec.fallback.after


def recommend_fallback(situation: Situation, sight: TrustedInputs, before: int) -> Recommendation | None:
    """The floor of fallback.behavior; None while the ladder has a rung left, or `after` has not passed."""
    if sight.no_forecast_since is None or not is_in_fallback(situation, sight):
        return None
    fallback, current = situation.policy.spec.fallback, situation.observed.current_replicas
    match fallback.behavior:
        case FallbackBehavior.STATIC:
            wanted, how = fallback.replicas or 0, "the policy falls back to"
        case FallbackBehavior.CURRENT_REPLICAS:
            wanted, how = current, "the policy falls back to the current"
        case FallbackBehavior.CURRENT_REPLICAS_IF_HIGHER:
            wanted, how = max(current, before), "the policy falls back to the higher of floor and current replicas:"
        case FallbackBehavior.HOLD_FLOOR:
            wanted, how = before, "the policy holds its floor of"
    why = f"no forecast since {clock_time(sight.no_forecast_since)}; {how} {replicas(wanted)}"
    return Recommendation(wanted, Source.FALLBACK, why, always_writes=True)


def fallback_may_lower(situation: Situation, sight: TrustedInputs) -> bool:
    """Whether the policy named a floor for this case, which counts also where it is lower."""
    named = (FallbackBehavior.STATIC, FallbackBehavior.CURRENT_REPLICAS)
    return is_in_fallback(situation, sight) and situation.policy.spec.fallback.behavior in named
