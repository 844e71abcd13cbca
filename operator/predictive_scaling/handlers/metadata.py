"""The parts of metadata that every record keeps."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def created_at(metadata: Mapping[str, Any]) -> datetime:
    """When an object was created, by the API server's clock: good for comparing objects, not for product time."""
    text = metadata.get("creationTimestamp")
    return datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, UTC)


def reduced(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without managed fields, the bulk of it, and without its status, which is kept apart."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {name: value for name, value in body.items() if name not in ("metadata", "status")} | {"metadata": metadata}
