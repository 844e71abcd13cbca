"""Which occurrences of BusinessEvents act on a policy about now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from forecasting.context import KnownEvent
from forecasting.models.lightgbm_quantiles import MEMORY
from predictive_scaling.decision.events.occurrences import Expansion, Occurrence, influence_start, known_event
from predictive_scaling.decision.spans import INSTANT
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import within_calendar
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import EventPhase

_MEMORY, _REACH = MEMORY + timedelta(days=1), timedelta(days=2)
_MAX_LEAD_TIME = timedelta(hours=25)
"""The manifest allows 24 hours; measured ones are shorter."""
LOOK_BACK, LOOK_AHEAD = _MEMORY, max(_REACH, _MAX_LEAD_TIME)
"""How far before and after now occurrences have to be expanded for `upcoming_of` and `known_of`."""


@dataclass(frozen=True, slots=True)
class ActiveOccurrence:
    """One occurrence that concerns a policy."""

    event: BusinessEvent
    occurrence: Occurrence
    begins_at: datetime
    """When it begins to move the policy's floor: a base forecast must not have seen anything later."""

    @property
    def ends_at(self) -> datetime:
        """When its ramp down is over."""
        return self.occurrence.end + self.event.spec.ramp_down


@dataclass(frozen=True, slots=True)
class KnownEvents:
    """An event with a type, as forecasts know it: its occurrences of late and those that are near."""

    event: BusinessEvent
    occurrences: tuple[Occurrence, ...]
    known: tuple[KnownEvent, ...]


@dataclass(frozen=True, slots=True)
class UpcomingOccurrences:
    """An event with its occurrences from now on, worked out once for all policies."""

    event: BusinessEvent
    occurrences: tuple[Occurrence, ...]


def upcoming_occurrences(event: Expansion, now: datetime) -> UpcomingOccurrences | None:
    """Its occurrences that are on, or begin early enough to concern a policy of the longest lead time."""
    found = event.meeting(now, now + _MAX_LEAD_TIME)
    return UpcomingOccurrences(event.event, found) if found else None


def known_occurrences(event: Expansion, now: datetime, before: KnownEvents | None = None) -> KnownEvents | None:
    """What forecasts made now have to know: as far back as models look, as far ahead as they forecast.

    before: the last result for this event, which is given back while it is the same.
    """
    if not event.event.spec.type:
        return None
    found = event.meeting(now - _MEMORY, now + _REACH)
    if not found:
        return None
    if before is not None and before.event is event.event and before.occurrences == found:
        return before
    return KnownEvents(event.event, found, tuple(known_event(event.event, it.start, it.end) for it in found))


def known_events_for(policy: ScalingPolicy, events: Iterable[KnownEvents]) -> tuple[KnownEvent, ...]:
    """The occurrences of the events that select a policy."""
    namespace, labels = policy.metadata.namespace, policy.metadata.labels
    return tuple(known for event in events if event.event.selects(namespace, labels) for known in event.known)


def active_occurrences(
    policy: ScalingPolicy, events: Iterable[UpcomingOccurrences], now: datetime, lead_time: timedelta, ahead: timedelta
) -> tuple[ActiveOccurrence, ...]:
    """Those that act on the policy between now and `ahead` from now, by start."""
    namespace, labels = policy.metadata.namespace, policy.metadata.labels
    found = [
        ActiveOccurrence(event.event, occurrence, influence_start(event.event, occurrence, lead_time))
        for event in events
        if event.event.selects(namespace, labels)
        for occurrence in event.occurrences
    ]
    about_now = [concern for concern in found if concern.begins_at < now + ahead]
    return tuple(sorted(about_now, key=lambda concern: (concern.occurrence.start, concern.event.metadata.name)))


@dataclass(frozen=True, slots=True)
class EventProgress:
    """What an event is doing now, and when it starts next."""

    phase: EventPhase
    next_start: datetime | None


def event_progress(event: Expansion, now: datetime) -> EventProgress:
    """The phase of the occurrence that is on, else Scheduled while another comes, else Finished."""
    now = within_calendar(now)
    upcoming = event.next_start(now)
    on = [_phase(occurrence, now) for occurrence in event.meeting(now, now + INSTANT)]
    for phase in (EventPhase.ACTIVE, EventPhase.RAMPING_UP, EventPhase.RAMPING_DOWN):
        if phase in on:
            return EventProgress(phase, upcoming)
    return EventProgress(EventPhase.SCHEDULED if upcoming else EventPhase.FINISHED, upcoming)


def _phase(occurrence: Occurrence, now: datetime) -> EventPhase:
    if now < occurrence.start:
        return EventPhase.RAMPING_UP
    return EventPhase.ACTIVE if now < occurrence.end else EventPhase.RAMPING_DOWN
