"""Reads the pods of a target whose replicas are late or unhealthy: at most two lists of limited length each time."""

from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from predictive_scaling.cluster.client import Cluster
from predictive_scaling.cluster.pod_record import parse_event, parse_pod
from predictive_scaling.control.actuation.failure_causes import PodReport, example_pod
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError
from predictive_scaling.targets.port import ReplicaSource

log = structlog.get_logger(__name__)

MAX_PODS = 200
"""Pods that are read of a target: enough for a cause, and parsed within a few milliseconds."""
MAX_EVENTS = 50


class PodReader(Protocol):
    """What verification reads about pods."""

    async def read(self, source: ReplicaSource, *, creation_fails: bool) -> PodReport:
        """The pods of a target, and Events that explain them.

        creation_fails: fewer pods exist than were requested; the Events are then those of the workload. Never raises:
        what cannot be read is the report's problem.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClusterPodReader:
    """Reads pods from the API server."""

    cluster: Cluster

    async def read(self, source: ReplicaSource, *, creation_fails: bool) -> PodReport:
        try:
            bodies = await self.cluster.first_page(
                f"/api/v1/namespaces/{source.namespace}/pods", limit=MAX_PODS, labelSelector=source.selector
            )
        except PredictiveScalingError as error:
            return _incomplete(PodReport(), f"its pods could not be read: {error}", error)
        report = PodReport(tuple(pod for pod in map(parse_pod, bodies) if pod is not None))
        example = example_pod(report)
        uid = example.uid if example is not None else source.workload_uid if creation_fails else None
        if not uid:
            return report
        try:
            bodies = await self.cluster.first_page(
                f"/api/v1/namespaces/{source.namespace}/events",
                limit=MAX_EVENTS,
                fieldSelector=f"involvedObject.uid={uid}",
            )
        except PredictiveScalingError as error:
            return _incomplete(report, f"the Events about its pods could not be read: {error}", error)
        return replace(report, events=tuple(parse_event(body) for body in sorted(bodies, key=_last_seen)))


def _incomplete(report: PodReport, problem: str, error: PredictiveScalingError) -> PodReport:
    log.info("pods_not_read", error=problem)
    return replace(report, problem=problem, is_temporary=isinstance(error, ClusterUnavailableError))


def _last_seen(body: dict[str, object]) -> str:
    """The time of the newest occurrence, as text: RFC 3339 in UTC sorts by time."""
    return str(body.get("lastTimestamp") or body.get("eventTime") or "")
