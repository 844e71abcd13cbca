"""When an event influences demand, and how strongly: ramps, priorities, phases (semantics 20)."""

from dataclasses import dataclass
from datetime import timedelta

from predictive_scaling.decision.inputs import EventBaseline
from predictive_scaling.decision.spans import INSTANT, Span, without


@dataclass(frozen=True, slots=True)
class EventWindow:
    """One occurrence: from the beginning of its ramp up to the end of its ramp down."""

    baseline: EventBaseline
    span: Span
    core: Span
    """[start, end) of the occurrence itself: all of its effect, none of its ramps."""

    @property
    def priority(self) -> int:
        """Higher ones silence lower ones where they overlap."""
        return self.baseline.event.spec.priority

    def highest_share(self, part: Span) -> float:
        """How much of the effect is there at the most within `part`: 0 before the ramp, 1 from start to end."""
        if part.meets(self.core):
            return 1.0
        return max(self._share_up(part), self._share_down(part))

    def lowest_share(self, part: Span) -> float:
        """How much of the effect is there at the least within `part`."""
        spec = self.baseline.event.spec
        shares = [1.0]
        if part.start < self.core.start:
            shares.append(_share((part.start - self.span.start), spec.ramp_up))
        if part.end > self.core.end:
            shares.append(_share((self.span.end - part.end), spec.ramp_down))
        return min(shares)

    def _share_up(self, part: Span) -> float:
        if part.start >= self.core.start:
            return 0.0
        return _share(part.end - INSTANT - self.span.start, self.baseline.event.spec.ramp_up)

    def _share_down(self, part: Span) -> float:
        if part.end <= self.core.end:
            return 0.0
        return _share(self.span.end - part.start, self.baseline.event.spec.ramp_down)


def event_window(concern: EventBaseline) -> EventWindow:
    """The influence of an occurrence. A window that looks ahead meets it a lead time earlier, by itself."""
    spec = concern.event.spec
    core = Span(concern.start, concern.end)
    return EventWindow(concern, Span(core.start - spec.ramp_up, core.end + spec.ramp_down), core)


def effective_spans(influence: EventWindow, others: tuple[EventWindow, ...], window: Span) -> tuple[Span, ...]:
    """Where in the window the occurrence counts: within its influence, and no higher priority there."""
    own = influence.span.within(window)
    if own is None:
        return ()
    return without((own,), (other.span for other in others if other.priority > influence.priority))


def _share(passed: timedelta, ramp: timedelta) -> float:
    return min(max(passed / ramp, 0.0), 1.0) if ramp else 0.0
