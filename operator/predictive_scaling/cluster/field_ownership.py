"""The owners of the minimum of an HPA or a ScaledObject, from its managed fields (server-side apply)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.cluster.object_fields import FieldPath, as_mapping, value_at
from predictive_scaling.cluster.object_metadata import ManagedFields, ObjectMetadata
from predictive_scaling.resources.metadata import GROUP

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
MINIMUM_FROM_POLICY: Final = f"{GROUP}/minimum-from-policy"
"""An annotation of the target: "true" says that its manifest leaves the minimum to the policy."""
DEFAULT_MINIMUM: Final = 1
"""Default of spec.minReplicas in the API server."""

REPLICAS: Final[FieldPath] = ("spec", "replicas")


@dataclass(frozen=True, slots=True)
class MinimumField:
    """The field that holds a minimum, or the replicas of a workload."""

    name: str
    default: int
    """The minimum of an object without the field."""
    parents: tuple[str, ...] = ("spec",)
    """The path of the object that has the field."""

    @property
    def path(self) -> FieldPath:
        """The path of the field."""
        return (*self.parents, self.name)


MIN_REPLICAS: Final = MinimumField("minReplicas", DEFAULT_MINIMUM)


@dataclass(frozen=True, slots=True)
class FieldOwnership:
    """Owners of the minimum."""

    managers: tuple[str, ...] = ()
    """Field managers that state a value, newest write first, including ours if we hold the field."""
    foreign_write: str | None = None
    """The newest write by another manager: manager, time and value. It differs for each write; None for none."""
    is_given_up: bool = False
    """The value is the default, which applies since the last owner removed the field from its manifest."""
    written_at: datetime | None = None
    """The time of our last write by the API server's clock; None if we do not hold the field."""


def field_ownership(body: Mapping[str, Any], field: MinimumField = MIN_REPLICAS) -> FieldOwnership:
    """Return the owners of the minimum of an object of the API server. Never raises.

    A client-side apply of a manifest without the field deletes the old value; for an HPA the API server fills in 1 and
    counts the applier as its owner, although it states no value. This owner is recognized by the annotation that the
    same client writes with each apply: if the manifest in it no longer has the field, the default is not a request.
    Other clients, such as Helm 3, leave no such trace: MINIMUM_FROM_POLICY states it.
    """
    metadata = ObjectMetadata.of(body)
    value = value_at(body, field.path)
    minimum = field.default if value is None else value
    owners = [entry for entry in metadata.managed_fields if entry.owns(*field.path)]
    foreign = [entry for entry in owners if entry.manager != FIELD_MANAGER]
    stated = [entry for entry in owners if not _states_nothing(entry, metadata, minimum, field)]
    newest = max(foreign, key=_timestamp, default=None)
    ours = max((entry.timestamp for entry in owners if entry.manager == FIELD_MANAGER), default=0.0)
    return FieldOwnership(
        managers=tuple(entry.manager for entry in sorted(stated, key=_timestamp, reverse=True)),
        foreign_write=f"{newest.manager} at {newest.time} with {minimum}"[:200] if newest else None,
        written_at=datetime.fromtimestamp(ours, UTC) if ours > 0 else None,
        is_given_up=minimum == field.default and not stated,
    )


def _states_nothing(entry: ManagedFields, metadata: ObjectMetadata, minimum: Any, field: MinimumField) -> bool:
    """Whether an owner has the field by default: an annotation, or its last client-side manifest, does not state it."""
    if minimum != field.default or entry.manager == FIELD_MANAGER:
        return False
    if metadata.annotations.get(MINIMUM_FROM_POLICY) == "true":
        return True
    if not entry.owns("metadata", "annotations", _LAST_APPLIED):
        return False
    try:
        manifest = json.loads(metadata.annotations.get(_LAST_APPLIED, ""))
    except (TypeError, ValueError):
        return False
    spec = value_at(as_mapping(manifest), field.parents)
    return isinstance(spec, dict) and spec.get(field.name) is None


def _timestamp(entry: ManagedFields) -> float:
    return entry.timestamp
