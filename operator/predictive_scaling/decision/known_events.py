"""BusinessEvents as forecasts know them: type, time, and what they are said to do."""

from collections.abc import Iterable
from datetime import datetime

from forecasting.context import KnownEvent
from predictive_scaling.decision.expansion import expand
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent


def known_event(event: BusinessEvent, start: datetime, end: datetime) -> KnownEvent:
    """One occurrence."""
    return KnownEvent(event.spec.type or "", start, end, event.spec.expect.multiplier)


def known_events(events: Iterable[BusinessEvent], since: datetime, until: datetime) -> tuple[KnownEvent, ...]:
    """The occurrences that meet [since, until). Raises InvalidManifestError where one cannot be expanded as far."""
    found: list[KnownEvent] = []
    for event in events:
        expansion = expand(event, since, until)
        if expansion.problem is not None:
            raise InvalidManifestError(f"BusinessEvent {event.key}: {expansion.problem}")
        found += [known_event(event, it.start, it.end) for it in expansion.occurrences]
    return tuple(found)
