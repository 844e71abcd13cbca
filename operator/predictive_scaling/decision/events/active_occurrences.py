"""Which occurrences of BusinessEvents act on a policy around now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from forecasting.context import KnownEvent
from forecasting.models.lightgbm_quantiles import MEMORY
from predictive_scaling.decision.events.occurrences import Expansion, known_event
from predictive_scaling.decision.events.windows import EventWindow, event_window
from predictive_scaling.decision.spans import INSTANT, Span
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import within_calendar
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import EventPhase

_MEMORY, _HORIZON = MEMORY + timedelta(days=1), timedelta(days=2)
_MAX_LEAD_TIME = timedelta(hours=25)
"""The manifest allows 24 hours; measured lead times are shorter."""
LOOK_BACK, LOOK_AHEAD = _MEMORY, max(_HORIZON, _MAX_LEAD_TIME)
"""How far before and after now events have to be expanded for `upcoming_occurrences` and `known_occurrences`."""


@dataclass(frozen=True, slots=True)
class KnownEvents:
    """An event with a type, as forecasts know it: its recent and its next occurrences."""

    event: BusinessEvent
    occurrences: tuple[Span, ...]
    known: tuple[KnownEvent, ...]


def upcoming_occurrences(expansion: Expansion, now: datetime) -> tuple[EventWindow, ...]:
    """The occurrences that are active, or start early enough to affect a policy with the longest lead time."""
    return tuple(
        event_window(expansion.event, occurrence) for occurrence in expansion.overlapping(now, now + _MAX_LEAD_TIME)
    )


def known_occurrences(expansion: Expansion, now: datetime, previous: KnownEvents | None = None) -> KnownEvents | None:
    """Return the occurrences that current forecasts use: within the history of the models and their horizon.

    previous: the last result for this event, which is returned again if nothing has changed.
    """
    event = expansion.event
    if not event.spec.type:
        return None
    occurrences = expansion.overlapping(now - _MEMORY, now + _HORIZON)
    if not occurrences:
        return None
    if previous is not None and previous.event is event and previous.occurrences == occurrences:
        return previous
    return KnownEvents(event, occurrences, tuple(known_event(event, occurrence) for occurrence in occurrences))


def known_events_for(policy: ScalingPolicy, events: Iterable[KnownEvents]) -> tuple[KnownEvent, ...]:
    """The occurrences of the events that select the policy."""
    namespace, labels = policy.metadata.namespace, policy.metadata.labels
    selected = (known for known in events if known.event.selects(namespace, labels))
    return tuple(event for known in selected for event in known.known)


def active_occurrences(
    policy: ScalingPolicy, upcoming: Iterable[EventWindow], now: datetime, lead_time: timedelta, ahead: timedelta
) -> tuple[EventWindow, ...]:
    """The occurrences that act on the policy between now and now + `ahead`, by start."""
    namespace, labels = policy.metadata.namespace, policy.metadata.labels
    active = [
        event_window
        for event_window in upcoming
        if event_window.acts_from(lead_time) < now + ahead and event_window.event.selects(namespace, labels)
    ]
    return tuple(sorted(active, key=lambda window: (window.occurrence.start, window.event.metadata.name)))


@dataclass(frozen=True, slots=True)
class EventProgress:
    """The phase of an event, and when it starts next."""

    phase: EventPhase
    next_start: datetime | None


def event_progress(expansion: Expansion, now: datetime) -> EventProgress:
    """The phase of the current occurrence, else Scheduled while another one follows, else Finished."""
    now = within_calendar(now)
    next_start = expansion.next_start(now)
    phases = [_phase(occurrence, now) for occurrence in expansion.overlapping(now, now + INSTANT)]
    for phase in (EventPhase.ACTIVE, EventPhase.RAMPING_UP, EventPhase.RAMPING_DOWN):
        if phase in phases:
            return EventProgress(phase, next_start)
    return EventProgress(EventPhase.SCHEDULED if next_start else EventPhase.FINISHED, next_start)


def _phase(occurrence: Span, now: datetime) -> EventPhase:
    if now < occurrence.start:
        return EventPhase.RAMPING_UP
    return EventPhase.ACTIVE if now < occurrence.end else EventPhase.RAMPING_DOWN
