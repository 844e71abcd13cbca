"""Writes an HPA's minReplicas by server-side apply of this field only: never its maximum, never its workload."""

from predictive_scaling.cluster.client import FIELD_MANAGER, Cluster
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord, parse
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import TargetNotFoundError
from predictive_scaling.targets.minimum_writer import MinimumWriter
from predictive_scaling.targets.port import Applied, Progress
from predictive_scaling.targets.records import Records, other_manager, replica_source

_EXTERNAL_SCALERS = {
    "ScaledObject": "target.scaledObject",
    "HorizontalPodAutoscaler": "target.horizontalPodAutoscaler",
}


class HorizontalPodAutoscaler:
    """An HPA as a target."""

    def __init__(self, cluster: Cluster, records: Records, namespace: str, name: str) -> None:
        self._records = records
        self._namespace = namespace
        self._name = name
        self._observed: HorizontalPodAutoscalerRecord | None = None
        self._writer = MinimumWriter(
            cluster=cluster,
            api_version="autoscaling/v2",
            kind="HorizontalPodAutoscaler",
            field="minReplicas",
            parse=parse,
            not_found=self._not_found,
            advice=_advice,
        )

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
            template=workload.template if workload else "",
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        before = await self._record()
        after = await self._writer.apply(before, self._observed or before, floor, take=take)
        self._records.remember(after)
        return Applied(after.minimum, changed=after.resource_version != before.resource_version)

    async def restore(self, floor: int) -> None:
        record = await self._record()
        if FIELD_MANAGER in record.floor_managers:
            self._records.remember(await self._writer.restore(record, min(floor, record.maximum)))

    async def progress(self) -> Progress:
        record = await self._record()
        workload = await self._records.workload(self._namespace, record.workload)
        return Progress(
            floor=record.minimum,
            desired_replicas=record.desired_replicas,
            replicas=workload.existing if workload else record.current_replicas,
            ready_replicas=workload.ready if workload else record.current_replicas,
            failure=workload.failure if workload else None,
            floor_manager=other_manager(record.floor_managers),
            maximum=record.maximum,
            floor_written_at=record.floor_written_at,
            source=replica_source(self._namespace, workload),
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


def refusal_of_owner(owner: str) -> str | None:
    """Return why a target with this owner cannot be scaled; None if it can."""
    kind, _, name = owner.partition("/")
    if kind not in _EXTERNAL_SCALERS:
        return None
    if kind == "HorizontalPodAutoscaler":
        return f"{kind} {name} scales it already; use {_EXTERNAL_SCALERS[kind]} {name}, or delete that HPA"
    return f"it belongs to {kind} {name}, which sets its minimum itself; use {_EXTERNAL_SCALERS[kind]} {name}"


def _advice(refusal: str, minimum: int, live: HorizontalPodAutoscalerRecord) -> str:
    lower = "set spec.replicas.min of the policy to 1"
    if "is forbidden: User" in refusal:
        return "grant the operator's service account patch on horizontalpodautoscalers"
    if minimum == 0 and not live.can_scale_to_zero:
        return f"an HPA scales to zero only with an Object or External metric: {lower}"
    if minimum == 0:
        return f"scaling to zero needs the cluster's feature HPAScaleToZero: without it, {lower}"
    return "allow the write, or change spec.replicas of the policy"
