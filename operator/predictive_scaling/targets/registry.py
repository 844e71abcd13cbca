"""The registry of target adapters."""

from collections.abc import Callable
from typing import Protocol

from predictive_scaling.cluster.api_discovery import ApiDiscovery
from predictive_scaling.cluster.client import Cluster
from predictive_scaling.errors import TargetUnsupportedError
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.target import AutoScalingGroupTarget, NamedTarget, workload_named
from predictive_scaling.resources.target import TargetSpec as TargetSpec
from predictive_scaling.targets.auto_scaling_group import AutoScalingGroup
from predictive_scaling.targets.aws_clients import AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscaler
from predictive_scaling.targets.port import Target
from predictive_scaling.targets.records import Records
from predictive_scaling.targets.scaled_object import ScaledObject
from predictive_scaling.targets.workload import Workload, WorkloadRecords

TargetFinder = Callable[[str, TargetSpec], Target]
"""Returns the target of a spec in a namespace; raises TargetUnsupportedError."""


class TargetRecords(Records, WorkloadRecords, Protocol):
    """The newest records of all targets in the cluster."""


class Targets:
    """Creates adapters, which are cheap and have no connection of their own."""

    def __init__(self, cluster: Cluster, records: TargetRecords, groups: GroupDescriptions | None = None) -> None:
        """groups: what reaches AWS; by default with the operator's own credentials only."""
        self._cluster = cluster
        self._records = records
        self._groups = groups or GroupDescriptions(AWSClients())
        self._discovery = ApiDiscovery(cluster)

    def __call__(self, namespace: str, spec: TargetSpec) -> Target:
        """Return the adapter of a target. Raises TargetUnsupportedError for a spec without a target."""
        if spec.auto_scaling_group is not None:
            return AutoScalingGroup(self._groups, namespace, spec.auto_scaling_group)
        if spec.horizontal_pod_autoscaler is not None:
            return HorizontalPodAutoscaler(self._cluster, self._records, namespace, spec.horizontal_pod_autoscaler.name)
        if spec.scaled_object is not None:
            return ScaledObject(self._cluster, self._records, namespace, spec.scaled_object.name)
        if spec.workload is not None:
            return Workload(self._cluster, self._discovery, self._records, namespace, spec.workload)
        raise TargetUnsupportedError(
            f"spec.target in {namespace} names no target; set one of horizontalPodAutoscaler, workload, scaledObject "
            "and autoScalingGroup"
        )


def target_named(text: str) -> TargetSpec | None:
    """Return the target that a status names, the inverse of str(TargetSpec); None for text that names none.

    Also None for a group: its name lacks region, role and field, which the take-over records. See `taken_group`.

    >>> str(target_named("hpa/checkout")), str(target_named("scaledobject/checkout"))
    ('hpa/checkout', 'scaledobject/checkout')
    """
    prefix, _, name = text.partition("/")
    spec_of = _SPECS_BY_PREFIX.get(prefix)
    if spec_of is None:
        workload = workload_named(prefix, name)
        return None if workload is None else TargetSpec(workload=workload)
    try:
        return spec_of(name)
    except ValueError:  # the name is not valid: the status was edited
        return None


def taken_group(takeover: Takeover | None) -> TargetSpec | None:
    """Return the Auto Scaling group that was taken over; None for another target."""
    group = takeover.auto_scaling_group if takeover is not None else None
    if group is None:
        return None
    try:
        target = AutoScalingGroupTarget(
            name=group.name, region=group.region, role_arn=group.role_arn, field=group.field
        )
    except ValueError:  # the status was edited
        return None
    return TargetSpec(auto_scaling_group=target)


_SPECS_BY_PREFIX: dict[str, Callable[[str], TargetSpec]] = {
    "hpa": lambda name: TargetSpec(horizontal_pod_autoscaler=NamedTarget(name=name)),
    "scaledobject": lambda name: TargetSpec(scaled_object=NamedTarget(name=name)),
}
"""The kinds that can be taken over, by the prefix of str(TargetSpec)."""
