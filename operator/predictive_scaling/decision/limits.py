"""The policy's bounds and the target's maximum (semantics 1, 14, 25)."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from predictive_scaling.decision.context import DecisionContext
from predictive_scaling.decision.inputs import FloorChange, Situation
from predictive_scaling.resources.step import Step


def effective_maximum(situation: Situation) -> int:
    """The lower of the policy's and the target's maximum: the user's own maximum wins."""
    policy, target = situation.policy.spec.replicas.max, situation.observed.maximum
    return policy if target is None else min(policy, target)


def effective_minimum(situation: Situation) -> int:
    """The policy's minimum, where the maximum lets it."""
    return min(situation.policy.spec.replicas.min, effective_maximum(situation))


def at_least_minimum(floor: int, case: DecisionContext) -> int:
    """Never below the policy's minimum."""
    return max(floor, effective_minimum(case.situation))


def at_most_maximum(floor: int, case: DecisionContext) -> int:
    """Never above the effective maximum, which is never raised."""
    return min(floor, effective_maximum(case.situation))


def ignore_small_changes(floor: int, case: DecisionContext) -> int:
    """A small change is left, unless an event, a fallback or a pin asks for it, or the floor is out of bounds."""
    before, band = case.before, case.situation.policy.spec.dead_band
    change = abs(floor - before)
    small = change < band.replicas and change * 100 < band.percent * before
    return before if small and not _always_writes(case) else floor


def _always_writes(case: DecisionContext) -> bool:
    in_bounds = effective_minimum(case.situation) <= case.before <= effective_maximum(case.situation)
    return case.strongest.always_writes or case.pause.pin is not None or not in_bounds


RecommendationHistory = tuple[tuple[datetime, int], ...]


def hold_highest_of_window(floor: int, case: DecisionContext) -> int:
    """A decrease goes no lower than what was wanted within the window, and waits until a full window was seen."""
    if floor >= case.before:
        return floor
    situation, memory = case.situation, case.situation.state
    window = situation.policy.spec.scale_down.stabilization_window
    if situation.now - memory.since < window:
        return case.before
    highest = next((wanted for at, wanted in memory.recommendations if situation.now - at < window), floor)
    return min(case.before, max(floor, highest))


def remember(
    recommendations: RecommendationHistory, now: datetime, wanted: int, window: timedelta
) -> RecommendationHistory:
    """The recommendations with one more, highest first; those that a later and higher one hides are dropped.

    So the first one within the window is its highest, and a steady wish needs one entry, not one a tick.
    """
    kept = tuple(
        recommendation
        for recommendation in recommendations
        if now - recommendation[0] < window and recommendation[1] > wanted
    )
    return (*kept, (now, wanted))


def step_up(floor: int, case: DecisionContext) -> int:
    """All raises of a period together stay within scaleUp.maxStep of the floor at the period's start."""
    if floor <= case.before:
        return floor
    scale = case.situation.policy.spec.scale_up
    return min(floor, case.before + _remaining_step(case, scale.max_step, scale.period, sign=1))


def step_down(floor: int, case: DecisionContext) -> int:
    """All decreases of a period together stay within scaleDown.maxStep of the floor at the period's start."""
    if floor >= case.before:
        return floor
    scale = case.situation.policy.spec.scale_down
    return max(floor, case.before - _remaining_step(case, scale.max_step, scale.period, sign=-1))


def recent_changes(changes: Iterable[FloorChange], now: datetime, period: timedelta) -> tuple[FloorChange, ...]:
    """The changes of the period that ends now; one that is exactly a period old is none of them."""
    return tuple(change for change in changes if now - change.at < period)


def _remaining_step(case: DecisionContext, step: Step, period: timedelta, *, sign: int) -> int:
    changes = recent_changes(case.situation.state.changes, case.situation.now, period)
    at_start = changes[0].before if changes else case.before
    moved = sum(max(0, sign * (change.after - change.before)) for change in changes)
    return max(0, step.of(at_start) - moved)
