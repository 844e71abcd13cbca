"""An HPA's minReplicas, by server-side apply of exactly that field; never its maximum, never its workload."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from predictive_scaling.decision.model import Observed
from predictive_scaling.errors import TargetConflictError, TargetNotFoundError, TargetRefusedError
from predictive_scaling.targets.client import (
    FIELD_MANAGER,
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.targets.port import Applied, Progress
from predictive_scaling.targets.workload_record import WorkloadRecord, WorkloadReference

_API = "/apis/autoscaling/v2"
_EXTERNAL_SCALERS = {"ScaledObject": "target.scaledObject"}


@dataclass(frozen=True, slots=True)
class HorizontalPodAutoscalerRecord:
    """What we need of an HPA, without its managed fields' bulk."""

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
    owner: str | None
    floor_managers: tuple[str, ...]
    workload: WorkloadReference

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return path_of(self.namespace, self.name)


class Records(Protocol):
    """Where the newest records come from: the watch, or our own writes."""

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        """The newest record; None when there is no such HPA."""
        ...

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """The newest record of what an HPA scales; None when there is none or its kind is not watched."""
        ...

    def keep(self, record: HorizontalPodAutoscalerRecord) -> None:
        """Take over what a write of ours answered, until the watch has caught up with it."""
        ...


class HorizontalPodAutoscaler:
    """An HPA as a target."""

    def __init__(self, cluster: Cluster, records: Records, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._records = records
        self._namespace = namespace
        self._name = name

    async def observe(self) -> Observed:
        record = await self._record()
        workload = await self._records.workload(self._namespace, record.workload)
        return Observed(
            uid=record.uid,
            minimum=record.minimum,
            maximum=record.maximum,
            current_replicas=workload.wanted if workload else record.current_replicas,
            ready_replicas=workload.ready if workload else record.current_replicas,
            target_utilization=record.target_utilization,
            utilization=record.utilization,
            scaled_to_zero=record.scaled_to_zero or (workload is not None and workload.wanted == 0 < record.minimum),
            owner=record.owner,
            floor_managers=record.floor_managers,
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        before = await self._record()
        body = self._body({"minReplicas": floor}, before.uid)
        try:
            answer = await self._cluster.apply(before.path, body, force=take)
        except ObjectNotFoundError as error:
            raise self._not_found() from error
        except ObjectConflictError as error:
            raise TargetConflictError(_foreign(error)) from error
        except ObjectRefusedError as error:
            raise TargetRefusedError(f"The API server refused minReplicas {floor}: {error}") from error
        after = parse(answer)
        self._records.keep(after)
        return Applied(after.minimum, changed=after.resource_version != before.resource_version)

    async def restore(self, floor: int) -> None:
        record = await self._record()
        if FIELD_MANAGER not in record.floor_managers:
            return
        try:
            body = await self._cluster.apply(record.path, self._body({"minReplicas": floor}, record.uid))
            body = await self._cluster.edit(record.path, _without_us(body))
        except ObjectNotFoundError as error:
            raise self._not_found() from error
        except ObjectConflictError as error:
            raise TargetConflictError(_foreign(error)) from error
        except ObjectRefusedError as error:
            raise TargetRefusedError(f"The API server refused minReplicas {floor} again: {error}") from error
        self._records.keep(parse(body))

    async def progress(self) -> Progress:
        record = await self._record()
        workload = await self._records.workload(self._namespace, record.workload)
        return Progress(
            floor=record.minimum,
            desired_replicas=record.desired_replicas,
            replicas=workload.existing if workload else record.current_replicas,
            ready_replicas=workload.ready if workload else record.current_replicas,
            trouble=workload.trouble if workload else None,
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

    def _body(self, spec: Json, uid: str) -> Json:
        # The uid makes the write a conflict on an HPA of the same name that was created since.
        return {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": self._name, "namespace": self._namespace, "uid": uid},
            "spec": spec,
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

    def keep(self, record: HorizontalPodAutoscalerRecord) -> None:
        """Nothing is kept: the next record is read again."""


def path_of(namespace: str, name: str) -> str:
    """The URL path of an HPA."""
    return f"{_API}/namespaces/{namespace}/horizontalpodautoscalers/{name}"


def parse(body: Mapping[str, Any]) -> HorizontalPodAutoscalerRecord:
    """A record of an HPA as the API server shows it in autoscaling/v2."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    reference = spec["scaleTargetRef"]
    target, current = _utilization(spec.get("metrics") or (), status.get("currentMetrics") or ())
    return HorizontalPodAutoscalerRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        minimum=spec.get("minReplicas", 1),
        maximum=spec["maxReplicas"],
        current_replicas=status.get("currentReplicas") or 0,
        desired_replicas=status.get("desiredReplicas") or 0,
        target_utilization=target,
        utilization=current,
        scaled_to_zero=_is_disabled(status.get("conditions") or ()),
        owner=_controller(metadata.get("ownerReferences") or ()),
        floor_managers=_floor_managers(metadata.get("managedFields") or ()),
        workload=WorkloadReference(reference.get("apiVersion", "apps/v1"), reference["kind"], reference["name"]),
    )


def refusal_of_owner(owner: str) -> str | None:
    """Why an HPA with this controller cannot be our target; None where it can."""
    kind, _, name = owner.partition("/")
    if kind not in _EXTERNAL_SCALERS:
        return None
    return f"it belongs to {kind} {name}, which sets its minimum itself; use {_EXTERNAL_SCALERS[kind]} {name}"


def _is_disabled(conditions: Iterable[Mapping[str, Any]]) -> bool:
    return any(c["type"] == "ScalingActive" and c.get("reason") == "ScalingDisabled" for c in conditions)


def _controller(owners: Iterable[Mapping[str, Any]]) -> str | None:
    return next((f"{o['kind']}/{o['name']}" for o in owners if o.get("controller")), None)


def _floor_managers(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    holders = [
        (entry.get("time") or "", entry.get("manager") or "unknown")
        for entry in entries
        if "f:minReplicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return tuple(manager for _, manager in sorted(holders, key=lambda holder: _age(holder[0]), reverse=True))


def _age(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _utilization(specified: Iterable[Any], current: Iterable[Any]) -> tuple[float | None, float | None]:
    """Target and newest value of the first CPU utilization metric, as fractions; None for what is not there."""
    target = next((_average(metric, "target") for metric in specified if _average(metric, "target")), None)
    value = next((_average(metric, "current") for metric in current if _average(metric, "current")), None)
    return target, value


def _average(metric: Mapping[str, Any], key: str) -> float | None:
    resource = metric.get("resource") or metric.get("containerResource") or {}
    percent = (resource.get(key) or {}).get("averageUtilization")
    return None if percent is None else percent / 100


def _without_us(body: Mapping[str, Any]) -> list[Json]:
    """The patch that takes our entry out of the managed fields.

    Giving the field up by an apply without it would remove the value, and the API server would fill in 1.
    """
    metadata = body["metadata"]
    entries: list[Json] = metadata.get("managedFields") or []
    ours = [index for index, entry in enumerate(entries) if entry.get("manager") == FIELD_MANAGER]
    same: Json = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
    return [same, *({"op": "remove", "path": f"/metadata/managedFields/{index}"} for index in reversed(ours))]


def _foreign(error: ObjectConflictError) -> str:
    return f"someone else holds spec.minReplicas: {error}"
