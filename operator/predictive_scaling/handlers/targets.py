"""Indices of HPAs and workloads: observing thousands of targets sends no request."""

from typing import Any

import kopf

from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord, parse
from predictive_scaling.cluster.informer_cache import WorkloadKey
from predictive_scaling.cluster.workload_record import WorkloadRecord
from predictive_scaling.handlers.context import REGISTRY


@kopf.index("autoscaling", "v2", "horizontalpodautoscalers", registry=REGISTRY)
async def autoscalers(body: kopf.Body, **_: Any) -> dict[tuple[str, str], HorizontalPodAutoscalerRecord]:
    """Every HPA by namespace and name."""
    record = parse(body)
    return {(record.namespace, record.name): record}


@kopf.index("apps", "v1", "deployments", registry=REGISTRY)
@kopf.index("apps", "v1", "statefulsets", registry=REGISTRY)
async def workloads(body: kopf.Body, **_: Any) -> dict[WorkloadKey, WorkloadRecord]:
    """Deployments and StatefulSets by namespace, kind and name."""
    metadata = body["metadata"]
    return {(metadata["namespace"], body["kind"], metadata["name"]): WorkloadRecord.parse(body)}
