"""The owners of spec.minReplicas of an HPA, from its managed fields (server-side apply)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from predictive_scaling.cluster.client import FIELD_MANAGER

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_MINIMUM: Final = 1
"""Default of spec.minReplicas in the API server."""


@dataclass(frozen=True, slots=True)
class FieldOwnership:
    """Owners of spec.minReplicas."""

    managers: tuple[str, ...] = ()
    """Field managers that state a value, newest write first, including ours if we hold the field."""
    foreign_write: str | None = None
    """The newest write by another manager: manager, time and value. It differs for each write; None for none."""
    is_given_up: bool = False
    """The value is the API server's default, filled in when the last owner removed the field from its manifest."""


def field_ownership(body: Mapping[str, Any]) -> FieldOwnership:
    """Return the owners of spec.minReplicas of an HPA of the API server. Never raises.

    A client-side apply of a manifest without the field deletes the old value; the API server fills in 1 and counts the
    applier as its owner, although it states no value. This owner is recognized by the annotation that the same client
    writes with each apply: if the manifest in it no longer has the field, the 1 is not a request.
    """
    metadata = _mapping(body.get("metadata"))
    minimum = _mapping(body.get("spec")).get("minReplicas", DEFAULT_MINIMUM)
    owners = [entry for entry in _entries(metadata.get("managedFields")) if _owns_minimum(entry)]
    foreign = [entry for entry in owners if _manager(entry) != FIELD_MANAGER]
    stated = [entry for entry in owners if not _states_nothing(entry, metadata, minimum)]
    newest = max(foreign, key=_time, default=None)
    return FieldOwnership(
        managers=tuple(_manager(entry) for entry in sorted(stated, key=_time, reverse=True)),
        foreign_write=f"{_manager(newest)} at {newest.get('time')} with {minimum}"[:200] if newest else None,
        is_given_up=minimum == DEFAULT_MINIMUM and not stated,
    )


def _owns_minimum(entry: Mapping[str, Any]) -> bool:
    return "f:minReplicas" in _mapping(_mapping(entry.get("fieldsV1")).get("f:spec"))


def _states_nothing(entry: Mapping[str, Any], metadata: Mapping[str, Any], minimum: Any) -> bool:
    """Whether an owner has the field by default: it applies client-side, and its last manifest has no minReplicas."""
    if minimum != DEFAULT_MINIMUM or _manager(entry) == FIELD_MANAGER:
        return False
    annotations = _mapping(_mapping(_mapping(entry.get("fieldsV1")).get("f:metadata")).get("f:annotations"))
    if f"f:{_LAST_APPLIED}" not in annotations:
        return False
    try:
        manifest = json.loads(_mapping(metadata.get("annotations")).get(_LAST_APPLIED, ""))
    except (TypeError, ValueError):
        return False
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    return isinstance(spec, dict) and spec.get("minReplicas") is None


def _entries(managed_fields: Any) -> list[Mapping[str, Any]]:
    listed = managed_fields if isinstance(managed_fields, list | tuple) else ()
    return [entry for entry in listed if isinstance(entry, Mapping)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _manager(entry: Mapping[str, Any]) -> str:
    return str(entry.get("manager") or "unknown")


def _time(entry: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(entry.get("time"))).timestamp()
    except (ValueError, OverflowError):
        return 0.0
