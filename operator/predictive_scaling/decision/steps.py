"""How far a floor may move in a period (semantics 4, 26)."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from predictive_scaling.decision.case import Case
from predictive_scaling.decision.model import FloorChange
from predictive_scaling.resources.step import Step


def step_up(floor: int, case: Case) -> int:
    """All raises of a period together stay within scaleUp.maxStep of the floor at the period's start."""
    if floor <= case.before:
        return floor
    scale = case.situation.policy.spec.scale_up
    return min(floor, case.before + _left(case, scale.max_step, scale.period, sign=1))


def step_down(floor: int, case: Case) -> int:
    """All decreases of a period together stay within scaleDown.maxStep of the floor at the period's start."""
    if floor >= case.before:
        return floor
    scale = case.situation.policy.spec.scale_down
    return max(floor, case.before - _left(case, scale.max_step, scale.period, sign=-1))


def recent(changes: Iterable[FloorChange], now: datetime, period: timedelta) -> tuple[FloorChange, ...]:
    """The changes of the period that ends now; one that is exactly a period old is none of them."""
    return tuple(change for change in changes if now - change.at < period)


def _left(case: Case, step: Step, period: timedelta, *, sign: int) -> int:
    changes = recent(case.situation.memory.changes, case.situation.now, period)
    at_start = changes[0].before if changes else case.before
    moved = sum(max(0, sign * (change.after - change.before)) for change in changes)
    return max(0, step.of(at_start) - moved)
