"""Where adapters read the state of their objects."""

from collections.abc import Sequence
from typing import Protocol

from predictive_scaling.cluster.client import FIELD_MANAGER, Cluster, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import (
    HorizontalPodAutoscalerRecord,
    parse,
    path_of,
)
from predictive_scaling.cluster.scaled_object_record import ScaledObjectRecord
from predictive_scaling.cluster.scaled_objects import ScaledObjects
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.errors import TargetNotFoundError, TargetUnsupportedError
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.targets.port import ReplicaSource


class Records(Protocol):
    """The newest records of autoscalers and workloads: from the watch, or from our own writes."""

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        """Return the newest record; None if the HPA does not exist."""
        ...

    async def scaled_object(self, namespace: str, name: str) -> ScaledObjectRecord | None:
        """Return the newest record; None if the ScaledObject does not exist. Raises KedaNotInstalledError."""
        ...

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """Return the newest record of an HPA's workload; None if it does not exist or its kind is not watched."""
        ...

    def remember(self, record: HorizontalPodAutoscalerRecord | ScaledObjectRecord) -> None:
        """Keep the response of our own write until the watch has delivered it."""
        ...


class LiveRecords:
    """Reads each record from the API server: for tools and tests without a watch."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._scaled_objects = ScaledObjects(cluster)

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        try:
            return parse(await self._cluster.get(path_of(namespace, name)))
        except ObjectNotFoundError:
            return None

    async def scaled_object(self, namespace: str, name: str) -> ScaledObjectRecord | None:
        return await self._scaled_objects.read(namespace, name)

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        try:
            return WorkloadRecord.parse(await self._cluster.get(reference.path(namespace)))
        except (ObjectNotFoundError, ObjectRefusedError):
            return None

    def remember(self, record: HorizontalPodAutoscalerRecord | ScaledObjectRecord) -> None:
        """Nothing to keep: each record is read again."""

    def watched_workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """None: nothing is watched."""

    def remember_workload(self, namespace: str, reference: WorkloadReference, record: WorkloadRecord) -> None:
        """Nothing to keep: each record is read again."""

    async def autoscaler_of(self, namespace: str, reference: WorkloadReference) -> HorizontalPodAutoscalerRecord | None:
        for body in await self._cluster.items(path_of(namespace, "").rstrip("/")):
            record = parse(body)
            if record.scales(reference):
                return record
        return None


async def workload_of(records: Records, namespace: str, spec: TargetSpec) -> WorkloadReference:
    """Return the workload whose replicas a target sets.

    Raises TargetNotFoundError if the target does not exist, TargetUnsupportedError if its replicas are not pods.
    """
    if spec.workload is not None:
        return WorkloadReference(spec.workload.api_version, spec.workload.kind, spec.workload.name)
    if spec.horizontal_pod_autoscaler is not None:
        record = await records.autoscaler(namespace, spec.horizontal_pod_autoscaler.name)
    elif spec.scaled_object is not None:
        record = await records.scaled_object(namespace, spec.scaled_object.name)
    else:
        raise TargetUnsupportedError(f"{spec} has no pods; its replicas are instances")
    if record is None:
        raise TargetNotFoundError(f"{spec} not found in namespace {namespace}")
    return record.workload


def other_manager(managers: Sequence[str]) -> str | None:
    """Return the newest field manager of a floor that the operator does not hold; None if it does, or nobody does."""
    return None if FIELD_MANAGER in managers else next(iter(managers), None)


def replica_source(namespace: str, workload: WorkloadRecord | None) -> ReplicaSource | None:
    """Return where the pods of a workload are; None without a workload or its selector."""
    if workload is None or workload.selector is None:
        return None
    return ReplicaSource(namespace, workload.selector, workload.uid)
