"""Records of the workloads that run the replicas: Deployments and StatefulSets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from predictive_scaling.cluster.object_metadata import ObjectMetadata

_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}
# Conditions of a Deployment whose pods cannot be created.
_FAILURE_CONDITIONS = frozenset({"ReplicaFailure"})


@dataclass(frozen=True, slots=True)
class WorkloadReference:
    """The scaleTargetRef of an HPA."""

    api_version: str
    kind: str
    name: str

    def path(self, namespace: str) -> str:
        """Return its path in the API server. The plural of other kinds is guessed."""
        plural = _PLURALS.get(self.kind, f"{self.kind.lower()}s")
        root = "/apis" if "/" in self.api_version else "/api"
        return f"{root}/{self.api_version}/namespaces/{namespace}/{plural}/{self.name}"


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """The numbers of replicas of a workload."""

    desired: int
    """spec.replicas."""
    existing: int
    ready: int
    failure: str | None
    """Why replicas cannot be created, from the workload's own conditions; None if they can."""
    uid: str = ""
    resource_version: int = 0

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "WorkloadRecord":
        """Return the record of a workload of the API server."""
        status, metadata = body.get("status") or {}, ObjectMetadata.of(body)
        return cls(
            desired=(body.get("spec") or {}).get("replicas", 1),
            existing=status.get("replicas") or 0,
            ready=status.get("readyReplicas") or 0,
            failure=_failure(status.get("conditions") or ()),
            uid=metadata.uid,
            resource_version=metadata.resource_version,
        )


def _failure(conditions: Iterable[Mapping[str, Any]]) -> str | None:
    for condition in conditions:
        if condition["type"] in _FAILURE_CONDITIONS and condition["status"] == "True":
            return f"{condition.get('reason', 'ReplicaFailure')}: {condition.get('message', '')}".strip()
    return None
