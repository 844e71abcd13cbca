"""Why replicas are not ready: the cause that a person would look for, from pods and Events. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from predictive_scaling.cluster.pod_record import ContainerRecord, PodEvent, PodRecord
from predictive_scaling.resources.vocabulary import FailureCause

_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_NOT_CREATED = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
_CRASH = frozenset({"CrashLoopBackOff", "RunContainerError", "StartError"})
_MIN_RESTARTS = 2
"""Restarts after a failure from which a container counts as looping, also while it runs between two crashes."""
_MAX_SENTENCE = 400
_QUOTA = re.compile(r"(?:exceeded|failed) quota(?:: (?P<name>[^,:]+)[,:] (?P<rest>.*))?", re.DOTALL)
_AT_MAXIMUM = re.compile(
    r"max (?:node group size|total nodes in cluster|cluster limit|limit)\w* reached", re.IGNORECASE
)
_INSUFFICIENT = re.compile(r"Insufficient ([\w.\-/]+)")
_CONSTRAINTS = (
    ("untolerated taint", "untolerated taint"),
    ("anti-affinity", "pod anti-affinity"),
    ("pod affinity", "pod affinity"),
    ("node affinity/selector", "node affinity or selector"),
    ("node selector", "node affinity or selector"),
    ("topology spread", "topology spread"),
    ("volume node affinity", "volume node affinity"),
    ("unbound immediate PersistentVolumeClaims", "unbound PersistentVolumeClaim"),
    ("were unschedulable", "cordoned nodes"),
    ("Too many pods", "pods per node"),
    ("free ports", "host ports"),
    ("scheduling gates", "scheduling gates"),
    ("no nodes available", "no nodes"),
)

UNHEALABLE = frozenset({FailureCause.CRASH_LOOP, FailureCause.IMAGE_PULL, FailureCause.CONTAINER_NOT_CREATED})
"""Causes that more replicas cannot heal: each new pod of this release has them."""
_OF_PODS = (
    # Among equally many pods the first cause is reported.
    FailureCause.CRASH_LOOP,
    FailureCause.IMAGE_PULL,
    FailureCause.CONTAINER_NOT_CREATED,
    FailureCause.UNSCHEDULABLE,
    FailureCause.PROBE_FAILING,
)


@dataclass(frozen=True, slots=True)
class PodReport:
    """What was read about the pods of a target."""

    pods: tuple[PodRecord, ...] = ()
    events: tuple[PodEvent, ...] = ()
    """Events of the first pod with the dominant cause, and of the workload while it creates too few pods."""
    problem: str = ""
    """Why the pods or Events could not be read; empty if they were."""
    is_temporary: bool = False
    """Whether a later read may succeed without a change by a person."""

    @property
    def unready(self) -> tuple[PodRecord, ...]:
        """Pods that may still become ready."""
        return tuple(pod for pod in self.pods if not pod.is_ready and not pod.is_ended)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause, and a phrase with its details."""

    cause: FailureCause
    details: str
    pods: int = 0
    """Pods that have the cause."""


def diagnose_pods(report: PodReport) -> Diagnosis | None:
    """The most frequent cause of the pods that are not ready; None while all of them just start."""
    causes = [(pod, cause) for pod in report.unready if (cause := pod_cause(pod)) is not None]
    if not causes:
        return None
    counts = Counter(cause for _, cause in causes)
    cause = max(_OF_PODS, key=lambda candidate: (counts[candidate], -_OF_PODS.index(candidate)))
    pod = next(pod for pod, pod_cause_ in causes if pod_cause_ is cause)
    details = f"{counts[cause]} of {len(report.pods)} pods {_describe(cause, pod, report.events)}"
    if cause is FailureCause.UNSCHEDULABLE and _at_maximum(report.events):
        cause = FailureCause.NODE_GROUP_AT_MAXIMUM
    return Diagnosis(cause, _shortened(details), max(counts.values()))


def diagnose_creation(message: str) -> Diagnosis:
    """Why pods are not created, from the message of the API server that refused them."""
    quota = _QUOTA.search(message)
    if quota is None:
        return Diagnosis(FailureCause.REPLICAS_NOT_MADE, _shortened(f"the API server refuses new pods: {message}"))
    if quota["name"] is None:
        return Diagnosis(FailureCause.QUOTA, _shortened(message))
    return Diagnosis(FailureCause.QUOTA, _shortened(f"exceeded quota: {quota['name']} ({quota['rest']})"))


def creation_failure(events: Sequence[PodEvent]) -> str | None:
    """The newest message with which the creation of a pod was refused; None without one."""
    return next((event.message for event in reversed(events) if event.reason == "FailedCreate"), None)


def example_pod(report: PodReport) -> PodRecord | None:
    """The pod whose Events can add to the diagnosis: the scheduler and probes report details only there."""
    explained = (FailureCause.UNSCHEDULABLE, FailureCause.PROBE_FAILING)
    return next((pod for pod in report.unready if pod_cause(pod) in explained), None)


def pod_cause(pod: PodRecord) -> FailureCause | None:
    """Why a pod is not ready; None while it starts, or if it is ready."""
    if pod.is_ready or pod.is_ended:
        return None
    if pod.unscheduled is not None:
        return FailureCause.UNSCHEDULABLE
    causes = [cause for container in pod.containers if (cause := _container_cause(container)) is not None]
    if causes:
        return min(causes, key=_OF_PODS.index)
    unready = [container for container in pod.containers if not container.is_ready]
    return FailureCause.PROBE_FAILING if unready and all(container.is_running for container in unready) else None


def constraints(message: str) -> list[str]:
    """The resources and constraints that a scheduler's message names, without its counts of nodes.

    >>> constraints("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: true}.")
    ['insufficient cpu', 'untolerated taint {gpu: true}']
    """
    named = [f"insufficient {resource.rstrip('.,')}" for resource in _INSUFFICIENT.findall(message)]
    for fragment, name in _CONSTRAINTS:
        if fragment in message:
            taints = re.findall(r"untolerated taint(?:\(s\))? (\{[^}]*\})", message)
            named += [f"{name} {taint}" for taint in taints] if name == "untolerated taint" and taints else [name]
    return list(dict.fromkeys(named))


def _container_cause(container: ContainerRecord) -> FailureCause | None:
    if container.waiting in _IMAGE:
        return FailureCause.IMAGE_PULL
    if container.waiting in _NOT_CREATED:
        return FailureCause.CONTAINER_NOT_CREATED
    failed = container.exit_code not in (None, 0)
    if container.waiting in _CRASH or (failed and not container.is_ready and container.restarts >= _MIN_RESTARTS):
        return FailureCause.CRASH_LOOP
    return None


def _describe(cause: FailureCause, pod: PodRecord, events: Sequence[PodEvent]) -> str:
    if cause is FailureCause.UNSCHEDULABLE:
        return _describe_scheduling(pod.unscheduled or "", events)
    if cause is FailureCause.PROBE_FAILING:
        probe = next((event.message for event in reversed(events) if event.reason == "Unhealthy"), None)
        return (
            f"run but are not ready: {probe}"
            if probe
            else "run but are not ready: no readiness or startup probe has succeeded"
        )
    container = next(container for container in pod.containers if _container_cause(container) is cause)
    if cause is FailureCause.CRASH_LOOP:
        exit_reason = f" ({container.exit_reason})" if container.exit_reason else ""
        ended = f", exit code {container.exit_code}{exit_reason}" if container.exit_code is not None else ""
        return (
            f"crash: container {container.name} is in {container.waiting or 'a crash loop'}{ended}, "
            f"{container.restarts} restarts"
        )
    why = f": {container.message}" if container.message else ""
    if cause is FailureCause.IMAGE_PULL:
        return f"cannot pull image {container.image} ({container.waiting}){why}"
    return f"cannot create container {container.name} ({container.waiting}){why}"


def _describe_scheduling(message: str, events: Sequence[PodEvent]) -> str:
    # What follows is about preemption and repeats the reasons.
    message = message.split("preemption:")[0].strip(" ,")
    named = constraints(message)
    why = f"cannot be scheduled: {', '.join(named) + '; ' if named else ''}{message}"
    autoscaler = _at_maximum(events)
    return f"{why}; the cluster autoscaler adds no node: {autoscaler}" if autoscaler else why


def _at_maximum(events: Sequence[PodEvent]) -> str | None:
    messages = (event.message for event in reversed(events) if event.reason == "NotTriggerScaleUp")
    return next((message for message in messages if _AT_MAXIMUM.search(message)), None)


def _shortened(sentence: str) -> str:
    sentence = " ".join(sentence.split())
    return sentence if len(sentence) <= _MAX_SENTENCE else f"{sentence[: _MAX_SENTENCE - 1]}…"
