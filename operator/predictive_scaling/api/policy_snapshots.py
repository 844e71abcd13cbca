"""The policies of one version of their table in memory, so that a filtered page reads only rows that changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from predictive_scaling.api.shared_reads import SharedReads
from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.policies import Policies, PolicyName, PolicyRow, PolicySelection

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Keys by namespace and name. next_cursor: cursor of the next page; None on the last page."""

    keys: Sequence[Key]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """names: in the order of the table. statuses: in JSON, of the policies that were asked for so far."""

    version: str
    names: Sequence[PolicyName]
    texts: Sequence[str]
    positions: Mapping[Key, int]
    statuses: dict[Key, bytes] = field(default_factory=dict[Key, bytes])

    @classmethod
    def of(cls, version: str, names: Sequence[PolicyName]) -> "PolicySnapshot":
        """Return a snapshot without statuses."""
        texts = [name.text for name in names]
        return cls(version, names, texts, {name.key: position for position, name in enumerate(names)})

    def page(
        self, limit: int, selection: PolicySelection, namespaces: Sequence[str] | None, cursor: str | None
    ) -> SnapshotPage | None:
        """Return a page; None if the policy of the cursor is gone: only the database knows its place in the order.

        namespaces: None for all. Raises InvalidCursorError.
        """
        begin = 0
        if cursor is not None:
            namespace, policy = decode_cursor(cursor, str, str)
            position = self.positions.get((str(namespace), str(policy)))
            if position is None:
                return None
            begin = position + 1
        names = islice(self.names, begin, None)
        if selection.search is not None:
            search = selection.search.lower()
            # The quickest test of all, for each policy.
            names = (self.names[index] for index, text in enumerate(self.texts) if search in text and index >= begin)
        visible = None if namespaces is None else frozenset(namespaces)
        selected = (
            name.key for name in names if (visible is None or name.namespace in visible) and name.matches(selection)
        )
        keys = list(islice(selected, limit + 1))
        return SnapshotPage(keys[:limit], encode_cursor(*keys[limit - 1]) if len(keys) > limit else None)


class PolicySnapshots:
    """Keeps the snapshot of the newest version that was asked for. Belongs to one event loop."""

    def __init__(self) -> None:
        self._newest = PolicySnapshot.of("", ())

    async def of(self, version: str, policies: Policies, reads: SharedReads) -> PolicySnapshot:
        """Return the snapshot of a version, or of a newer one."""

        async def read(_: Sequence[None]) -> Mapping[None, PolicySnapshot]:
            # Rows may be newer than the version; then the next version differs as well, and they are read again.
            self._newest = PolicySnapshot.of(version, await policies.names())
            return {None: self._newest}

        if version == self._newest.version:
            return self._newest
        return await reads.get(("policy names", version), None, read)

    async def statuses(
        self,
        snapshot: PolicySnapshot,
        keys: Sequence[Key],
        policies: Policies,
        reads: SharedReads,
        render: Callable[[PolicyRow], bytes],
    ) -> list[bytes]:
        """Return the status of each of these policies that still exists, as `render` shows it."""

        async def read(asked: Sequence[tuple[Key, ...]]) -> Mapping[tuple[Key, ...], None]:
            rows = await policies.by_name(sorted({key for missing in asked for key in missing}))
            snapshot.statuses.update({(row.namespace, row.policy): render(row) for row in rows})
            return dict.fromkeys(asked)

        missing = tuple(key for key in keys if key not in snapshot.statuses)
        if missing:
            await reads.get(("policy statuses", snapshot.version), missing, read)
        return [snapshot.statuses[key] for key in keys if key in snapshot.statuses]
