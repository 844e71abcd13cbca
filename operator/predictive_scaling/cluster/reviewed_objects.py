"""What every record keeps of an object: when it was created, and what the review of its manifest gave."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord
from predictive_scaling.decision.review import Problem, review_event, review_policy, unexpected_problem
from predictive_scaling.resources.metadata import PolicyKey

Manifest = TypeVar("Manifest")

log = structlog.get_logger(__name__)


def created_at(metadata: Mapping[str, Any]) -> datetime:
    """When an object was created, by the API server's clock: good for comparing objects, not for product time."""
    text = metadata.get("creationTimestamp")
    try:
        created = datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, UTC)
    except ValueError:
        created = datetime.fromtimestamp(0, UTC)
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def reviewed(
    kind: str, body: Mapping[str, Any], review: Callable[[Mapping[str, Any]], Manifest | Problem]
) -> Manifest | Problem:
    """Return what `review` returns. If it raises, that is the problem: an object that a watch drops because its
    handler raised, would be missing in the index for as long as it exists.
    """
    try:
        return review(reduced(body))
    except Exception as error:  # the record is kept for any manifest
        metadata = body["metadata"]
        log.exception("review_failed", kind=kind, object=f"{metadata['namespace']}/{metadata['name']}")
        return unexpected_problem(error)


def reduced(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without managed fields, the bulk of it, and without its status, which is kept apart."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {name: value for name, value in body.items() if name not in ("metadata", "status")} | {"metadata": metadata}


def policy_record(body: Mapping[str, Any]) -> PolicyRecord:
    """The record of a policy, with what is wrong with it where it cannot be read. Never raises."""
    metadata = body["metadata"]
    verdict = reviewed("ScalingPolicy", body, review_policy)
    return PolicyRecord(
        key=PolicyKey(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        resource_version=int(metadata["resourceVersion"]),
        created_at=created_at(metadata),
        deleted="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        annotations=dict(metadata.get("annotations") or {}),
        status=dict(body.get("status") or {}),
        policy=None if isinstance(verdict, Problem) else verdict,
        problem=verdict if isinstance(verdict, Problem) else None,
    )


def event_record(body: Mapping[str, Any]) -> EventRecord:
    """The record of an event, with what is wrong with it where it cannot be read. Never raises."""
    metadata = body["metadata"]
    verdict = reviewed("BusinessEvent", body, review_event)
    return EventRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        resource_version=int(metadata["resourceVersion"]),
        created_at=created_at(metadata),
        status=dict(body.get("status") or {}),
        event=None if isinstance(verdict, Problem) else verdict,
        problem=verdict if isinstance(verdict, Problem) else None,
    )
