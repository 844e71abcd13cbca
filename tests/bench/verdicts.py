"""The bars, and whether a measurement meets them."""

import math
from dataclasses import dataclass, replace

HORIZON_MINUTES = (5, 15, 30, 60)
WAPE_WITHOUT_STREAM = (0.264, 0.295, 0.316, 0.343)
"""Of the six recorded development series without the stream, by HORIZON_MINUTES."""
WAPE_WITH_STREAM = (0.248, 0.280, 0.299, 0.323)
"""Of all seven."""
WAPE_GOALS = (0.235, 0.262, 0.280, 0.300)
"""Of all seven: where the bars lead to."""
COVERED = (0.8, 0.9, 0.95)
POINTS_OVERALL = 2.0
POINTS_PER_SERIES = 4.0
POINTS_OVERALL_GOAL = 1.0
POINTS_PER_SERIES_GOAL = 2.0
OVER_NAIVE = 1.02
"""No series may be worse than its best naive forecast by more than this factor."""
FEWER_BAD_MINUTES = {"tuned": 3.0, "tuned_with_target": 3.7}
FEWER_BAD_MINUTES_GOALS = {"tuned_with_target": 5.0}
FEWER_AT_SAME_HOURS = 1.0
"""Below it a cooler target of the HPA is worth more than the policy."""
REPLICA_HOURS = {"tuned": 1.10, "tuned_with_target": 1.12}
REPLICA_HOURS_GOALS = {"tuned_with_target": 1.10}
NEAR_EVENTS_WAPE, NEAR_EVENTS_WAPE_GOAL = 0.38, 0.25
"""An hour ahead, near the matches of the recorded World Cup series."""
NEAR_EVENTS_COVERAGE, NEAR_EVENTS_COVERAGE_GOAL = 0.46, 0.85
"""Of the 0.9 quantile there."""
TRAIN_SECONDS = 5.0
BATCH_SECONDS = {1: 0.010, 1_000: 1.0}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A line of the result.

    missed_by: in the unit of the bar, 0 where it is met; None where nothing was measured. goal, to_goal: what lies
    behind the bar, and how far it still is; "" and None where there is none.
    """

    what: str
    measured: str
    bar: str
    missed_by: float | None
    digits: int = 3
    goal: str = ""
    to_goal: float | None = None

    @property
    def towards(self) -> str:
        """How far the goal is, for people."""
        if not self.goal or self.to_goal is None:
            return ""
        return f"{self.goal}: {self.to_goal:.{self.digits}f} to go" if self.to_goal else f"{self.goal}: reached"

    @property
    def text(self) -> str:
        """For people."""
        if self.missed_by is None:
            return "not measured"
        return f"missed by {self.missed_by:.{self.digits}f}" if self.missed_by else "met"


def at_most(what: str, measured: float, bar: float, digits: int = 3, goal: float | None = None) -> Verdict:
    """Compared at `digits` decimals, those in which the bars are written.

    >>> at_most("WAPE", 0.2671, 0.264).text
    'missed by 0.003'
    """
    found = _judged(what, measured, f"≤ {bar:.{digits}f}", measured - bar, digits)
    return found if goal is None else _with_goal(found, f"≤ {goal:.{digits}f}", measured - goal)


def at_least(what: str, measured: float, bar: float, digits: int = 2, goal: float | None = None) -> Verdict:
    """As at_most, from the other side."""
    found = _judged(what, measured, f"≥ {bar:.{digits}f}", bar - measured, digits)
    return found if goal is None else _with_goal(found, f"≥ {goal:.{digits}f}", goal - measured)


def within_points(what: str, share: float, wanted: float, points: float, goal: float) -> Verdict:
    """Whether a share lies within so many percentage points of another; told in points with one decimal.

    >>> found = within_points("coverage of 0.9", 0.875, 0.9, points=2, goal=1)
    >>> found.text, found.towards
    ('missed by 0.5', '± 1: 1.5 to go')
    """
    off = abs(share - wanted) * 100
    found = _judged(what, share * 100, f"{wanted * 100:g} ± {points:g}", off - points, 1)
    return _with_goal(found, f"± {goal:g}", off - goal)


def wape_bars(names: set[str], stream: str, others: set[str]) -> tuple[float, ...] | None:
    """The bars for the mean WAPE of these series, by HORIZON_MINUTES; None where they are not the ones of a bar."""
    if names == others:
        return WAPE_WITHOUT_STREAM
    return WAPE_WITH_STREAM if names == others | {stream} else None


def _with_goal(found: Verdict, goal: str, beyond: float) -> Verdict:
    to_goal = None if math.isnan(beyond) else max(0.0, round(beyond, found.digits))
    return replace(found, goal=goal, to_goal=to_goal)


def _judged(what: str, measured: float, bar: str, beyond: float, digits: int) -> Verdict:
    if math.isnan(measured):
        return Verdict(what, "–", bar, None, digits)
    return Verdict(what, f"{measured:.{digits}f}", bar, max(0.0, round(beyond, digits)), digits)
