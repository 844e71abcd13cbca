"""Where an event stands, for its status (semantics 20)."""

from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.decision.expansion import Expansion
from predictive_scaling.decision.occurrences import Occurrence
from predictive_scaling.decision.spans import INSTANT
from predictive_scaling.resources.event_time import within_calendar
from predictive_scaling.resources.vocabulary import EventPhase


@dataclass(frozen=True, slots=True)
class Standing:
    """What an event is doing now, and when it starts next."""

    phase: EventPhase
    next_start: datetime | None


def standing_of(event: Expansion, now: datetime) -> Standing:
    """The phase of the occurrence that is on, else Scheduled while another comes, else Finished."""
    now = within_calendar(now)
    upcoming = event.next_start(now)
    on = [_phase(occurrence, now) for occurrence in event.meeting(now, now + INSTANT)]
    for phase in (EventPhase.ACTIVE, EventPhase.RAMPING_UP, EventPhase.RAMPING_DOWN):
        if phase in on:
            return Standing(phase, upcoming)
    return Standing(EventPhase.SCHEDULED if upcoming else EventPhase.FINISHED, upcoming)


def _phase(occurrence: Occurrence, now: datetime) -> EventPhase:
    if now < occurrence.start:
        return EventPhase.RAMPING_UP
    return EventPhase.ACTIVE if now < occurrence.end else EventPhase.RAMPING_DOWN
