"""A decision in a sentence that can be checked (semantics 23)."""

from predictive_scaling.decision.context import DecisionContext, current_floor
from predictive_scaling.decision.inputs import Limit, Recommendation
from predictive_scaling.decision.limits import effective_maximum, effective_minimum
from predictive_scaling.resources.vocabulary import Reason, Source


def explain(case: DecisionContext, wishes: tuple[Recommendation, ...], floor: int, limits: tuple[Limit, ...]) -> str:
    """What happens, why, which limits cut it, what the forecast leans on, and which sources had to stay silent."""
    stands = current_floor(case.situation)
    parts = [f"{_what(stands, floor)}: {_why(case)}{_cut(case, limits)}."]
    if stands != case.before:
        parts.append(f"The minimum of {stands} is the default of a manifest that no longer states it.")
    # Contributions are computed when they are read; only a floor that changes is worth it.
    if floor != stands and case.strongest.source is Source.FORECAST and case.inputs.forecast:
        contributions = tuple(case.inputs.forecast.contributions)
        parts += [f"The forecast leans on {', '.join(contributions)}."] if contributions else []
    parts.extend(f"Not counted: {wish.why}." for wish in wishes if not wish.applies)
    return " ".join(parts)


def _what(before: int, floor: int) -> str:
    if floor == before:
        return f"Hold {floor}"
    return f"{'Raise' if floor > before else 'Lower'} from {before} to {floor}"


def _why(case: DecisionContext) -> str:
    if case.pause.freezes or case.pause.pin is not None:
        return case.pause.message
    return case.strongest.why


def _cut(case: DecisionContext, limits: tuple[Limit, ...]) -> str:
    if not limits:
        return ""
    named = (f"{limit} of {effective_maximum(case.situation)}" if limit is Limit.MAXIMUM else limit for limit in limits)
    return f"; {case.strongest.replicas} wanted, cut by {', '.join(named)}"


_ROSE = {
    Source.FORECAST: Reason.FORECAST_ROSE,
    Source.EVENT: Reason.EVENT_RAISES,
    Source.MINIMUM: Reason.BOUNDS_CHANGED,
    Source.FALLBACK: Reason.FALLBACK_ACTIVATED,
}
_FELL_FROM = {Source.EVENT: Reason.EVENT_ENDED, Source.FALLBACK: Reason.FALLBACK_ENDED}


def reason_for(case: DecisionContext, floor: int) -> Reason | None:
    """The word for this change; None where there is none."""
    if floor == case.before:
        is_written_again = floor != current_floor(case.situation)
        return Reason.FIELD_GIVEN_UP if is_written_again else None
    if case.pause.pin is not None:
        return Reason.PINNED
    if _is_forced_by_bounds(case, floor):
        return Reason.BOUNDS_CHANGED
    source = case.strongest.source
    if floor > case.before:
        return _ROSE[source]
    if case.suppressed:
        return Reason.EVENT_SUPPRESSES
    if source is Source.FALLBACK:
        return Reason.FALLBACK_ACTIVATED
    held_by = case.situation.state.floor_source
    # What held the floor until now asks for it no more.
    return _FELL_FROM.get(held_by, Reason.FORECAST_FELL) if held_by else Reason.FORECAST_FELL


def _is_forced_by_bounds(case: DecisionContext, floor: int) -> bool:
    low, high = effective_minimum(case.situation), effective_maximum(case.situation)
    return (case.before > high and floor == high) or (case.before < low and floor == low)
