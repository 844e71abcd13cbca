"""The registry of target adapters."""

from collections.abc import Callable

from predictive_scaling.cluster.client import Cluster
from predictive_scaling.errors import TargetUnsupportedError
from predictive_scaling.resources.target import NamedTarget
from predictive_scaling.resources.target import TargetSpec as TargetSpec
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscaler, Records
from predictive_scaling.targets.port import Target

TargetFinder = Callable[[str, TargetSpec], Target]
"""Returns the target of a spec in a namespace; raises TargetUnsupportedError."""


class Targets:
    """Creates adapters, which are cheap and have no connection of their own."""

    def __init__(self, cluster: Cluster, records: Records) -> None:
        self._cluster = cluster
        self._records = records

    def __call__(self, namespace: str, spec: TargetSpec) -> Target:
        """Return the adapter of a target. Raises TargetUnsupportedError for kinds without an adapter."""
        if spec.horizontal_pod_autoscaler is not None:
            return HorizontalPodAutoscaler(self._cluster, self._records, namespace, spec.horizontal_pod_autoscaler.name)
        raise TargetUnsupportedError(
            f"{spec} in {namespace}: targets of the kind {spec.kind} are not yet available in this release; "
            "give the workload an HPA and use target.horizontalPodAutoscaler"
        )


def autoscaler_named(text: str) -> TargetSpec | None:
    """Return the target that a status names as hpa/NAME; None for other kinds, which are never taken over.

    >>> str(autoscaler_named("hpa/checkout"))
    'hpa/checkout'
    """
    kind, _, name = text.partition("/")
    return TargetSpec(horizontal_pod_autoscaler=NamedTarget(name=name)) if kind == "hpa" and name else None
