"""The metadata of an object, as the API server returns it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from predictive_scaling.cluster.object_fields import as_mapping, mappings_in

_UNKNOWN_CREATION = datetime.fromtimestamp(0, UTC)


class ManagedFields(NamedTuple):
    """An entry of managedFields: the fields that a manager owns."""

    position: int
    """Position of the entry in the list."""
    manager: str
    time: str | None
    """Time of the manager's last write, as the API server wrote it."""
    fields: Mapping[str, Any]
    """The owned fields (fieldsV1), such as {"f:spec": {"f:minReplicas": {}}}."""

    def owns(self, *path: str) -> bool:
        """Return whether the manager owns a field, such as "spec", "minReplicas"."""
        fields = self.fields
        for name in path[:-1]:
            fields = as_mapping(fields.get(f"f:{name}"))
        return f"f:{path[-1]}" in fields

    @property
    def timestamp(self) -> float:
        """The time in seconds since 1970; 0 if it is missing or invalid."""
        try:
            return datetime.fromisoformat(str(self.time)).timestamp()
        except (ValueError, OverflowError):
            return 0.0


@dataclass(frozen=True, slots=True)
class ObjectMetadata:
    """A view of an object's metadata. Each field is read when it is used: most readers need a few of them.

    namespace, name, uid and resource_version raise KeyError if they are missing, which no object of the API server is.
    """

    raw: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "ObjectMetadata":
        """Return the metadata of an object."""
        return cls(as_mapping(body.get("metadata")))

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self.raw["namespace"]

    @property
    def name(self) -> str:
        """The name."""
        return self.raw["name"]

    @property
    def uid(self) -> str:
        """The uid; an object that is created again has another."""
        return self.raw["uid"]

    @property
    def resource_version(self) -> int:
        """The version of the object, which increases with each write."""
        return int(self.raw["resourceVersion"])

    @property
    def generation(self) -> int:
        """The version of the spec; 0 if the object has none."""
        return self.raw.get("generation") or 0

    @property
    def created_at(self) -> datetime:
        """The creation time by the API server's clock: for comparing objects, not as product time."""
        text = self.raw.get("creationTimestamp")
        try:
            created = datetime.fromisoformat(text) if text else _UNKNOWN_CREATION
        except ValueError:
            created = _UNKNOWN_CREATION
        return created if created.tzinfo else created.replace(tzinfo=UTC)

    @property
    def deleted_at(self) -> str | None:
        """The deletion time as the API server wrote it; None if the object is not being deleted."""
        return self.raw.get("deletionTimestamp")

    @property
    def finalizers(self) -> tuple[str, ...]:
        """The finalizers."""
        return tuple(self.raw.get("finalizers") or ())

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations."""
        return dict(as_mapping(self.raw.get("annotations")))

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        return dict(as_mapping(self.raw.get("labels")))

    @property
    def owners(self) -> list[Mapping[str, Any]]:
        """The owner references."""
        return mappings_in(self.raw.get("ownerReferences"))

    @property
    def managed_fields(self) -> list[ManagedFields]:
        """The entries of managedFields; invalid entries are omitted."""
        listed: Any = self.raw.get("managedFields")
        entries: list[Any] = list(listed) if isinstance(listed, list | tuple) else []
        return [
            ManagedFields(
                position, str(entry.get("manager") or "unknown"), entry.get("time"), as_mapping(entry.get("fieldsV1"))
            )
            for position, entry in enumerate(entries)
            if isinstance(entry, Mapping)
        ]
