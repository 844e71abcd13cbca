"""Writes an HPA's minReplicas by server-side apply of this field only: never its maximum, never its workload."""

from collections.abc import Mapping
from typing import Any, Protocol

from predictive_scaling.cluster.client import (
    FIELD_MANAGER,
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import (
    HorizontalPodAutoscalerRecord,
    parse,
    path_of,
)
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import (
    RequestFailedError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
)
from predictive_scaling.targets.port import Applied, Progress

_ATTEMPTS = 3
_EXTERNAL_SCALERS = {"ScaledObject": "target.scaledObject"}


class Records(Protocol):
    """The newest records of HPAs and workloads: from the watch, or from our own writes."""

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        """Return the newest record; None if the HPA does not exist."""
        ...

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """Return the newest record of an HPA's workload; None if it does not exist or its kind is not watched."""
        ...

    def remember(self, record: HorizontalPodAutoscalerRecord) -> None:
        """Keep the response of our own write until the watch has delivered it."""
        ...


class HorizontalPodAutoscaler:
    """An HPA as a target."""

    def __init__(self, cluster: Cluster, records: Records, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._records = records
        self._namespace = namespace
        self._name = name
        self._observed: HorizontalPodAutoscalerRecord | None = None

    async def observe(self) -> Observed:
        record = self._observed = await self._record()
        workload = await self._records.workload(self._namespace, record.workload)
        return Observed(
            uid=record.uid,
            minimum=record.minimum,
            maximum=record.maximum,
            current_replicas=workload.desired if workload else record.current_replicas,
            ready_replicas=workload.ready if workload else record.current_replicas,
            target_utilization=record.target_utilization,
            utilization=record.utilization,
            scaled_to_zero=record.scaled_to_zero or (workload is not None and workload.desired == 0 < record.minimum),
            owner=record.owner,
            floor_managers=record.floor_managers,
            foreign_write=record.foreign_write,
            floor_given_up=record.floor_given_up,
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        before = await self._record()
        seen = self._observed or before
        if take and seen.uid == before.uid and seen.foreign_write != before.foreign_write:
            raise TargetConflictError(f"spec.minReplicas was changed since it was observed, by {before.foreign_write}")
        after = parse(await self._write(before, floor, force=take or before.floor_given_up))
        self._records.remember(after)
        return Applied(after.minimum, changed=after.resource_version != before.resource_version)

    async def restore(self, floor: int) -> None:
        record = await self._record()
        if FIELD_MANAGER not in record.floor_managers:
            return
        body = await self._write(record, min(floor, record.maximum), force=False)
        self._records.remember(parse(await self._give_up(record.path, body)))

    async def _give_up(self, path: str, body: Json) -> Json:
        """Remove our entry from the managed fields; the value stays."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._cluster.edit(path, _without_us(body))
            except ObjectNotFoundError as error:
                raise self._not_found() from error
            except (ObjectConflictError, ObjectRefusedError):
                # Another field of the HPA changed meanwhile, such as its status.
                body = await self._cluster.get(path)
        raise TargetRefusedError(f"minReplicas of {path} is restored, but our ownership could not be released")

    async def _write(self, record: HorizontalPodAutoscalerRecord, minimum: int, *, force: bool) -> Json:
        """Apply the minimum. A forced write fails if the field was written again since the record."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._cluster.apply(record.path, self._body(record, minimum, force=force), force=force)
            except ObjectNotFoundError as error:
                raise self._not_found() from error
            except (ObjectConflictError, ObjectRefusedError) as error:
                live = await self._live(record)
                if live.foreign_write != record.foreign_write or not (force and isinstance(error, ObjectConflictError)):
                    raise _explained(error, minimum, live) from error
                # Another field of the HPA changed since the record, such as its status.
                record = live
        raise RequestFailedError(f"{record.path} changed during each of {_ATTEMPTS} writes; the write is retried later")

    async def _live(self, record: HorizontalPodAutoscalerRecord) -> HorizontalPodAutoscalerRecord:
        """Read the HPA. Raises TargetNotFoundError if it was deleted or recreated."""
        try:
            live = parse(await self._cluster.get(record.path))
        except ObjectNotFoundError as error:
            raise self._not_found() from error
        except ObjectRefusedError:
            return record
        if live.uid != record.uid:
            raise TargetNotFoundError(f"{record.path} was deleted and created again; the new HPA is observed next")
        return live

    async def progress(self) -> Progress:
        record = await self._record()
        workload = await self._records.workload(self._namespace, record.workload)
        return Progress(
            floor=record.minimum,
            desired_replicas=record.desired_replicas,
            replicas=workload.existing if workload else record.current_replicas,
            ready_replicas=workload.ready if workload else record.current_replicas,
            failure=workload.failure if workload else None,
        )

    async def _record(self) -> HorizontalPodAutoscalerRecord:
        record = await self._records.autoscaler(self._namespace, self._name)
        if record is None:
            raise self._not_found()
        return record

    def _not_found(self) -> TargetNotFoundError:
        return TargetNotFoundError(
            f'horizontalpodautoscalers "{self._name}" not found in namespace {self._namespace}; '
            "create it, or correct spec.target.horizontalPodAutoscaler.name"
        )

    def _body(self, record: HorizontalPodAutoscalerRecord, minimum: int, *, force: bool) -> Json:
        # With the uid the write fails if the HPA was recreated; with the version, if it changed since the record.
        metadata = {"name": self._name, "namespace": self._namespace, "uid": record.uid}
        if force:
            metadata["resourceVersion"] = str(record.resource_version)
        return {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {"minReplicas": minimum},
        }


class LiveRecords:
    """Reads each record from the API server: for tools and tests without a watch."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        try:
            return parse(await self._cluster.get(path_of(namespace, name)))
        except ObjectNotFoundError:
            return None

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        try:
            return WorkloadRecord.parse(await self._cluster.get(reference.path(namespace)))
        except (ObjectNotFoundError, ObjectRefusedError):
            return None

    def remember(self, record: HorizontalPodAutoscalerRecord) -> None:
        """Nothing to keep: each record is read again."""


def refusal_of_owner(owner: str) -> str | None:
    """Return why an HPA with this owner cannot be a target; None if it can."""
    kind, _, name = owner.partition("/")
    if kind not in _EXTERNAL_SCALERS:
        return None
    return f"it belongs to {kind} {name}, which sets its minimum itself; use {_EXTERNAL_SCALERS[kind]} {name}"


def _without_us(body: Mapping[str, Any]) -> list[Json]:
    """Return the patch that removes our entry from the managed fields.

    An apply without the field would remove the value, and the API server would fill in 1.
    """
    metadata = ObjectMetadata.of(body)
    ours = [entry.position for entry in metadata.managed_fields if entry.manager == FIELD_MANAGER]
    same: Json = {"op": "test", "path": "/metadata/resourceVersion", "value": str(metadata.resource_version)}
    return [same, *({"op": "remove", "path": f"/metadata/managedFields/{position}"} for position in reversed(ours))]


def _explained(
    error: ObjectConflictError | ObjectRefusedError, minimum: int, live: HorizontalPodAutoscalerRecord
) -> TargetConflictError | TargetRefusedError:
    if isinstance(error, ObjectConflictError):
        return TargetConflictError(f"another manager holds spec.minReplicas: {error}")
    lower = "set spec.replicas.min of the policy to 1"
    advice = "allow the write, or change spec.replicas of the policy"
    if "is forbidden: User" in str(error):
        advice = "grant the operator's service account patch on horizontalpodautoscalers"
    elif minimum == 0 and not live.can_scale_to_zero:
        advice = f"an HPA scales to zero only with an Object or External metric: {lower}"
    elif minimum == 0:
        advice = f"scaling to zero needs the cluster's feature HPAScaleToZero: without it, {lower}"
    return TargetRefusedError(f"the API server refused minReplicas {minimum}; {advice}. Its message: {error}")
