"""Watched objects as kopf indices of slim records; a change of a policy or an event wakes the tick.

Observing thousands of targets therefore sends no request. The handlers write nothing to the objects.
"""

from typing import Any

import kopf

from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord, parse
from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord, WorkloadKey
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.cluster.reviewed_objects import event_record, policy_record
from predictive_scaling.cluster.scaled_object_record import GROUP as KEDA_GROUP
from predictive_scaling.cluster.scaled_object_record import PLURAL, ScaledObjectRecord
from predictive_scaling.cluster.scaled_object_record import VERSION as KEDA_VERSION
from predictive_scaling.cluster.workload_record import WorkloadRecord
from predictive_scaling.handlers.context import REGISTRY, HandlerContext
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey

SCALING_POLICIES = (GROUP, VERSION, "scalingpolicies")
BUSINESS_EVENTS = (GROUP, VERSION, "businessevents")


@kopf.index(*SCALING_POLICIES, registry=REGISTRY)
async def policies(body: kopf.Body, **_: Any) -> dict[PolicyKey, PolicyRecord]:
    """Index the reviewed record of a policy; an invalid policy stays, with its problem."""
    record = policy_record(body)
    return {record.key: record}


@kopf.index(*BUSINESS_EVENTS, registry=REGISTRY)
async def business_events(body: kopf.Body, **_: Any) -> dict[tuple[str, str], EventRecord]:
    """Index the reviewed record of an event; an invalid event stays, with its problem."""
    record = event_record(body)
    return {(record.namespace, record.name): record}


@kopf.on.event(*SCALING_POLICIES, registry=REGISTRY)
@kopf.on.event(*BUSINESS_EVENTS, registry=REGISTRY)
async def changed(body: kopf.Body, type: str | None, memo: HandlerContext, **_: Any) -> None:  # noqa: A002
    """Wake the tick after a change by a user."""
    if memo.cache.is_user_change(body, gone=type == "DELETED", listed=type is None):
        memo.wake()


@kopf.index("autoscaling", "v2", "horizontalpodautoscalers", registry=REGISTRY)
async def autoscalers(body: kopf.Body, **_: Any) -> dict[tuple[str, str], HorizontalPodAutoscalerRecord]:
    """Index an HPA by namespace and name."""
    record = parse(body)
    return {(record.namespace, record.name): record}


@kopf.index("apps", "v1", "deployments", registry=REGISTRY)
@kopf.index("apps", "v1", "statefulsets", registry=REGISTRY)
async def workloads(body: kopf.Body, **_: Any) -> dict[WorkloadKey, WorkloadRecord]:
    """Index a Deployment or StatefulSet by namespace, kind and name."""
    metadata = ObjectMetadata.of(body)
    return {(metadata.namespace, body["kind"], metadata.name): WorkloadRecord.parse(body)}


@kopf.index(KEDA_GROUP, KEDA_VERSION, PLURAL, registry=REGISTRY)
async def scaled_objects(body: kopf.Body, **_: Any) -> dict[tuple[str, str], ScaledObjectRecord]:
    """Index a ScaledObject by namespace and name.

    kopf ignores a kind that does not exist when it starts; IndexComparison then fills the index every minute.
    """
    record = ScaledObjectRecord.parse(body)
    return {(record.namespace, record.name): record}
