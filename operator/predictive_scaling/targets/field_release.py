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
            return await cluster.edit(path, _without_us(body or await cluster.get(path)))
        except ObjectNotFoundError:
            raise
        except (ObjectConflictError, ObjectRefusedError) as error:
            # Another field changed meanwhile, such as the status.
            body, refused = None, error
    raise TargetRefusedError(
        f"the value of {path} is restored, but the operator's ownership of the field could not be released; grant its "
        f"service account patch on the resource. The API server's message: {refused}"
    )


def _without_us(body: Mapping[str, Any]) -> list[Json]:
    metadata = ObjectMetadata.of(body)
    ours = [entry.position for entry in metadata.managed_fields if entry.manager == FIELD_MANAGER]
    same: Json = {"op": "test", "path": "/metadata/resourceVersion", "value": str(metadata.resource_version)}
    return [same, *({"op": "remove", "path": f"/metadata/managedFields/{position}"} for position in reversed(ours))]
