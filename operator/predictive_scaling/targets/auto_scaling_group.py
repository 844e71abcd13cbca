"""Writes the MinSize or DesiredCapacity of an EC2 Auto Scaling group. Sizes are capacity units of the group."""

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import TargetConflictError, TargetNotFoundError, TargetRefusedError
from predictive_scaling.resources.statuses import TakenGroup, Takeover
from predictive_scaling.resources.target import AutoScalingGroupTarget
from predictive_scaling.resources.vocabulary import GroupField
from predictive_scaling.targets.auto_scaling_group_record import AutoScalingGroupRecord
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from predictive_scaling.targets.port import Applied, Explanation, Progress

OTHER_CLIENT = "another client of AWS"
"""The manager of a value that we did not write: AWS does not record who wrote it."""

_WRITE_SECONDS = 3.0
"""Time that a reconciliation waits for AWS to write, in real time. Until a write has ended, no other one begins."""


class AutoScalingGroup:
    """A group as a target.

    Our write is recognized by its value, which is recorded before it is made. With DesiredCapacity a higher value is
    no foreign write: the group's own policies may scale out above our floor, and only they scale in from there.
    """

    def __init__(self, groups: GroupDescriptions, namespace: str, spec: AutoScalingGroupTarget) -> None:
        """Raises TargetUnsupportedError if policies of the namespace may not assume the role or scale the group."""
        self._account = groups.clients.account(namespace, spec.name, spec.region, spec.role_arn)
        self._groups = groups
        self._spec = spec
        self._observed: AutoScalingGroupRecord | None = None
        self._ended_writes = 0
        self._taken_uid: str | None = None
        self._floor: int | None = None
        self._replaces: int | None = None

    def recall(self, takeover: Takeover) -> None:
        self._taken_uid, self._floor, self._replaces = takeover.target_uid, takeover.floor, takeover.replaces

    def recorded(self, takeover: Takeover, floor: int) -> Takeover:
        if self._observed is None:
            raise RuntimeError("a write can only be recorded after the group was observed")
        spec = self._spec
        # The record names the value that the write replaces, so that value must not change after the observation.
        self._groups.check_writes(self._account, spec.name, self._ended_writes)
        group = TakenGroup(name=spec.name, region=spec.region, role_arn=spec.role_arn, field=spec.field)
        replaces = self._value(self._observed)
        return takeover.model_copy(update={"floor": floor, "replaces": replaces, "auto_scaling_group": group})

    async def observe(self) -> Observed:
        record = self._observed = await self._record()
        self._ended_writes = self._groups.ended_writes(self._account, self._spec.name)
        ours = self._is_ours(record)
        return Observed(
            uid=self._uid(record),
            minimum=self._current_floor(record),
            maximum=record.maximum,
            current_replicas=record.desired,
            ready_replicas=record.ready,
            target_utilization=None,
            utilization=None,
            # A group with a desired capacity of 0 may have been scaled in by its own policies.
            scaled_to_zero=record.maximum == 0,
            owner=None,
            floor_managers=(FIELD_MANAGER if ours else OTHER_CLIENT,),
            foreign_write=None if ours else f"{self._spec.field} {self._value(record)}",
            floor_field=self._spec.field,
        )

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        self._groups.check_writes(self._account, self._spec.name)
        record, field = await self._live(), self._spec.field
        seen, value, ours = self._observed or record, self._value(record), self._is_ours(record)
        if floor > record.maximum:
            raise TargetRefusedError(
                f"{field} {floor} exceeds MaxSize {record.maximum} of {self._name}; raise MaxSize, or lower "
                "spec.replicas.max of the policy"
            )
        if seen.identity != record.identity:
            raise TargetNotFoundError(f"{self._name} was deleted and created again; the new group is observed next")
        if not take and not ours:
            raise TargetConflictError(f"{OTHER_CLIENT} set {field} of {self._name} to {value}")
        if take and self._value(seen) != value:
            raise TargetConflictError(
                f"{field} of {self._name} was changed since it was observed, from {self._value(seen)} to {value}"
            )
        # DesiredCapacity above our floor was set by the group's own policies: only they lower it.
        has_excess = ours and value > self._current_floor(record)
        changed = value < floor or (value > floor and not has_excess)
        if changed:
            await self._write(record, floor)
        self._taken_uid, self._floor, self._replaces = self._uid(record), floor, None
        return Applied(floor, changed=changed)

    async def restore(self, floor: int) -> None:
        self._groups.check_writes(self._account, self._spec.name)
        record = await self._live()
        if not self._is_ours(record):
            return
        value = self._value(record)
        floor = min(floor, record.maximum)
        if floor > value or (floor < value and value == self._current_floor(record)):
            await self._write(record, floor, honor_cooldown=False)
        self._taken_uid, self._floor, self._replaces = None, None, None

    async def progress(self) -> Progress:
        record = await self._record()
        return Progress(
            floor=self._current_floor(record),
            desired_replicas=record.desired,
            replicas=record.existing,
            ready_replicas=record.ready,
            excess=record.excess,
            explanation=record.explanation,
            # AWS lowers DesiredCapacity with MaxSize, and refuses a MaxSize below MinSize.
            maximum=record.maximum if self._spec.field is GroupField.DESIRED_CAPACITY else None,
        )

    def explain_delay(self, progress: Progress, waited_seconds: float) -> Explanation:
        lacks_instances = progress.replicas < progress.desired_replicas
        return self._groups.activities.explain(
            self._account, self._spec.name, waited_seconds, lacks_instances=lacks_instances
        )

    @property
    def _name(self) -> str:
        return f'Auto Scaling group "{self._spec.name}" in {self._spec.region}'

    async def _write(self, record: AutoScalingGroupRecord, floor: int, *, honor_cooldown: bool = True) -> None:
        """Set the field. honor_cooldown: whether AWS refuses a decrease of DesiredCapacity during a cooldown."""
        write, name = self._groups.write, self._spec.name
        if self._spec.field is GroupField.MIN_SIZE:
            # Below a higher MinSize, AWS raises the desired capacity itself; it never lowers it for this call.
            written = {"MinSize": floor, "DesiredCapacity": max(record.desired, floor)}
            await write(self._account, name, _WRITE_SECONDS, "update_auto_scaling_group", written, MinSize=floor)
            return
        # AWS refuses a desired capacity below MinSize. A raise does not wait for a cooldown.
        desired = max(floor, record.minimum)
        await write(
            self._account,
            name,
            _WRITE_SECONDS,
            "set_desired_capacity",
            {"DesiredCapacity": desired},
            DesiredCapacity=desired,
            HonorCooldown=honor_cooldown and desired < record.desired,
        )

    async def _record(self) -> AutoScalingGroupRecord:
        return self._parse(await self._groups.describe(self._account, self._spec.name))

    async def _live(self) -> AutoScalingGroupRecord:
        return self._parse(await self._groups.describe_now(self._account, self._spec.name, _WRITE_SECONDS))

    def _parse(self, description: dict[str, object] | None) -> AutoScalingGroupRecord:
        if description is None:
            raise TargetNotFoundError(
                f"{self._name} does not exist in the account of {self._spec.role_arn or 'the operator'}; create it, or "
                "correct name, region and roleArn in spec.target.autoScalingGroup"
            )
        return AutoScalingGroupRecord.parse(description)

    def _uid(self, record: AutoScalingGroupRecord) -> str:
        """Return what a take-over refers to: the group and the field, as each field has its own original value."""
        return f"{record.identity}/{self._spec.field}"

    def _value(self, record: AutoScalingGroupRecord) -> int:
        return record.minimum if self._spec.field is GroupField.MIN_SIZE else record.desired

    def _is_ours(self, record: AutoScalingGroupRecord) -> bool:
        """Whether the field has the value that we wrote, or still the value that our last write should replace."""
        if self._floor is None or self._taken_uid != self._uid(record):
            return False
        value = self._value(record)
        if self._spec.field is GroupField.DESIRED_CAPACITY and value > self._floor:
            return True
        return value in (self._floor, self._replaces)

    def _current_floor(self, record: AutoScalingGroupRecord) -> int:
        """Return our floor, above which DesiredCapacity may be, or the value of another client."""
        value = self._value(record)
        if not self._is_ours(record) or self._floor is None or value == self._replaces:
            return value
        return min(value, self._floor)
