"""Overrides by people: mode, suspend, annotations, scale to zero, conflicts (semantics 7, 17, 24)."""

from dataclasses import replace

from predictive_scaling.decision.context import DecisionContext
from predictive_scaling.decision.formatting import replicas
from predictive_scaling.decision.inputs import Pause, PauseReason, Situation, TargetPause
from predictive_scaling.resources.annotations import DIRECTION, PAUSED, PIN, Override, read_annotations
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.resources.vocabulary import Direction, Mode


def pause_of(situation: Situation) -> Pause:
    """The first that applies of: Off, spec.suspend, paused, target paused or at zero, conflict, pin, direction.

    The spec takes precedence over annotations, and a freeze over a pin or a direction. Bounds also apply to a pin.
    """
    spec, observed = situation.policy.spec, situation.observed
    override = read_annotations(situation.policy.metadata.annotations).at(situation.now)
    errors = override.errors
    if spec.mode is Mode.OFF:
        return Pause(freezes=True, message="spec.mode is Off", errors=errors)
    if spec.suspend:
        return Pause(True, PauseReason.SUSPENDED, "spec.suspend is true", errors=errors)
    if override.paused:
        message = f"annotation {PAUSED} is true{_until(override)}"
        return Pause(True, PauseReason.ANNOTATED, message, errors=errors)
    if observed.pause is not None and observed.pause.direction in (None, _opposite(override.direction)):
        message = f"{spec.target} is paused: {observed.pause.cause}"
        return Pause(True, PauseReason.TARGET_PAUSED, message, errors=errors)
    if observed.scaled_to_zero:
        message = f"{spec.target} was scaled to zero manually; it is not scaled until it has replicas again"
        return Pause(True, PauseReason.SCALED_TO_ZERO, message, errors=errors)
    if situation.conflict is not None:
        return Pause(freezes=True, message=situation.conflict, errors=errors)
    pause = _pin_or_direction(override)
    return pause if observed.pause is None else _in_one_direction(pause, observed.pause, spec.target)


def _in_one_direction(pause: Pause, target: TargetPause, name: TargetSpec) -> Pause:
    """A pause of the policy, in the only direction in which the target still scales."""
    message = f"{name} scales in one direction only, {target.direction}: {target.cause}"
    if pause.message:
        message = f"{pause.message}; {message}"
    reason = pause.reason or (target.direction and PauseReason(target.direction))
    return replace(pause, direction=target.direction, reason=reason, message=message)


def _opposite(direction: Direction | None) -> Direction | None:
    match direction:
        case Direction.UP_ONLY:
            return Direction.DOWN_ONLY
        case Direction.DOWN_ONLY:
            return Direction.UP_ONLY
        case None:
            return None


def _pin_or_direction(override: Override) -> Pause:
    if override.pin is not None:
        message = f"annotation {PIN} sets the floor to {replicas(override.pin)}{_until(override)}"
        return Pause(False, PauseReason.PINNED, message, pin=override.pin, errors=override.errors)
    if override.direction is not None:
        message = f"annotation {DIRECTION} is {override.direction}{_until(override)}"
        reason = PauseReason(override.direction)
        return Pause(False, reason, message, direction=override.direction, errors=override.errors)
    return Pause(errors=override.errors)


def _until(override: Override) -> str:
    return f", until {format_time(override.until)}" if override.until else ""


def allow_one_direction(floor: int, context: DecisionContext) -> int:
    """Change only in the direction that an annotation of the policy or the target allows."""
    match context.pause.direction:
        case Direction.UP_ONLY:
            return max(floor, context.before)
        case Direction.DOWN_ONLY:
            return min(floor, context.before)
        case None:
            return floor


def apply_pin(floor: int, context: DecisionContext) -> int:
    """Use the pinned floor immediately, without steps: a person set it. Bounds still apply."""
    return floor if context.pause.pin is None else allow_one_direction(context.pause.pin, context)


def freeze(floor: int, context: DecisionContext) -> int:
    """Keep the floor while the policy is frozen, even out of bounds; do not raise it while the target may not grow."""
    if context.pause.freezes:
        return context.before
    pause = context.situation.observed.pause
    is_raise_paused = pause is not None and pause.direction is Direction.DOWN_ONLY
    return min(floor, context.before) if is_raise_paused else floor
