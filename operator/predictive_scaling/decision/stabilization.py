"""Down only after a window: the highest recommendation within it holds (semantics 4)."""

from datetime import datetime, timedelta

from predictive_scaling.decision.case import Case

Recommendations = tuple[tuple[datetime, int], ...]


def hold_highest_of_window(floor: int, case: Case) -> int:
    """A decrease goes no lower than what was wanted within the window, and waits until a full window was seen."""
    if floor >= case.before:
        return floor
    situation, memory = case.situation, case.situation.memory
    window = situation.policy.spec.scale_down.stabilization_window
    if situation.now - memory.since < window:
        return case.before
    highest = next((wanted for at, wanted in memory.recommendations if situation.now - at < window), floor)
    return min(case.before, max(floor, highest))


def remember(recommendations: Recommendations, now: datetime, wanted: int, window: timedelta) -> Recommendations:
    """The recommendations with one more, highest first; those that a later and higher one hides are dropped.

    So the first one within the window is its highest, and a steady wish needs one entry, not one a tick.
    """
    kept = tuple(it for it in recommendations if now - it[0] < window and it[1] > wanted)
    return (*kept, (now, wanted))
