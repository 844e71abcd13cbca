"""Who told us to keep still, and how much (semantics 7, 17, 24)."""

from predictive_scaling.decision.context import DecisionContext
from predictive_scaling.decision.formatting import replicas
from predictive_scaling.decision.inputs import Pause, PauseReason, Situation
from predictive_scaling.resources.annotations import DIRECTION, PAUSED, PIN, Override, read_annotations
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.vocabulary import Direction, Mode


def pause_of(situation: Situation) -> Pause:
    """The first that applies of: Off, spec.suspend, paused, target scaled to zero, conflict, pin, direction.

    The spec comes before every annotation, and what freezes before what only steers. Bounds hold for a pin.
    """
    spec, observed = situation.policy.spec, situation.observed
    override = read_annotations(situation.policy.metadata.annotations).at(situation.now)
    errors = override.errors
    if spec.mode is Mode.OFF:
        return Pause(freezes=True, message="the policy's mode is Off", errors=errors)
    if spec.suspend:
        return Pause(True, PauseReason.SUSPENDED, "spec.suspend is true", errors=errors)
    if override.paused:
        message = f"annotation {PAUSED} is true{_until(override)}"
        return Pause(True, PauseReason.ANNOTATED, message, errors=errors)
    if observed.scaled_to_zero:
        message = f"{spec.target} was scaled to zero by hand; it is left alone until it has replicas again"
        return Pause(True, PauseReason.SCALED_TO_ZERO, message, errors=errors)
    if situation.conflict is not None:
        return Pause(freezes=True, message=situation.conflict, errors=errors)
    return _override(override)


def _override(override: Override) -> Pause:
    if override.pin is not None:
        message = f"annotation {PIN} holds {replicas(override.pin)}{_until(override)}"
        return Pause(False, PauseReason.PINNED, message, pin=override.pin, errors=override.errors)
    if override.direction is not None:
        message = f"annotation {DIRECTION} is {override.direction}{_until(override)}"
        reason = PauseReason(override.direction)
        return Pause(False, reason, message, direction=override.direction, errors=override.errors)
    return Pause(errors=override.errors)


def _until(override: Override) -> str:
    return f", until {format_time(override.until)}" if override.until else ""


def go_one_way(floor: int, case: DecisionContext) -> int:
    """Only the direction that is open."""
    match case.pause.direction:
        case Direction.UP_ONLY:
            return max(floor, case.before)
        case Direction.DOWN_ONLY:
            return min(floor, case.before)
        case None:
            return floor


def go_to_pin(floor: int, case: DecisionContext) -> int:
    """The pinned floor, at once: a person asked for it. Bounds still hold."""
    return floor if case.pause.pin is None else case.pause.pin


def stand_still(floor: int, case: DecisionContext) -> int:
    """Frozen is frozen: nothing is written, not even for bounds."""
    return case.before if case.pause.freezes else floor
