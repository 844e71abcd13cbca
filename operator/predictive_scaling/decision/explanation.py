"""The message and the reason of a decision (semantics 23)."""

from predictive_scaling.decision.context import DecisionContext, active_hold, current_floor
from predictive_scaling.decision.inputs import Limit, Recommendation
from predictive_scaling.decision.limits import effective_maximum, effective_minimum
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.vocabulary import Reason, Source


def explain(
    context: DecisionContext, recommendations: tuple[Recommendation, ...], floor: int, limits: tuple[Limit, ...]
) -> str:
    """The change, its cause, the limits that cut it, contributions to the forecast, sources that do not apply."""
    current = current_floor(context.situation)
    sentences = [f"{_change(current, floor)}: {_cause(context)}{_limits(context, limits)}."]
    if current != context.before:
        sentences.append(f"The target's minimum of {current} is the API default, as its manifest no longer sets it.")
    hold = active_hold(context.situation)
    if hold is not None and Limit.ROLLED_BACK in limits:
        sentences.append(
            f"A raise above {hold.floor} did harm and is not repeated before {format_time(hold.until)}, unless the "
            f"policy or the pod template changes: {hold.message}"
        )
    # Contributions are computed when they are read: only for a floor that changes.
    if floor != current and context.strongest.source is Source.FORECAST and context.inputs.forecast:
        contributions = tuple(context.inputs.forecast.contributions)
        sentences += [f"Main contributions to the forecast: {', '.join(contributions)}."] if contributions else []
    sentences += [f"Not applied: {source.why}." for source in recommendations if not source.applies]
    return " ".join(sentences)


def _change(before: int, floor: int) -> str:
    if floor == before:
        return f"Hold {floor}"
    return f"{'Raise' if floor > before else 'Lower'} from {before} to {floor}"


def _cause(context: DecisionContext) -> str:
    if context.pause.freezes or context.pause.pin is not None:
        return context.pause.message
    return context.strongest.why


def _limits(context: DecisionContext, limits: tuple[Limit, ...]) -> str:
    if not limits:
        return ""
    maximum = effective_maximum(context.situation)
    names = (f"{limit} of {maximum}" if limit is Limit.MAXIMUM else limit for limit in limits)
    return f"; {context.strongest.replicas} recommended, limited by {', '.join(names)}"


_RAISE_REASONS = {
    Source.FORECAST: Reason.FORECAST_ROSE,
    Source.EVENT: Reason.EVENT_RAISES,
    Source.MINIMUM: Reason.BOUNDS_CHANGED,
    Source.FALLBACK: Reason.FALLBACK_ACTIVATED,
    Source.REACTIVE: Reason.DEMAND_ROSE,
}
_ENDED_REASONS = {
    Source.EVENT: Reason.EVENT_ENDED,
    Source.FALLBACK: Reason.FALLBACK_ENDED,
    Source.REACTIVE: Reason.DEMAND_FELL,
}


def reason_for(context: DecisionContext, floor: int, limits: tuple[Limit, ...] = ()) -> Reason | None:
    """The reason of the change; None where the floor does not change."""
    if floor == context.before:
        is_written_again = floor != current_floor(context.situation)
        return Reason.FIELD_GIVEN_UP if is_written_again else None
    if context.pause.pin is not None:
        return Reason.PINNED
    if _is_forced_by_bounds(context, floor):
        return Reason.BOUNDS_CHANGED
    source = context.strongest.source
    if floor > context.before:
        return _RAISE_REASONS[source]
    if Limit.ROLLED_BACK in limits:
        return Reason.ROLLED_BACK
    if context.suppressed:
        return Reason.EVENT_SUPPRESSES
    if source is Source.FALLBACK:
        return Reason.FALLBACK_ACTIVATED
    # The source that held the floor until now no longer recommends it.
    held_by = context.situation.state.floor_source
    return _ENDED_REASONS.get(held_by, Reason.FORECAST_FELL) if held_by else Reason.FORECAST_FELL


def _is_forced_by_bounds(context: DecisionContext, floor: int) -> bool:
    low, high = effective_minimum(context.situation), effective_maximum(context.situation)
    return (context.before > high and floor == high) or (context.before < low and floor == low)
