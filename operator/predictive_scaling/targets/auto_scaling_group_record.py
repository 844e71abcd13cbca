"""What the operator reads from the description of an Auto Scaling group. All sizes are capacity units of the group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from predictive_scaling.resources.vocabulary import FailureCause
from predictive_scaling.targets.port import Explanation

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
    terminate_suspended: str | None
    """Why the process Terminate is suspended; None if it is not."""
    protected: int
    """Units of existing instances that are protected from scale-in."""

    @property
    def excess(self) -> str | None:
        """Why AWS keeps more capacity than the desired capacity; None if unknown or if it does not."""
        if self.existing <= self.desired:
            return None
        if self.terminate_suspended is not None:
            return (
                f"{self.existing} units remain, as the process Terminate of the group is suspended "
                f"({self.terminate_suspended}); resume it with: "
                "aws autoscaling resume-processes --scaling-processes Terminate"
            )
        if self.protected > self.desired:
            return f"{self.protected} units remain, as AWS keeps instances that are protected from scale-in"
        return None

    @property
    def explanation(self) -> Explanation | None:
        """Why capacity cannot follow the desired capacity; None if unknown or if it does."""
        if self.launch_suspended is None or self.existing >= self.desired:
            return None
        details = (
            f"the process Launch of the group is suspended ({self.launch_suspended}), so no instance is started; "
            "resume it with: aws autoscaling resume-processes --scaling-processes Launch"
        )
        return Explanation(FailureCause.REPLICAS_NOT_MADE, details)

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> "AutoScalingGroupRecord":
        """Return the record of an entry of AutoScalingGroups in the response of DescribeAutoScalingGroups."""
        instances = description.get("Instances") or ()
        existing = [instance for instance in instances if _exists(instance)]
        ready = [instance for instance in existing if _is_ready(instance)]
        suspended = {
            process.get("ProcessName"): str(process.get("SuspensionReason") or "no reason given")[:_TEXT_LENGTH]
            for process in description.get("SuspendedProcesses") or ()
        }
        return cls(
            identity=_identity(description["AutoScalingGroupARN"]),
            minimum=description["MinSize"],
            maximum=description["MaxSize"],
            desired=description["DesiredCapacity"],
            existing=_units(existing),
            ready=_units(ready),
            launch_suspended=suspended.get("Launch"),
            terminate_suspended=suspended.get("Terminate"),
            protected=_units([instance for instance in existing if instance.get("ProtectedFromScaleIn")]),
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
