"""The occurrences of an event over a span of time, worked out once and asked many times."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.decision.occurrences import Occurrence, next_start, occurrences
from predictive_scaling.decision.recurrence_walk import MAX_STEPS, Steps
from predictive_scaling.resources.business_event import BusinessEvent


@dataclass(frozen=True, slots=True)
class Expansion:
    """An event with all of its occurrences whose influence meets a span, oldest first."""

    event: BusinessEvent
    occurrences: tuple[Occurrence, ...]
    next_after: datetime | None
    """The first start after the span."""
    problem: str | None = None
    """Why the occurrences are not complete, and what to do; None where they are."""

    def meeting(self, since: datetime, until: datetime) -> tuple[Occurrence, ...]:
        """Those whose influence, ramps included, meets [since, until), which lies within the span."""
        spec = self.event.spec
        # An event has one duration, so its ends are in the order of its starts.
        first = bisect_right(self.occurrences, since, key=lambda it: it.end + spec.ramp_down)
        return self.occurrences[first : bisect_left(self.occurrences, until, key=lambda it: it.start - spec.ramp_up)]

    def next_start(self, now: datetime) -> datetime | None:
        """The first start after now, which lies within the span; None where there is none."""
        at = bisect_right(self.occurrences, now, key=lambda it: it.start)
        return self.occurrences[at].start if at < len(self.occurrences) else self.next_after


def expand(event: BusinessEvent, since: datetime, until: datetime) -> Expansion:
    """The occurrences of [since, until). Never raises, and ends within the steps of two walks."""
    steps = Steps()
    found = occurrences(event, since, until, steps=steps)
    problem = None
    if steps.are_used_up:
        problem = (
            f"recurrence.rrule takes more than {MAX_STEPS} days and periods to walk up to {until:%Y}; "
            "set a later recurrence.from, or leave COUNT out"
        )
    return Expansion(event, found, next_start(event, until), problem)
