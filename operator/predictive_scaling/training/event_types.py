"""Which types of business events have acted on a series."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from predictive_scaling.storage.business_events import BusinessEventRow


class PastEvents(Protocol):
    """The part of storage.BusinessEvents that is read here."""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        """Occurrences that touch [since, until), by start."""
        ...


def event_types(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Types of the occurrences that one of the policies (namespace, name) was matched by."""
    wanted = set(policies)
    return frozenset(
        row.type
        for row in rows
        if row.type is not None and any((row.namespace, name) in wanted for name in row.policies)
    )
