"""An HPA's minReplicas, by server-side apply of exactly that field; never its maximum, never its workload."""

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
    """Where the newest records come from: the watch, or our own writes."""

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        """The newest record; None when there is no such HPA."""
        ...

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """The newest record of what an HPA scales; None when there is none or its kind is not watched."""
        ...

    def remember(self, record: HorizontalPodAutoscalerRecord) -> None:
        """Take over what a write of ours answered, until the watch has caught up with it."""
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
            raise TargetConflictError(f"spec.minReplicas was written meanwhile, by {before.foreign_write}")
        answer = await self._write(before, floor, force=take or before.floor_given_up)
        after = parse(answer)
        self._records.remember(after)
        return Applied(after.minimum, changed=after.resource_version != before.resource_version)

    async def restore(self, floor: int) -> None:
        record = await self._record()
        if FIELD_MANAGER not in record.floor_managers:
            return
        body = await self._write(record, min(floor, record.maximum), force=False)
        self._records.remember(parse(await self._give_up(record.path, body)))

    async def _give_up(self, path: str, body: Json) -> Json:
        """Take our entry out of the managed fields; the value stays."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._cluster.edit(path, _without_us(body))
            except ObjectNotFoundError as error:
                raise self._not_found() from error
            except (ObjectConflictError, ObjectRefusedError):
                # Something else of the HPA changed meanwhile, such as its status.
                body = await self._cluster.get(path)
        raise TargetRefusedError(f"minReplicas of {path} is back, and our ownership of the field could not be given up")

    async def _write(self, record: HorizontalPodAutoscalerRecord, minimum: int, *, force: bool) -> Json:
        """Apply the minimum. A forced write takes the field only from the write that the record shows."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._cluster.apply(record.path, self._body(record, minimum, force=force), force=force)
            except ObjectNotFoundError as error:
                raise self._not_found() from error
            except (ObjectConflictError, ObjectRefusedError) as error:
                live = await self._live(record)
                if live.foreign_write != record.foreign_write or not (force and isinstance(error, ObjectConflictError)):
                    raise _explained(error, minimum, live) from error
                # Something else of the HPA changed since it was looked at, such as its status.
                record = live
        raise RequestFailedError(f"{record.path} changed during each of {_ATTEMPTS} writes; it is written later")

    async def _live(self, record: HorizontalPodAutoscalerRecord) -> HorizontalPodAutoscalerRecord:
        """The HPA as it is now. Raises TargetNotFoundError where it is gone or another one of the same name."""
        try:
            live = parse(await self._cluster.get(record.path))
        except ObjectNotFoundError as error:
            raise self._not_found() from error
        except ObjectRefusedError:
            return record
        if live.uid != record.uid:
            raise TargetNotFoundError(f"{record.path} was deleted and created again; the new one is looked at next")
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
        # The uid makes the write fail on an HPA of the same name that was created since; the version, on one that
        # anybody changed since it was looked at.
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
    """Records straight from the API server, one request each: for tools and tests without a watch."""

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
        """Nothing is kept: the next record is read again."""


def refusal_of_owner(owner: str) -> str | None:
    """Why an HPA with this controller cannot be our target; None where it can."""
    kind, _, name = owner.partition("/")
    if kind not in _EXTERNAL_SCALERS:
        return None
    return f"it belongs to {kind} {name}, which sets its minimum itself; use {_EXTERNAL_SCALERS[kind]} {name}"


def _without_us(body: Mapping[str, Any]) -> list[Json]:
    """The patch that takes our entry out of the managed fields.

    Giving the field up by an apply without it would remove the value, and the API server would fill in 1.
    """
    metadata = body["metadata"]
    entries: list[Json] = metadata.get("managedFields") or []
    ours = [index for index, entry in enumerate(entries) if entry.get("manager") == FIELD_MANAGER]
    same: Json = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
    return [same, *({"op": "remove", "path": f"/metadata/managedFields/{index}"} for index in reversed(ours))]


def _explained(
    error: ObjectConflictError | ObjectRefusedError, minimum: int, live: HorizontalPodAutoscalerRecord
) -> TargetConflictError | TargetRefusedError:
    if isinstance(error, ObjectConflictError):
        return TargetConflictError(f"someone else holds spec.minReplicas: {error}")
    lower = "set spec.replicas.min of the policy to 1"
    advice = "allow what it names, or change spec.replicas of the policy"
    if "is forbidden: User" in str(error):
        advice = "grant the operator's service account patch on horizontalpodautoscalers"
    elif minimum == 0 and not live.can_scale_to_zero:
        advice = f"an HPA scales to zero only with an Object or External metric: {lower}"
    elif minimum == 0:
        advice = f"scaling to zero needs the cluster's feature HPAScaleToZero: without it, {lower}"
    return TargetRefusedError(f"the API server refused minReplicas {minimum}; {advice}. Its message: {error}")
