"""Records of KEDA's ScaledObjects."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from predictive_scaling.cluster.field_ownership import MinimumField, field_ownership
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.cluster.workload_record import WorkloadReference

GROUP: Final = "keda.sh"
VERSION: Final = "v1alpha1"
PLURAL: Final = "scaledobjects"
MIN_REPLICA_COUNT: Final = MinimumField("minReplicaCount", 0)
_DEFAULT_MAXIMUM = 100

PAUSED: Final = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS: Final = "autoscaling.keda.sh/paused-replicas"
PAUSED_SCALE_IN: Final = "autoscaling.keda.sh/paused-scale-in"
PAUSED_SCALE_OUT: Final = "autoscaling.keda.sh/paused-scale-out"
_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})
"""Values of a pause annotation that KEDA reads as false; it reads any other value as true."""


@dataclass(frozen=True, slots=True)
class ScaledObjectRecord:
    """The fields of a ScaledObject that the operator uses."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    minimum: int
    maximum: int
    idle_replicas: int | None
    """Replicas without any active trigger, below the minimum; None if the minimum applies then, too."""
    pauses: tuple[str, ...]
    """Annotations that are set and pause all scaling: KEDA deletes its HPA."""
    is_scale_in_paused: bool
    is_scale_out_paused: bool
    autoscaler: str
    """Name of the HPA that KEDA creates."""
    workload: WorkloadReference
    floor_managers: tuple[str, ...]
    foreign_write: str | None
    floor_given_up: bool
    floor_written_at: datetime | None = None
    """The time of our last write of the minimum by the API server's clock; None if we do not hold it."""

    @property
    def path(self) -> str:
        """Its path in the API server."""
        return path_of(self.namespace, self.name)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "ScaledObjectRecord":
        """Return the record of a ScaledObject of the API server, with KEDA's defaults for missing fields."""
        metadata, spec = ObjectMetadata.of(body), body["spec"]
        reference, annotations = spec["scaleTargetRef"], metadata.annotations
        ownership = field_ownership(body, MIN_REPLICA_COUNT)
        return cls(
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            minimum=spec.get(MIN_REPLICA_COUNT.name) or MIN_REPLICA_COUNT.default,
            maximum=spec.get("maxReplicaCount") or _DEFAULT_MAXIMUM,
            idle_replicas=spec.get("idleReplicaCount"),
            pauses=_pauses(annotations),
            is_scale_in_paused=_is_true(annotations, PAUSED_SCALE_IN),
            is_scale_out_paused=_is_true(annotations, PAUSED_SCALE_OUT),
            autoscaler=_autoscaler(metadata.name, spec, body.get("status") or {}),
            workload=WorkloadReference(
                reference.get("apiVersion") or "apps/v1", reference.get("kind") or "Deployment", reference["name"]
            ),
            floor_managers=ownership.managers,
            foreign_write=ownership.foreign_write,
            floor_given_up=ownership.is_given_up,
            floor_written_at=ownership.written_at,
        )


def path_of(namespace: str, name: str) -> str:
    """Return the URL path of a ScaledObject."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}"


def _pauses(annotations: Mapping[str, str]) -> tuple[str, ...]:
    replicas = (f"{PAUSED_REPLICAS}={annotations[PAUSED_REPLICAS]}",) if PAUSED_REPLICAS in annotations else ()
    return (*replicas, PAUSED) if _is_true(annotations, PAUSED) else replicas


def _is_true(annotations: Mapping[str, str], name: str) -> bool:
    return name in annotations and annotations[name] not in _FALSE


def _autoscaler(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    configuration = (spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    return status.get("hpaName") or configuration.get("name") or f"keda-hpa-{name}"
