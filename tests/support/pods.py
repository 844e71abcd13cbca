"""Pods as the API server returns them, with the fields that show why they are not ready."""

from datetime import datetime
from typing import Any

from tests.support.builders import NOON

Json = dict[str, Any]


def a_container(
    *, waiting: str = "", message: str = "", state: Json | None = None, last: Json | None = None, **fields: Any
) -> Json:
    """Return the status of a container that is not ready."""
    if state is None:
        state = {"waiting": {"reason": waiting, "message": message}}
    return {"name": "web", "image": "shop/web:1", "ready": False, "state": state, "lastState": last or {}} | fields


def a_pod_body(
    *containers: Json, name: str = "web-1", ready: bool = False, created_at: datetime = NOON, phase: str = "Running"
) -> Json:
    """Return a scheduled pod."""
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": "True" if ready else "False"},
    ]
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-of-{name}",
            "resourceVersion": "1",
            "creationTimestamp": created_at.isoformat(),
        },
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": list(containers)},
    }


def an_unschedulable_pod_body(message: str, *, name: str = "web-1", created_at: datetime = NOON) -> Json:
    """Return a pod without a node, with the scheduler's message."""
    body = a_pod_body(name=name, created_at=created_at, phase="Pending")
    body["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]
    return body


def a_crashing_pod_body(name: str, created_at: datetime) -> Json:
    """Return a pod in CrashLoopBackOff with exit code 1."""
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    return a_pod_body(
        a_container(waiting="CrashLoopBackOff", last=ended, restartCount=3), name=name, created_at=created_at
    )
