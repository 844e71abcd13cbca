"""When an event influences demand, and how strongly: ramps and priorities (semantics 20)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.decision.spans import INSTANT, Span, difference
from predictive_scaling.resources.business_event import BusinessEvent


@dataclass(frozen=True, slots=True)
class EventWindow:
    """One occurrence of an event and the span of its influence, ramps included."""

    event: BusinessEvent
    occurrence: Span
    """The occurrence itself: the full effect, without ramps."""
    span: Span
    """From the start of the ramp up to the end of the ramp down."""

    @property
    def priority(self) -> int:
        """The event's priority: where events overlap, only the highest priority counts."""
        return self.event.spec.priority

    def acts_from(self, lead_time: timedelta) -> datetime:
        """Return when the event starts to affect the floor: its baseline forecast must not include any later demand."""
        return self.span.start - lead_time

    def highest_share(self, part: Span) -> float:
        """The highest share of the effect within `part`: 0 before the ramp, 1 from start to end."""
        if part.overlaps(self.occurrence):
            return 1.0
        return max(self._ramp_up_share(part), self._ramp_down_share(part))

    def lowest_share(self, part: Span) -> float:
        """The lowest share of the effect within `part`."""
        spec = self.event.spec
        shares = [1.0]
        if part.start < self.occurrence.start:
            shares.append(_share(part.start - self.span.start, spec.ramp_up))
        if part.end > self.occurrence.end:
            shares.append(_share(self.span.end - part.end, spec.ramp_down))
        return min(shares)

    def _ramp_up_share(self, part: Span) -> float:
        if part.start >= self.occurrence.start:
            return 0.0
        return _share(part.end - INSTANT - self.span.start, self.event.spec.ramp_up)

    def _ramp_down_share(self, part: Span) -> float:
        if part.end <= self.occurrence.end:
            return 0.0
        return _share(self.span.end - part.start, self.event.spec.ramp_down)


def event_window(event: BusinessEvent, occurrence: Span) -> EventWindow:
    """The occurrence with its ramps. A floor reacts a lead time earlier, because it covers the window ahead."""
    spec = event.spec
    return EventWindow(event, occurrence, Span(occurrence.start - spec.ramp_up, occurrence.end + spec.ramp_down))


def effective_spans(event_window: EventWindow, others: tuple[EventWindow, ...], window: Span) -> tuple[Span, ...]:
    """The parts of `window` in which the event counts: it influences demand, and no higher priority does."""
    own = event_window.span.intersection(window)
    if own is None:
        return ()
    return difference((own,), (other.span for other in others if other.priority > event_window.priority))


def _share(elapsed: timedelta, ramp: timedelta) -> float:
    return min(max(elapsed / ramp, 0.0), 1.0) if ramp else 0.0
