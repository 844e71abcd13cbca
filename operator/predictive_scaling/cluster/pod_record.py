"""Records of pods: what their scheduler and kubelet report. Read only to explain replicas that are not ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from predictive_scaling.cluster.object_fields import as_mapping, mappings_in, value_at
from predictive_scaling.cluster.object_metadata import ObjectMetadata


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """The state of a container, init containers included."""

    name: str
    image: str = ""
    is_ready: bool = False
    is_running: bool = False
    waiting: str = ""
    """Why it waits, in the kubelet's word such as CrashLoopBackOff; empty if it does not wait."""
    message: str = ""
    """The kubelet's message while it waits."""
    exit_code: int | None = None
    """Of its newest end; None if it never ended."""
    exit_reason: str = ""
    """Such as Error or OOMKilled."""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A pod that is not deleted."""

    name: str
    uid: str
    created_at: datetime
    is_ready: bool = False
    is_ended: bool = False
    """Its phase is Succeeded or Failed: it never becomes ready again."""
    unscheduled: str | None = None
    """The scheduler's message while it assigns no node; None if the pod has a node, or was not looked at yet."""
    scheduled_after_seconds: float | None = None
    """From its creation until it got a node, in full seconds; None while it has none, or where unknown."""
    containers: tuple[ContainerRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class PodEvent:
    """A Kubernetes Event about a pod or a workload."""

    reason: str
    message: str


def parse_pod(body: Mapping[str, Any]) -> PodRecord | None:
    """Return the record of a pod of the API server; None if it is being deleted. Invalid entries are left out."""
    metadata, status = ObjectMetadata.of(body), as_mapping(body.get("status"))
    if metadata.deleted_at is not None:
        return None
    conditions = {str(condition.get("type")): condition for condition in mappings_in(status.get("conditions"))}
    listed = (*mappings_in(status.get("initContainerStatuses")), *mappings_in(status.get("containerStatuses")))
    return PodRecord(
        name=metadata.name,
        uid=metadata.uid,
        created_at=metadata.created_at,
        is_ready=as_mapping(conditions.get("Ready")).get("status") == "True",
        is_ended=status.get("phase") in ("Succeeded", "Failed"),
        unscheduled=_unscheduled(as_mapping(conditions.get("PodScheduled"))),
        scheduled_after_seconds=_scheduled_after(as_mapping(conditions.get("PodScheduled")), metadata.created_at),
        containers=tuple(map(_container, listed)),
    )


def parse_event(body: Mapping[str, Any]) -> PodEvent:
    """Return the record of a core/v1 Event."""
    return PodEvent(str(body.get("reason") or ""), str(body.get("message") or ""))


def _unscheduled(condition: Mapping[str, Any]) -> str | None:
    if condition.get("status") != "False":
        return None
    return str(condition.get("message") or condition.get("reason") or "no node was found")


def _scheduled_after(condition: Mapping[str, Any], created_at: datetime) -> float | None:
    if condition.get("status") != "True":
        return None
    try:
        return (datetime.fromisoformat(str(condition.get("lastTransitionTime"))) - created_at).total_seconds()
    except (ValueError, TypeError):  # no time, or one without a zone
        return None


def _container(status: Mapping[str, Any]) -> ContainerRecord:
    state = as_mapping(status.get("state"))
    waiting, running = as_mapping(state.get("waiting")), state.get("running")
    ended = as_mapping(state.get("terminated")) or as_mapping(value_at(status, ("lastState", "terminated")))
    exit_code, restarts = ended.get("exitCode"), status.get("restartCount")
    return ContainerRecord(
        name=str(status.get("name") or ""),
        image=str(status.get("image") or ""),
        is_ready=status.get("ready") is True,
        is_running=running is not None,
        waiting=str(waiting.get("reason") or ""),
        message=str(waiting.get("message") or ""),
        exit_code=exit_code if isinstance(exit_code, int) else None,
        exit_reason=str(ended.get("reason") or ""),
        restarts=restarts if isinstance(restarts, int) else 0,
    )
