"""Why a floor moves, in one word."""

from predictive_scaling.decision.bounds import effective_maximum, effective_minimum
from predictive_scaling.decision.case import Case, floor_before
from predictive_scaling.resources.vocabulary import Reason, Source

_ROSE = {
    Source.FORECAST: Reason.FORECAST_ROSE,
    Source.EVENT: Reason.EVENT_RAISES,
    Source.MINIMUM: Reason.BOUNDS_CHANGED,
    Source.FALLBACK: Reason.FALLBACK_ACTIVATED,
}
_FELL_FROM = {Source.EVENT: Reason.EVENT_ENDED, Source.FALLBACK: Reason.FALLBACK_ENDED}


def reason_for(case: Case, floor: int) -> Reason | None:
    """The word for this change; None where there is none."""
    if floor == case.before:
        is_written_again = floor != floor_before(case.situation)
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
    held_by = case.situation.memory.held_by
    # What held the floor until now asks for it no more.
    return _FELL_FROM.get(held_by, Reason.FORECAST_FELL) if held_by else Reason.FORECAST_FELL


def _is_forced_by_bounds(case: Case, floor: int) -> bool:
    low, high = effective_minimum(case.situation), effective_maximum(case.situation)
    return (case.before > high and floor == high) or (case.before < low and floor == low)
