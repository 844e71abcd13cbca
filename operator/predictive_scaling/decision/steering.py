"""What a person's annotations and a conflict do to the floor (semantics 7, 17, 24)."""

from predictive_scaling.decision.case import Case
from predictive_scaling.resources.vocabulary import Direction


def go_one_way(floor: int, case: Case) -> int:
    """Only the direction that is open."""
    match case.pause.direction:
        case Direction.UP_ONLY:
            return max(floor, case.before)
        case Direction.DOWN_ONLY:
            return min(floor, case.before)
        case None:
            return floor


def go_to_pin(floor: int, case: Case) -> int:
    """The pinned floor, at once: a person asked for it. Bounds still hold."""
    return floor if case.pause.pin is None else case.pause.pin


def stand_still(floor: int, case: Case) -> int:
    """Frozen is frozen: nothing is written, not even for bounds."""
    return case.before if case.pause.freezes else floor
