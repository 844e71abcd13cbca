"""BusinessEvents as forecasts know them: type, time, and what they are said to do."""

from collections.abc import Iterable
from datetime import datetime

from forecasting.context import KnownEvent
from predictive_scaling.decision.occurrences import occurrences
from predictive_scaling.resources.business_event import BusinessEvent


def known_event(event: BusinessEvent, start: datetime, end: datetime) -> KnownEvent:
    """One occurrence."""
    return KnownEvent(event.spec.type or "", start, end, event.spec.expect.multiplier)


def known_events(events: Iterable[BusinessEvent], since: datetime, until: datetime) -> tuple[KnownEvent, ...]:
    """The occurrences that meet [since, until)."""
    return tuple(known_event(event, one.start, one.end) for event in events for one in occurrences(event, since, until))
