"""Limits of the floor: bounds, dead band, stabilization window and steps (semantics 1, 4, 5, 14, 25)."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from predictive_scaling.decision.context import DecisionContext
from predictive_scaling.decision.inputs import FloorChange, Situation
from predictive_scaling.decision.safety import reverted_floor
from predictive_scaling.resources.step import Step


def effective_maximum(situation: Situation) -> int:
    """The lower of the policy's and the target's maximum: the user's own maximum wins."""
    policy, target = situation.policy.spec.replicas.max, situation.observed.maximum
    return policy if target is None else min(policy, target)


def effective_minimum(situation: Situation) -> int:
    """The policy's minimum, but at most the effective maximum."""
    return min(situation.policy.spec.replicas.min, effective_maximum(situation))


def at_least_minimum(floor: int, context: DecisionContext) -> int:
    """Never below the policy's minimum."""
    return max(floor, effective_minimum(context.situation))


def at_most_maximum(floor: int, context: DecisionContext) -> int:
    """Never above the effective maximum, which the operator never raises."""
    return min(floor, effective_maximum(context.situation))


def ignore_small_changes(floor: int, context: DecisionContext) -> int:
    """Skip a change within the dead band, except for an event, a fallback, a pin or a floor that is out of bounds."""
    before, band = context.before, context.situation.policy.spec.dead_band
    change = abs(floor - before)
    is_small = change < band.replicas and change * 100 < band.percent * before
    return before if is_small and not _always_writes(context) else floor


def _always_writes(context: DecisionContext) -> bool:
    in_bounds = effective_minimum(context.situation) <= context.before <= effective_maximum(context.situation)
    is_reverted = reverted_floor(context) is not None
    return context.strongest.always_writes or context.pause.pin is not None or not in_bounds or is_reverted


RecommendationHistory = tuple[tuple[datetime, int], ...]


def hold_highest_of_window(floor: int, context: DecisionContext) -> int:
    """A decrease stops at the highest recommendation of the stabilization window, and waits for one full window."""
    if floor >= context.before:
        return floor
    situation, state = context.situation, context.situation.state
    window = situation.policy.spec.scale_down.stabilization_window
    if situation.now - state.since < window:
        return context.before
    highest = next((replicas for at, replicas in state.recommendations if situation.now - at < window), floor)
    return min(context.before, max(floor, highest))


def with_recommendation(
    history: RecommendationHistory, now: datetime, replicas: int, window: timedelta
) -> RecommendationHistory:
    """The history with one more recommendation, highest first; lower and earlier ones are dropped.

    The first one within the window is therefore its highest, and a steady recommendation needs a single entry.
    """
    kept = tuple((at, earlier) for at, earlier in history if now - at < window and earlier > replicas)
    return (*kept, (now, replicas))


def step_up(floor: int, context: DecisionContext) -> int:
    """All raises of a period together stay within scaleUp.maxStep of the floor at the period's start."""
    if floor <= context.before:
        return floor
    scale = context.situation.policy.spec.scale_up
    return min(floor, context.before + _remaining_step(context, scale.max_step, scale.period, sign=1))


def step_down(floor: int, context: DecisionContext) -> int:
    """All decreases of a period together stay within scaleDown.maxStep of the floor at the period's start."""
    if floor >= context.before:
        return floor
    scale = context.situation.policy.spec.scale_down
    return max(floor, context.before - _remaining_step(context, scale.max_step, scale.period, sign=-1))


def recent_changes(changes: Iterable[FloorChange], now: datetime, period: timedelta) -> tuple[FloorChange, ...]:
    """The changes of the period that ends now, without a change exactly one period ago."""
    return tuple(change for change in changes if now - change.at < period)


def _remaining_step(context: DecisionContext, step: Step, period: timedelta, *, sign: int) -> int:
    changes = recent_changes(context.situation.state.changes, context.situation.now, period)
    at_start = changes[0].before if changes else context.before
    moved = sum(max(0, sign * (change.after - change.before)) for change in changes)
    return max(0, step.of(at_start) - moved)
