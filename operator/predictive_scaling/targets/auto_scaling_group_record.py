"""What the operator reads from the description of an Auto Scaling group. All sizes are capacity units of the group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_EXISTING = ("Pending", "InService", "Quarantined")
_TEXT_LENGTH = 120


@dataclass(frozen=True, slots=True)
class AutoScalingGroupRecord:
    """A group. With weighted instance types an instance counts as many units as its weight, otherwise as one."""

    identity: str
    """Differs for each group that was ever created, also under the same name."""
    minimum: int
    maximum: int
    desired: int
    existing: int
    """Units of instances that were launched and are not being terminated; instances of a warm pool do not count."""
    ready: int
    """Units of healthy instances in service."""
    launch_suspended: str | None
    """Why the process Launch is suspended; None if it is not."""

    @property
    def failure(self) -> str | None:
        """Why capacity cannot follow the desired capacity; None if unknown or if it does."""
        if self.launch_suspended is None or self.existing >= self.desired:
            return None
        return (
            f"the process Launch of the group is suspended ({self.launch_suspended}), so no instance is started; "
            "resume it with: aws autoscaling resume-processes --scaling-processes Launch"
        )

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> "AutoScalingGroupRecord":
        """Return the record of an entry of AutoScalingGroups in the response of DescribeAutoScalingGroups."""
        instances = description.get("Instances") or ()
        existing = [instance for instance in instances if _exists(instance)]
        ready = [instance for instance in existing if _is_ready(instance)]
        suspended = {
            process.get("ProcessName"): process.get("SuspensionReason") or "no reason given"
            for process in description.get("SuspendedProcesses") or ()
        }
        reason = suspended.get("Launch")
        return cls(
            identity=_identity(description["AutoScalingGroupARN"]),
            minimum=description["MinSize"],
            maximum=description["MaxSize"],
            desired=description["DesiredCapacity"],
            existing=_units(existing),
            ready=_units(ready),
            launch_suspended=None if reason is None else reason[:_TEXT_LENGTH],
        )


def _identity(arn: str) -> str:
    """Return account, region and id of arn:aws:autoscaling:REGION:ACCOUNT:autoScalingGroup:ID:autoScalingGroupName/…"""
    _, _, _, region, account, _, identity, *_ = arn.split(":")
    return f"{account}/{region}/{identity}"


def _exists(instance: Mapping[str, Any]) -> bool:
    """Whether an instance is part of the group's capacity. The states of a warm pool begin with `Warmed:`."""
    return str(instance.get("LifecycleState", "")).startswith(_EXISTING)


def _is_ready(instance: Mapping[str, Any]) -> bool:
    return instance.get("LifecycleState") == "InService" and instance.get("HealthStatus", "Healthy") == "Healthy"


def _units(instances: list[Mapping[str, Any]]) -> int:
    return sum(int(instance.get("WeightedCapacity") or 1) for instance in instances)
