"""Removes the operator from the managed fields of an object; the values stay."""

from collections.abc import Mapping
from typing import Any

from predictive_scaling.cluster.client import (
    FIELD_MANAGER,
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.errors import TargetRefusedError

_ATTEMPTS = 3


async def release_field(cluster: Cluster, path: str, body: Json | None = None) -> Json:
    """Remove our entries from the managed fields of the object at `path`, and return the object.

    An apply without the field would remove its value, and the API server would fill in a default instead.
    body: the object as last read; it is read where None. Raises TargetRefusedError if the API server refuses the
    change, ObjectNotFoundError, ClusterUnavailableError.
    """
    refused: ObjectConflictError | ObjectRefusedError | None = None
    for _ in range(_ATTEMPTS):
        try:
            current = body or await cluster.get(path)
            patch = _without_us(current)
            return await cluster.edit(path, patch) if patch else current
        except ObjectNotFoundError:
            raise
        except (ObjectConflictError, ObjectRefusedError) as error:
            # The managed fields changed meanwhile; a change of other fields, such as the status, does not matter.
            body, refused = None, error
    raise TargetRefusedError(
        f"the value of {path} is restored, but the operator's ownership of the field could not be released; grant its "
        f"service account patch on the resource. The API server's message: {refused}"
    )


def _without_us(body: Mapping[str, Any]) -> list[Json]:
    """Return the patch that removes our entries, and fails if one of them is no longer at its position."""
    entries = ObjectMetadata.of(body).managed_fields
    ours = [f"/metadata/managedFields/{entry.position}" for entry in entries if entry.manager == FIELD_MANAGER]
    tests: list[Json] = [{"op": "test", "path": f"{path}/manager", "value": FIELD_MANAGER} for path in ours]
    return [*tests, *({"op": "remove", "path": path} for path in reversed(ours))]
