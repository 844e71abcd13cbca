"""Which business events have acted on a series, and of what types."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from forecasting.context import KnownEvent
from predictive_scaling.storage.business_events import BusinessEventRow


class PastEvents(Protocol):
    """The part of storage.BusinessEvents that is read here."""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        """Occurrences that touch [since, until), by start."""
        ...


def event_types(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Types of the occurrences that one of the policies (namespace, name) was matched by."""
    return frozenset(row.type for row in _matched(rows, policies) if row.type is not None)


def known_events(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> tuple[KnownEvent, ...]:
    """The same occurrences as forecasts know them; those without a type teach nothing."""
    return tuple(
        KnownEvent(row.type, row.start_time, row.end_time, row.multiplier)
        for row in _matched(rows, policies)
        if row.type is not None and row.start_time < row.end_time
    )


def _matched(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> list[BusinessEventRow]:
    wanted = set(policies)
    return [row for row in rows if any((row.namespace, name) in wanted for name in row.policies)]
