"""Writes a KEDA ScaledObject's minReplicaCount by server-side apply of this field only.

KEDA copies the minimum to the HPA that it creates, so replicas above it follow KEDA's triggers. Without
idleReplicaCount KEDA also starts the minimum while no trigger is active; a minimum of 0 lets it scale to zero. With
idleReplicaCount the workload waits at that number until a trigger is active, and then starts at the minimum: a raise
takes effect with the next activation.
"""

from predictive_scaling.cluster.client import FIELD_MANAGER, Cluster
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord
from predictive_scaling.cluster.scaled_object_record import (
    GROUP,
    MIN_REPLICA_COUNT,
    PAUSED_SCALE_IN,
    PAUSED_SCALE_OUT,
    VERSION,
    ScaledObjectRecord,
)
from predictive_scaling.cluster.workload_record import WorkloadRecord
from predictive_scaling.decision.inputs import Observed, TargetPause
from predictive_scaling.errors import TargetNotFoundError, TargetRefusedError
from predictive_scaling.resources.vocabulary import Direction
from predictive_scaling.targets.minimum_writer import MinimumWriter
from predictive_scaling.targets.port import Applied, Progress
from predictive_scaling.targets.records import Records, other_manager, replica_source


class ScaledObject:
    """A KEDA ScaledObject as a target."""

    def __init__(self, cluster: Cluster, records: Records, namespace: str, name: str) -> None:
        self._records = records
        self._namespace = namespace
        self._name = name
        self._observed: ScaledObjectRecord | None = None
        self._writer = MinimumWriter(
            cluster=cluster,
            api_version=f"{GROUP}/{VERSION}",
            kind="ScaledObject",
            field=MIN_REPLICA_COUNT.name,
            parse=ScaledObjectRecord.parse,
            not_found=self._not_found,
            advice=_advice,
        )

    async def observe(self) -> Observed:
        record = self._observed = await self._record()
        autoscaler, workload = await self._scaled(record)
        current_replicas = autoscaler.current_replicas if autoscaler else 0
        return Observed(
            uid=record.uid,
            minimum=record.minimum,
            maximum=record.maximum,
            current_replicas=workload.desired if workload else current_replicas,
            ready_replicas=workload.ready if workload else current_replicas,
            target_utilization=autoscaler.target_utilization if autoscaler else None,
            utilization=autoscaler.utilization if autoscaler else None,
            # KEDA itself scales to zero and back; a person stops it with its pause annotations.
            scaled_to_zero=False,
            owner=None,
            floor_managers=record.floor_managers,
            floor_field="minReplicaCount",
            foreign_write=record.foreign_write,
            floor_given_up=record.floor_given_up,
            template=workload.template if workload else "",
            pause=_pause(record),
            missing=self._missing(record, autoscaler, workload),
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        before = await self._record()
        # The CRDs of older releases of KEDA accept both, and KEDA then stops scaling the object.
        if floor > before.maximum:
            raise TargetRefusedError(
                f"{MIN_REPLICA_COUNT.name} {floor} exceeds maxReplicaCount {before.maximum} of {self}; "
                "raise maxReplicaCount, or lower spec.replicas of the policy"
            )
        if before.idle_replicas is not None and floor <= before.idle_replicas:
            raise TargetRefusedError(
                f"{MIN_REPLICA_COUNT.name} {floor} of {self} must be above its idleReplicaCount "
                f"{before.idle_replicas}; set spec.replicas.min of the policy to {before.idle_replicas + 1} or more"
            )
        after = await self._writer.apply(before, self._observed or before, floor, take=take)
        self._records.remember(after)
        return Applied(after.minimum, changed=after.resource_version != before.resource_version)

    async def restore(self, floor: int) -> None:
        record = await self._record()
        if FIELD_MANAGER not in record.floor_managers:
            return
        floor = min(floor, record.maximum)
        if record.idle_replicas is not None:
            floor = max(floor, record.idle_replicas + 1)
        if floor == MIN_REPLICA_COUNT.default:
            # The field was not set, or set to its default, which means the same.
            self._records.remember(await self._writer.remove(record))
        else:
            self._records.remember(await self._writer.restore(record, floor))

    async def progress(self) -> Progress:
        record = await self._record()
        autoscaler, workload = await self._scaled(record)
        current_replicas = autoscaler.current_replicas if autoscaler else 0
        return Progress(
            floor=record.minimum,
            desired_replicas=autoscaler.desired_replicas if autoscaler else 0,
            replicas=workload.existing if workload else current_replicas,
            ready_replicas=workload.ready if workload else current_replicas,
            failure=workload.failure if workload else None,
            floor_manager=other_manager(record.floor_managers),
            floor_written_at=record.floor_written_at,
            source=replica_source(self._namespace, workload),
            held_by=_held_by(record, workload.desired if workload else current_replicas),
        )

    async def _scaled(
        self, record: ScaledObjectRecord
    ) -> tuple[HorizontalPodAutoscalerRecord | None, WorkloadRecord | None]:
        """Return the HPA and the workload of a ScaledObject; a paused one has no HPA."""
        autoscaler = None
        if not record.pauses:
            autoscaler = await self._records.autoscaler(self._namespace, record.autoscaler)
        return autoscaler, await self._records.workload(self._namespace, record.workload)

    def _missing(
        self,
        record: ScaledObjectRecord,
        autoscaler: HorizontalPodAutoscalerRecord | None,
        workload: WorkloadRecord | None,
    ) -> str | None:
        reference = record.workload
        if workload is not None or (autoscaler is not None and not reference.is_watched):
            return None
        return (
            f"{self} scales {reference.kind} {reference.name} ({reference.api_version}), which does not exist or "
            "cannot be read; create it, or correct spec.scaleTargetRef of the ScaledObject"
        )

    async def _record(self) -> ScaledObjectRecord:
        record = await self._records.scaled_object(self._namespace, self._name)
        if record is None:
            raise self._not_found()
        return record

    def _not_found(self) -> TargetNotFoundError:
        return TargetNotFoundError(
            f'scaledobjects.{GROUP} "{self._name}" not found in namespace {self._namespace}; '
            "create it, or correct spec.target.scaledObject.name"
        )

    def __str__(self) -> str:
        return f"ScaledObject {self._namespace}/{self._name}"


def _pause(record: ScaledObjectRecord) -> TargetPause | None:
    if record.pauses:
        return TargetPause(f"its annotation {' and '.join(record.pauses)} is set")
    if record.is_scale_in_paused and record.is_scale_out_paused:
        return TargetPause(f"its annotations {PAUSED_SCALE_IN} and {PAUSED_SCALE_OUT} are set")
    if record.is_scale_in_paused:
        return TargetPause(f"its annotation {PAUSED_SCALE_IN} is set", Direction.UP_ONLY)
    if record.is_scale_out_paused:
        # An HPA below its minimum jumps there, even if its behavior forbids scaling out.
        return TargetPause(f"its annotation {PAUSED_SCALE_OUT} is set", Direction.DOWN_ONLY)
    return None


def _held_by(record: ScaledObjectRecord, replicas: int) -> str | None:
    pause = _pause(record)
    if pause is not None and pause.direction is not Direction.UP_ONLY:
        return f"the ScaledObject is paused: {pause.cause}"
    if record.idle_replicas is not None and replicas <= record.idle_replicas:
        return f"it is idle at {replicas} replicas and starts at its minimum when a trigger is active"
    return None


def _advice(refusal: str, _minimum: int, _live: ScaledObjectRecord) -> str:
    if "is forbidden: User" in refusal:
        return f"grant the operator's service account patch on scaledobjects.{GROUP}"
    return "allow the write, or change spec.replicas of the policy"
