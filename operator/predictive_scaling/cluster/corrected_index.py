"""An index that kopf keeps, with corrections from the API server over it.

kopf discards an object when the watch shows its deletion, and only then: what is deleted while a watch is interrupted
stays in kopf's index for good. A correction hides such an object, or holds a record that the watch has not shown.
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
    """Which record of which object."""

    uid: str
    resource_version: int


@dataclass(slots=True)
class CorrectedIndex(Generic[Key, Record]):
    """Reads are from any moment of kopf's thread; corrections are made in the thread that reads."""

    _index: Mapping[Key, Any] = field(default_factory=dict[Key, Any])
    _newer: dict[Key, Record] = field(default_factory=dict[Key, Record])
    _gone: dict[str, Key] = field(default_factory=dict[str, Key])

    def bind(self, index: Mapping[Key, Any]) -> None:
        """Read from this index, which is new: corrections of the one before are void."""
        self._index = index
        self._newer.clear()
        self._gone.clear()

    def get(self, key: Key) -> Record | None:
        """The newest record under a key that is not known to be gone."""
        newer = self._newer.get(key)
        if newer is None and key not in self._index:
            return None
        records = undisturbed(lambda: list(self._index.get(key, ())))
        return self._newest(key, records if newer is None else [*records, newer])

    def all(self) -> list[Record]:
        """The newest record of every key, in no order."""
        stores = undisturbed(lambda: {key: list(store) for key, store in self._index.items()})
        for key, newer in self._newer.items():
            stores.setdefault(key, []).append(newer)
        newest = [self._newest(key, records) for key, records in stores.items()]
        return [record for record in newest if record is not None]

    def version(self, key: Key) -> Version | None:
        """Which record is read under a key; None where there is none."""
        record = self.get(key)
        return None if record is None else Version(record.uid, record.resource_version)

    def known_keys(self) -> set[Key]:
        """All keys with a record."""
        keys = undisturbed(lambda: set(self._index)) | self._newer.keys()
        return {key for key in keys if self.get(key) is not None} if self._gone else keys

    def put(self, key: Key, record: Record) -> None:
        """Read this record under a key until the watch shows the same one or a newer one."""
        self._newer[key] = record
        self._gone.pop(record.uid, None)

    def drop(self, key: Key, uid: str) -> None:
        """Read the object of this uid no more: the API server does not have it."""
        self._gone[uid] = key
        newer = self._newer.get(key)
        if newer is not None and newer.uid == uid:
            del self._newer[key]

    def purge(self) -> None:
        """Forget the corrections that the watch has caught up with."""
        for key, newer in list(self._newer.items()):
            shown = self._newest(key, undisturbed(lambda key=key: list(self._index.get(key, ()))))
            if shown is not None and shown.resource_version >= newer.resource_version:
                del self._newer[key]
        for uid, key in list(self._gone.items()):
            if all(record.uid != uid for record in undisturbed(lambda key=key: list(self._index.get(key, ())))):
                del self._gone[uid]

    @property
    def corrections(self) -> int:
        """How many there are."""
        return len(self._newer) + len(self._gone)

    def _newest(self, key: Key, records: list[Record]) -> Record | None:
        if len(records) == 1 and not self._gone:
            return records[0]
        present = [record for record in records if record.uid not in self._gone]
        newest = max(present, key=lambda record: record.resource_version, default=None)
        for record in present:
            # An object was made again: should the newer one go too, the older one must not come back.
            if newest is not None and record.uid != newest.uid:
                self._gone[record.uid] = key
        return newest


def undisturbed(read: Callable[[], Read]) -> Read:
    """Return what `read` returns without a concurrent event: another thread updates the indices."""
    while True:
        try:
            return read()
        except RuntimeError:  # a dictionary changed while it was walked through
            continue
