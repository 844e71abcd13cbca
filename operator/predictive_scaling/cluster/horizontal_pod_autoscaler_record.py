"""CPU utilization of an HPA: target and newest value, paired by metric, independent of the order of the lists."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from predictive_scaling.cluster.field_ownership import DEFAULT_MINIMUM, field_ownership
from predictive_scaling.cluster.object_fields import as_mapping, mappings_in
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.cluster.workload_record import WorkloadReference

_CPU = "cpu"


class CpuUtilization(NamedTuple):
    """Target and newest value as fractions of the pods' requests; None if the HPA does not state it."""

    target: float | None = None
    value: float | None = None


class _Metric(NamedTuple):
    """The identity of a metric in spec and status."""

    type: str
    container: str = ""


_POD = _Metric("Resource")


def cpu_utilization(specified: Any, current: Any) -> CpuUtilization:
    """Return the deciding CPU metric: that of the pod, else that of the container closest to its target.

    Only CPU with a utilization target counts: memory, Pods, Object and External metrics and average values do not show
    the used share of a replica. Among several containers, the highest value relative to its target decides, as for the
    HPA; without values, the first by name. Never raises: an invalid entry is left out.
    """
    targets: dict[_Metric, float] = {}
    for metric, utilization in _utilizations(specified, "target"):
        # The API server accepts the same metric twice; the HPA acts on the lower target.
        if utilization > 0 and utilization <= targets.get(metric, math.inf):
            targets[metric] = utilization
    values = dict(_utilizations(current, "current"))
    pairs = {metric: CpuUtilization(target, values.get(metric)) for metric, target in targets.items()}
    if _POD in pairs:
        return pairs[_POD]
    return max((pairs[metric] for metric in sorted(pairs)), key=_relative, default=CpuUtilization())


def _relative(pair: CpuUtilization) -> float:
    return -1.0 if pair.value is None or pair.target is None else pair.value / pair.target


def _utilizations(metrics: Any, key: str) -> Iterable[tuple[_Metric, float]]:
    """CPU metrics of a list of the spec (key `target`) or the status (key `current`), with their utilization."""
    for entry in metrics if isinstance(metrics, list | tuple) else ():
        metric, source = _identity(entry)
        if metric is None:
            continue
        measured = source.get(key)
        if not isinstance(measured, Mapping) or measured.get("type", "Utilization") != "Utilization":
            continue
        utilization = _fraction(measured.get("averageUtilization"))
        if utilization is not None:
            yield metric, utilization


def _identity(entry: Any) -> tuple[_Metric | None, Mapping[str, Any]]:
    if not isinstance(entry, Mapping):
        return None, {}
    match entry.get("type"):
        case "Resource":
            source = entry.get("resource")
        case "ContainerResource":
            source = entry.get("containerResource")
        case _:
            return None, {}
    if not isinstance(source, Mapping) or source.get("name") != _CPU:
        return None, {}
    if entry["type"] == "Resource":
        return _POD, source
    container = source.get("container")
    return (_Metric("ContainerResource", container), source) if isinstance(container, str) else (None, {})


def _fraction(percent: Any) -> float | None:
    """A percentage as a fraction; None if it is not a valid utilization."""
    if isinstance(percent, bool) or not isinstance(percent, int | float):
        return None
    return percent / 100 if 0 <= percent < math.inf else None


_API = "/apis/autoscaling/v2"


_WITHOUT_REPLICAS = frozenset({"Object", "External"})


@dataclass(frozen=True, slots=True)
class HorizontalPodAutoscalerRecord:
    """The fields of an HPA that the operator uses, without its large managed fields."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    minimum: int
    maximum: int
    current_replicas: int
    desired_replicas: int
    target_utilization: float | None
    utilization: float | None
    scaled_to_zero: bool
    can_scale_to_zero: bool
    """Whether it has a metric that exists without replicas: Object or External."""
    owner: str | None
    floor_managers: tuple[str, ...]
    foreign_write: str | None
    floor_given_up: bool
    workload: WorkloadReference
    floor_written_at: datetime | None = None
    """The time of our last write of the minimum by the API server's clock; None if we do not hold it."""

    @property
    def path(self) -> str:
        """Its path in the API server."""
        return path_of(self.namespace, self.name)

    def scales(self, reference: WorkloadReference) -> bool:
        """Whether it scales a workload of its namespace, in whichever version of its API."""
        workload = self.workload
        return (workload.group, workload.kind, workload.name) == (reference.group, reference.kind, reference.name)


def path_of(namespace: str, name: str) -> str:
    """Return the URL path of an HPA."""
    return f"{_API}/namespaces/{namespace}/horizontalpodautoscalers/{name}"


def parse(body: Mapping[str, Any]) -> HorizontalPodAutoscalerRecord:
    """Return the record of an HPA in autoscaling/v2; missing or invalid fields of its status are left out."""
    metadata, spec = ObjectMetadata.of(body), body["spec"]
    status, reference = as_mapping(body.get("status")), spec["scaleTargetRef"]
    cpu = cpu_utilization(spec.get("metrics"), status.get("currentMetrics"))
    ownership = field_ownership(body)
    return HorizontalPodAutoscalerRecord(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        minimum=spec.get("minReplicas", DEFAULT_MINIMUM),
        maximum=spec["maxReplicas"],
        current_replicas=_count(status.get("currentReplicas")),
        desired_replicas=_count(status.get("desiredReplicas")),
        target_utilization=cpu.target,
        utilization=cpu.value,
        scaled_to_zero=_is_disabled(status),
        can_scale_to_zero=any(metric.get("type") in _WITHOUT_REPLICAS for metric in mappings_in(spec.get("metrics"))),
        owner=_controller(metadata),
        floor_managers=ownership.managers,
        foreign_write=ownership.foreign_write,
        floor_given_up=ownership.is_given_up,
        workload=WorkloadReference(reference.get("apiVersion") or "apps/v1", reference["kind"], reference["name"]),
        floor_written_at=ownership.written_at,
    )


def _is_disabled(status: Mapping[str, Any]) -> bool:
    conditions = mappings_in(status.get("conditions"))
    return any(
        condition.get("type") == "ScalingActive" and condition.get("reason") == "ScalingDisabled"
        for condition in conditions
    )


def _controller(metadata: ObjectMetadata) -> str | None:
    controllers = [owner for owner in metadata.owners if owner.get("controller")]
    return next((f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers), None)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
