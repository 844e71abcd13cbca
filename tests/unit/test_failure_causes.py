"""The cause of replicas that are not ready, from pods and Events as the API server returns them (semantics 19)."""

from typing import Any

import pytest

from predictive_scaling.cluster.pod_record import PodEvent, PodRecord, parse_pod
from predictive_scaling.control.actuation.failure_causes import (
    PodReport,
    constraints,
    diagnose_creation,
    diagnose_pods,
    pod_cause,
)
from predictive_scaling.resources.vocabulary import FailureCause
from tests.support.pods import a_container, a_pod_body, an_unschedulable_pod_body


def record(body: dict[str, Any]) -> PodRecord:
    pod = parse_pod(body)
    assert pod is not None
    return pod


CRASH = a_container(
    waiting="CrashLoopBackOff", last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, restartCount=4
)
IMAGE = a_container(waiting="ImagePullBackOff", message='Back-off pulling image "shop/web:2.1"', image="shop/web:2.1")
CONFIG = a_container(waiting="CreateContainerConfigError", message='secret "web" not found')
RUNNING = a_container(state={"running": {"startedAt": "2026-06-17T12:00:00Z"}})
BETWEEN_CRASHES = RUNNING | {"lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}, "restartCount": 3}


@pytest.mark.parametrize(
    ("body", "cause", "fragments"),
    [
        (a_pod_body(CRASH), FailureCause.CRASH_LOOP, ["CrashLoopBackOff", "exit code 137 (OOMKilled)", "4 restarts"]),
        (a_pod_body(BETWEEN_CRASHES), FailureCause.CRASH_LOOP, ["a crash loop", "exit code 1"]),
        (a_pod_body(IMAGE), FailureCause.IMAGE_PULL, ["shop/web:2.1", "ImagePullBackOff"]),
        (a_pod_body(CONFIG), FailureCause.CONTAINER_NOT_CREATED, ['secret "web" not found']),
        (a_pod_body(RUNNING), FailureCause.PROBE_FAILING, ["run but are not ready"]),
        (
            an_unschedulable_pod_body("0/1 nodes are available: 1 Insufficient memory."),
            FailureCause.UNSCHEDULABLE,
            ["insufficient memory"],
        ),
    ],
)
def test_a_pod_that_is_not_ready_has_the_cause_that_its_status_shows(
    body: dict[str, Any], cause: FailureCause, fragments: list[str]
) -> None:
    diagnosis = diagnose_pods(PodReport((record(body),)))
    assert diagnosis is not None
    assert diagnosis.cause is cause
    for fragment in fragments:
        assert fragment in diagnosis.details


def test_a_pod_that_starts_has_no_cause() -> None:
    starting = a_container(waiting="ContainerCreating")
    assert pod_cause(record(a_pod_body(starting))) is None
    assert diagnose_pods(PodReport((record(a_pod_body(starting)),))) is None


def test_an_init_container_that_crashes_is_the_cause() -> None:
    body = a_pod_body(a_container(waiting="PodInitializing"))
    body["status"]["initContainerStatuses"] = [CRASH | {"name": "migrate"}]
    diagnosis = diagnose_pods(PodReport((record(body),)))
    assert diagnosis is not None
    assert diagnosis.cause is FailureCause.CRASH_LOOP
    assert "container migrate" in diagnosis.details


def test_the_most_frequent_cause_is_reported() -> None:
    pods = [record(a_pod_body(IMAGE)), record(a_pod_body(RUNNING)), record(a_pod_body(RUNNING))]
    diagnosis = diagnose_pods(PodReport(tuple(pods)))
    assert diagnosis is not None
    assert diagnosis.cause is FailureCause.PROBE_FAILING
    assert diagnosis.details.startswith("2 of 3 pods")


def test_the_kubelets_event_names_the_probe() -> None:
    event = PodEvent("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
    diagnosis = diagnose_pods(PodReport((record(a_pod_body(RUNNING)),), (event,)))
    assert diagnosis is not None
    assert "statuscode: 503" in diagnosis.details


def test_a_node_group_at_its_maximum_is_more_specific_than_unschedulable() -> None:
    pod = record(an_unschedulable_pod_body("0/4 nodes are available: 4 Insufficient cpu."))
    full = PodEvent("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached")
    other = PodEvent("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 node(s) didn't match Pod's node affinity")
    at_maximum, elsewhere = diagnose_pods(PodReport((pod,), (full,))), diagnose_pods(PodReport((pod,), (other,)))
    assert at_maximum is not None
    assert elsewhere is not None
    assert at_maximum.cause is FailureCause.NODE_GROUP_AT_MAXIMUM
    assert "max node group size reached" in at_maximum.details
    assert elsewhere.cause is FailureCause.UNSCHEDULABLE


def test_a_scheduler_message_names_its_resources_and_constraints() -> None:
    message = (
        "0/6 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {dedicated: batch}, "
        "1 node(s) didn't match Pod's node affinity/selector, 1 Too many pods. no new claims to deallocate, "
        "preemption: 0/6 nodes are available: 6 Preemption is not helpful for scheduling."
    )
    assert constraints(message) == [
        "insufficient nvidia.com/gpu",
        "untolerated taint {dedicated: batch}",
        "node affinity or selector",
        "pods per node",
    ]


@pytest.mark.parametrize(
    ("message", "cause", "fragment"),
    [
        (
            'pods "web-1" is forbidden: exceeded quota: few, requested: pods=1, used: pods=5, limited: pods=5',
            FailureCause.QUOTA,
            "exceeded quota: few (requested: pods=1, used: pods=5, limited: pods=5)",
        ),
        ("pods is forbidden: failed quota: memory: must specify memory", FailureCause.QUOTA, "memory"),
        ('admission webhook "policy" denied the request', FailureCause.REPLICAS_NOT_MADE, 'webhook "policy" denied'),
    ],
)
def test_refused_pods_name_the_quota_or_the_refusal(message: str, cause: FailureCause, fragment: str) -> None:
    diagnosis = diagnose_creation(message)
    assert diagnosis.cause is cause
    assert fragment in diagnosis.details
