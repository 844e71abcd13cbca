"""An index of kopf with corrections from the API server.

kopf removes an object only when the watch shows its deletion: an object that is deleted while a watch is interrupted
stays in kopf's index. A correction hides such an object, or holds a record that the watch has not shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar


class Versioned(Protocol):
    """Identifies an object and the version of its record."""

    @property
    def uid(self) -> str:
        """Of the object."""
        ...

    @property
    def resource_version(self) -> int:
        """Of the record."""
        ...


Key = TypeVar("Key")
Record = TypeVar("Record", bound=Versioned)
Read = TypeVar("Read")


class Version(NamedTuple):
    """The uid of an object and the version of its record."""

    uid: str
    resource_version: int


@dataclass(slots=True)
class CorrectedIndex(Generic[Key, Record]):
    """Reads may coincide with updates by kopf's thread; corrections are made in the reading thread."""

    _index: Mapping[Key, Any] = field(default_factory=dict[Key, Any])
    _newer: dict[Key, Record] = field(default_factory=dict[Key, Record])
    _gone: dict[str, Key] = field(default_factory=dict[str, Key])

    def bind(self, index: Mapping[Key, Any]) -> None:
        """Read from a new index; corrections of the previous index are discarded."""
        self._index = index
        self._newer.clear()
        self._gone.clear()

    def get(self, key: Key) -> Record | None:
        """Return the newest record of a key, unless its object is known to be deleted; None without one."""
        newer = self._newer.get(key)
        if newer is None and key not in self._index:
            return None
        records = undisturbed(lambda: list(self._index.get(key, ())))
        return self._newest(key, records if newer is None else [*records, newer])

    def all(self) -> list[Record]:
        """Return the newest record of every key, in no particular order."""
        stores = undisturbed(lambda: {key: list(store) for key, store in self._index.items()})
        for key, newer in self._newer.items():
            stores.setdefault(key, []).append(newer)
        newest = [self._newest(key, records) for key, records in stores.items()]
        return [record for record in newest if record is not None]

    def version(self, key: Key) -> Version | None:
        """Return the version of the record of a key; None without one."""
        record = self.get(key)
        return None if record is None else Version(record.uid, record.resource_version)

    def known_keys(self) -> set[Key]:
        """Return all keys with a record."""
        keys = undisturbed(lambda: set(self._index)) | self._newer.keys()
        return {key for key in keys if self.get(key) is not None} if self._gone else keys

    def put(self, key: Key, record: Record) -> None:
        """Use this record for a key until the watch shows it or a newer one."""
        self._newer[key] = record
        self._gone.pop(record.uid, None)

    def drop(self, key: Key, uid: str) -> None:
        """Hide the object of this uid: the API server does not have it."""
        self._gone[uid] = key
        newer = self._newer.get(key)
        if newer is not None and newer.uid == uid:
            del self._newer[key]

    def purge(self) -> None:
        """Remove the corrections that the watch has made obsolete."""
        for key, newer in list(self._newer.items()):
            shown = self._newest(key, undisturbed(lambda key=key: list(self._index.get(key, ()))))
            if shown is not None and shown.resource_version >= newer.resource_version:
                del self._newer[key]
        for uid, key in list(self._gone.items()):
            if all(record.uid != uid for record in undisturbed(lambda key=key: list(self._index.get(key, ())))):
                del self._gone[uid]

    @property
    def corrections(self) -> int:
        """The number of corrections."""
        return len(self._newer) + len(self._gone)

    def _newest(self, key: Key, records: list[Record]) -> Record | None:
        if len(records) == 1 and not self._gone:
            return records[0]
        present = [record for record in records if record.uid not in self._gone]
        newest = max(present, key=lambda record: record.resource_version, default=None)
        for record in present:
            # The object was recreated: if the newer one is deleted, too, the older one must not reappear.
            if newest is not None and record.uid != newest.uid:
                self._gone[record.uid] = key
        return newest


@dataclass(slots=True)
class OwnWrites(Generic[Key, Record]):
    """Responses to our own writes, until the watch has delivered them."""

    _written: dict[Key, Record] = field(default_factory=dict[Key, Record])

    def put(self, key: Key, record: Record) -> None:
        """Keep the response to a write."""
        self._written[key] = record

    def newest(self, key: Key, watched: Record | None) -> Record | None:
        """Return the newer one of the watched record and our own write; None without a watched record."""
        written = self._written.get(key)
        if written and watched and watched.uid == written.uid and written.resource_version > watched.resource_version:
            return written
        self._written.pop(key, None)
        return watched

    def purge(self, index: CorrectedIndex[Key, Record]) -> None:
        """Remove the writes that the watch has delivered, and those of deleted objects."""
        for key in list(self._written):
            self.newest(key, index.get(key))


def undisturbed(read: Callable[[], Read]) -> Read:
    """Call `read` until it succeeds without a concurrent update by another thread; return its result."""
    while True:
        try:
            return read()
        except RuntimeError:  # a dictionary changed during iteration
            continue
