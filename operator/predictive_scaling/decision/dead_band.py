"""No write for a change that is smaller than both a count and a percentage (semantics 5)."""

from predictive_scaling.decision.bounds import effective_maximum, effective_minimum
from predictive_scaling.decision.case import Case


def ignore_small_changes(floor: int, case: Case) -> int:
    """A small change is left, unless an event, a fallback or a pin asks for it, or the floor is out of bounds."""
    before, band = case.before, case.situation.policy.spec.dead_band
    change = abs(floor - before)
    small = change < band.replicas and change * 100 < band.percent * before
    return before if small and not _always_writes(case) else floor


def _always_writes(case: Case) -> bool:
    in_bounds = effective_minimum(case.situation) <= case.before <= effective_maximum(case.situation)
    return case.strongest.always_writes or case.pause.pin is not None or not in_bounds
