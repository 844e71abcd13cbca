"""A maximum number of objects per namespace: the oldest objects act, and the others are blocked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar


class Dated(Protocol):
    """A record of an object with the time of its creation."""

    @property
    def created_at(self) -> datetime:
        """Of the object."""
        ...


Record = TypeVar("Record", bound=Dated)
ObjectName = tuple[str, str]


@dataclass(slots=True)
class NamespaceLimit(Generic[Record]):
    """Which objects are beyond the limit depends on their times of creation only, then on their names."""

    maximum: int | None
    """None for no limit."""
    name_of: Callable[[Record], ObjectName]
    """Namespace and name."""
    is_counted: Callable[[Record], bool]
    block: Callable[[Record, int], Record]
    """Returns the record of an object beyond the limit."""
    _blocked: dict[ObjectName, tuple[Record, Record]] = field(default_factory=dict[ObjectName, tuple[Record, Record]])
    """The original and the blocked record of each object beyond the limit."""

    def apply(self, records: list[Record]) -> list[Record]:
        """Return all records, blocked where they are beyond the limit."""
        if self.maximum is None:
            return records
        by_namespace: dict[str, list[Record]] = {}
        for record in records:
            if self.is_counted(record):
                by_namespace.setdefault(self.name_of(record)[0], []).append(record)
        beyond = {
            self.name_of(record): record
            for counted in by_namespace.values()
            if len(counted) > self.maximum
            for record in sorted(counted, key=lambda record: (record.created_at, self.name_of(record)))[self.maximum :]
        }
        self._blocked = {name: (record, self._block(name, record)) for name, record in beyond.items()}
        return [self.of(record) for record in records] if self._blocked else records

    def of(self, record: Record) -> Record:
        """Return a record as `apply` would have returned it the last time."""
        if not self._blocked:
            return record
        name = self.name_of(record)
        return self._block(name, record) if name in self._blocked and self.is_counted(record) else record

    def _block(self, name: ObjectName, record: Record) -> Record:
        kept = self._blocked.get(name)
        if kept is not None and kept[0] is record:
            return kept[1]
        return self.block(record, self.maximum or 0)
