"""No decrease without data, in an outage, below the load; no repeat of a harmful raise (semantics 8, 10, 19, 26)."""

from predictive_scaling.decision.context import DecisionContext, TrustedInputs, active_hold
from predictive_scaling.decision.formatting import clock_time, replicas
from predictive_scaling.decision.inputs import Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import replicas_for, value_at
from predictive_scaling.resources.vocabulary import FallbackBehavior, TargetKind


def hold_without_data(floor: int, context: DecisionContext) -> int:
    """Lower the floor only while fresh demand, a forecast and the capacity of a replica are known.

    What an event requires is unknown while its baseline is being forecast. A declaration by a person replaces data: an
    event that suppresses the forecast, or a floor in spec.fallback.
    """
    has_data = context.inputs.allow_decrease and not any(event.is_pending for event in context.situation.events)
    may_lower = has_data or context.suppressed or context.fallback_may_lower
    return floor if may_lower else max(floor, context.before)


OUTAGE_QUANTILE = 0.1
OUTAGE_SHARE = 0.5
"""Half of the 0.1 quantile: demand of a quiet hour stays above it."""


def is_outage(situation: Situation, inputs: TrustedInputs) -> bool:
    """Whether demand is far below the 0.1 quantile of the last forecast made while demand was as expected.

    Later forecasts include the drop and expect it to continue, so they are no reference. The reference counts up to its
    horizon: demand that stays low beyond it is the new normal.
    """
    reference = situation.state.reference_forecast
    if reference is None or inputs.demand is None or inputs.demand_at is None:
        return False
    # The minute that ends at demand_at; before the first bin there is nothing to compare with.
    moment = inputs.demand_at - reference.step.resolution
    expected = value_at(reference, OUTAGE_QUANTILE, moment)
    return expected is not None and inputs.demand < OUTAGE_SHARE * expected


def hold_through_outage(floor: int, context: DecisionContext) -> int:
    """No decrease during an outage: the retries after it need the capacity. A suppressing event plans its outage."""
    return max(floor, context.before) if context.outage and not context.suppressed else floor


def keep_current_load(floor: int, context: DecisionContext) -> int:
    """A decrease stops at the replicas that the newest demand needs."""
    needed = needed_replicas(context)
    return floor if needed is None or floor >= context.before else max(floor, min(context.before, needed))


def needed_replicas(context: DecisionContext) -> int | None:
    """The replicas that the newest demand needs; None while demand or the capacity of a replica is unknown.

    At forecast.utilization, so that the forecast's recommendation allows the same load for each replica. For a
    workload at demand.targetUtilization where that is lower: its reactive part requests these replicas.
    """
    demand, per_replica, spec = context.inputs.demand, context.inputs.per_replica, context.situation.policy.spec
    if demand is None or per_replica is None:
        return None
    utilization = spec.forecast.utilization
    if spec.target.kind is TargetKind.WORKLOAD:
        utilization = min(utilization, spec.demand.target_utilization)
    return replicas_for(demand, per_replica, utilization / 100)


def hold_back_raise(floor: int, context: DecisionContext) -> int:
    """Revert a raise that did harm, and do not repeat it before its back-off ends.

    The raise is reverted once, to the floor before it or to the replicas that the newest demand needs. After that the
    floor rises only with the newest demand, and this rule does not lower it: the floor would follow each change of
    demand. Without current demand and the capacity of a replica the floor is neither raised nor lowered.
    """
    hold, before = active_hold(context.situation), context.before
    if hold is None:
        return floor
    reverted = reverted_floor(context)
    if reverted is not None:
        return min(floor, reverted)
    return min(floor, max(hold.floor, before, needed_replicas(context) or 0))


def reverted_floor(context: DecisionContext) -> int | None:
    """The lower floor to which a raise that did harm is reverted now; None where there is nothing to revert."""
    hold, needed = active_hold(context.situation), needed_replicas(context)
    if hold is None or hold.is_reverted or needed is None or context.before < hold.raised_to:
        return None
    reverted = max(hold.floor, needed)
    return reverted if reverted < context.before else None


def is_in_fallback(situation: Situation, inputs: TrustedInputs) -> bool:
    """Whether no source has had a forecast for fallback.after."""
    since = inputs.no_forecast_since
    return since is not None and situation.now - since >= situation.policy.spec.fallback.after


def recommend_fallback(situation: Situation, inputs: TrustedInputs, before: int) -> Recommendation | None:
    """The floor of fallback.behavior; None while a forecast exists, or before `after` has passed."""
    if inputs.no_forecast_since is None or not is_in_fallback(situation, inputs):
        return None
    fallback, current = situation.policy.spec.fallback, situation.observed.current_replicas
    match fallback.behavior:
        case FallbackBehavior.STATIC:
            floor = fallback.replicas or 0
        case FallbackBehavior.CURRENT_REPLICAS:
            floor = current
        case FallbackBehavior.CURRENT_REPLICAS_IF_HIGHER:
            floor = max(current, before)
        case FallbackBehavior.HOLD_FLOOR:
            floor = before
    since = clock_time(inputs.no_forecast_since)
    why = f"no usable forecast since {since}; fallback behavior {fallback.behavior} recommends {replicas(floor)}"
    return Recommendation(floor, Source.FALLBACK, why, always_writes=True)


def fallback_may_lower(situation: Situation, inputs: TrustedInputs) -> bool:
    """Whether the active fallback names a floor, which also applies where it is lower."""
    names_floor = (FallbackBehavior.STATIC, FallbackBehavior.CURRENT_REPLICAS)
    return is_in_fallback(situation, inputs) and situation.policy.spec.fallback.behavior in names_floor
