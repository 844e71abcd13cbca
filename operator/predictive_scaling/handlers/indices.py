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
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey

SCALING_POLICIES = (GROUP, VERSION, "scalingpolicies")
BUSINESS_EVENTS = (GROUP, VERSION, "businessevents")
AUTOSCALERS = ("autoscaling", "v2", "horizontalpodautoscalers")
DEPLOYMENTS, STATEFUL_SETS = ("apps", "v1", "deployments"), ("apps", "v1", "statefulsets")
SCALED_OBJECTS = (KEDA_GROUP, KEDA_VERSION, PLURAL)


async def policies(body: kopf.Body, memo: HandlerContext, **_: Any) -> dict[PolicyKey, PolicyRecord]:
    """Index the reviewed record of a policy; an invalid policy stays, with its problem."""
    record = policy_record(body, memo.cache.services)
    return {record.key: record}


async def business_events(body: kopf.Body, **_: Any) -> dict[tuple[str, str], EventRecord]:
    """Index the reviewed record of an event; an invalid event stays, with its problem."""
    record = event_record(body)
    return {(record.namespace, record.name): record}


async def changed(body: kopf.Body, type: str | None, memo: HandlerContext, **_: Any) -> None:  # noqa: A002
    """Wake the tick after a change by a user."""
    if memo.cache.is_user_change(body, gone=type == "DELETED", listed=type is None):
        memo.wake()


async def autoscalers(body: kopf.Body, **_: Any) -> dict[tuple[str, str], HorizontalPodAutoscalerRecord]:
    """Index an HPA by namespace and name."""
    record = parse(body)
    return {(record.namespace, record.name): record}


async def workloads(body: kopf.Body, **_: Any) -> dict[WorkloadKey, WorkloadRecord]:
    """Index a Deployment or StatefulSet by namespace, kind and name."""
    metadata = ObjectMetadata.of(body)
    return {(metadata.namespace, body["kind"], metadata.name): WorkloadRecord.parse(body)}


async def scaled_objects(body: kopf.Body, **_: Any) -> dict[tuple[str, str], ScaledObjectRecord]:
    """Index a ScaledObject by namespace and name.

    Where they could not be listed when the watch started, IndexComparison fills the index every minute.
    """
    record = ScaledObjectRecord.parse(body)
    return {(record.namespace, record.name): record}


def register(registry: kopf.OperatorRegistry, plurals: frozenset[str]) -> None:
    """Register the handlers of watched objects. plurals: the kinds that can be listed."""
    for resource, handler in (
        (SCALING_POLICIES, policies),
        (BUSINESS_EVENTS, business_events),
        (AUTOSCALERS, autoscalers),
        (DEPLOYMENTS, workloads),
        (STATEFUL_SETS, workloads),
        (SCALED_OBJECTS, scaled_objects),
    ):
        if resource[-1] in plurals:
            kopf.index(*resource, registry=registry)(handler)
    for resource in (SCALING_POLICIES, BUSINESS_EVENTS):
        kopf.on.event(*resource, registry=registry)(changed)
