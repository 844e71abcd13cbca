"""Creates the records of policies and events, with the result of the review of their manifests."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.decision.review import Problem, review_event, review_policy, service_problem, unexpected_problem
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.namespace_patterns import UNRESTRICTED, NamespacePatterns

Manifest = TypeVar("Manifest")

log = structlog.get_logger(__name__)


def reviewed(
    kind: str, body: Mapping[str, Any], review: Callable[[Mapping[str, Any]], Manifest | Problem]
) -> Manifest | Problem:
    """Return the result of `review`, or its exception as a problem.

    If the index handler raised, kopf would leave the object out of the index for as long as it exists.
    """
    try:
        return review(reduced(body))
    except Exception as error:  # the record is kept for any manifest
        metadata = ObjectMetadata.of(body)
        log.exception("review_failed", kind=kind, object=f"{metadata.namespace}/{metadata.name}")
        return unexpected_problem(error)


def reduced(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body without managed fields, which are most of it, and without its status, which is kept separately."""
    metadata = {name: value for name, value in ObjectMetadata.of(body).raw.items() if name != "managedFields"}
    return {name: value for name, value in body.items() if name not in ("metadata", "status")} | {"metadata": metadata}


def policy_record(body: Mapping[str, Any], services: NamespacePatterns = UNRESTRICTED) -> PolicyRecord:
    """Return the record of a policy, with its problem if it is invalid or not allowed. Never raises.

    services: whose demand each namespace may read. A policy of another service is no part of the record's `policy`, so
    that nothing reads the demand, the forecasts or the learned values of that service for it.
    """
    metadata = ObjectMetadata.of(body)
    verdict = reviewed("ScalingPolicy", body, review_policy)
    problem = verdict if isinstance(verdict, Problem) else service_problem(verdict, services)
    policy = None if isinstance(verdict, Problem) else verdict
    return PolicyRecord(
        key=PolicyKey(metadata.namespace, metadata.name),
        uid=metadata.uid,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        created_at=metadata.created_at,
        deleted=metadata.deleted_at is not None,
        finalizers=metadata.finalizers,
        annotations=metadata.annotations,
        status=dict(body.get("status") or {}),
        policy=policy if problem is None else None,
        problem=problem,
        blocked=policy if problem is not None else None,
    )


def event_record(body: Mapping[str, Any]) -> EventRecord:
    """Return the record of an event, with its problem if it is invalid. Never raises."""
    metadata = ObjectMetadata.of(body)
    verdict = reviewed("BusinessEvent", body, review_event)
    return EventRecord(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        created_at=metadata.created_at,
        status=dict(body.get("status") or {}),
        event=None if isinstance(verdict, Problem) else verdict,
        problem=verdict if isinstance(verdict, Problem) else None,
    )
