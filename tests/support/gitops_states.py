"""The states of the custom resources, with what Argo CD and kstatus say about an object in each of them.

Each state has an object of a real cluster in examples/argocd/resource_customizations. The end-to-end tests bring
objects into these states; with UPDATE_TESTDATA=1 they write them there.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tests.support.argo_cd import CUSTOMIZATIONS, health
from tests.support.eventually import eventually
from tests.support.kstatus import KStatus, kstatus

Json = dict[str, Any]


@dataclass(frozen=True)
class State:
    """What clients say about an object in this state. reached: a condition or a phase that shows the state."""

    health: str
    kstatus: KStatus
    reached: tuple[str, ...] = ()


_CREATED = State("Progressing", KStatus.CURRENT)
"""The API server has no default for a status: before the first visit nothing says that the object is new."""
_EDITED = State("Progressing", KStatus.IN_PROGRESS)

STATES: dict[tuple[str, str], State] = {
    ("ScalingPolicy", "created"): _CREATED,
    ("ScalingPolicy", "edited"): _EDITED,
    ("ScalingPolicy", "auto"): State("Healthy", KStatus.CURRENT, ("Verified", "True", "ReplicasReady")),
    ("ScalingPolicy", "recommend"): State("Healthy", KStatus.CURRENT, ("ScalingActive", "False", "Recommend")),
    ("ScalingPolicy", "off"): State("Healthy", KStatus.CURRENT, ("ScalingActive", "False", "Off")),
    ("ScalingPolicy", "fallback"): State("Healthy", KStatus.CURRENT, ("Fallback", "True", "HoldFloor")),
    ("ScalingPolicy", "suspended"): State("Suspended", KStatus.CURRENT, ("Paused", "True", "Suspended")),
    ("ScalingPolicy", "pinned"): State("Suspended", KStatus.CURRENT, ("Paused", "True", "Pinned")),
    ("ScalingPolicy", "held_target"): State("Degraded", KStatus.CURRENT, ("Conflict", "True", "TargetHeldByPolicy")),
    ("ScalingPolicy", "foreign_writer"): State("Degraded", KStatus.CURRENT, ("Conflict", "True", "ForeignWriter")),
    ("ScalingPolicy", "target_missing"): State("Degraded", KStatus.IN_PROGRESS, ("Ready", "False", "TargetNotFound")),
    ("ScalingPolicy", "refused"): State("Degraded", KStatus.IN_PROGRESS, ("Ready", "False", "Refused")),
    ("ScalingPolicy", "stalled"): State("Degraded", KStatus.FAILED, ("Stalled", "True", "InvalidTimezone")),
    ("BusinessEvent", "created"): _CREATED,
    ("BusinessEvent", "edited"): _EDITED,
    ("BusinessEvent", "scheduled"): State("Healthy", KStatus.CURRENT, ("Scheduled",)),
    ("BusinessEvent", "active"): State("Healthy", KStatus.CURRENT, ("Active",)),
    ("BusinessEvent", "finished"): State("Healthy", KStatus.CURRENT, ("Finished",)),
    ("BusinessEvent", "stalled"): State("Degraded", KStatus.FAILED, ("Stalled", "True", "InvalidTimezone")),
    ("ScalingDecision", "recommended"): State("Healthy", KStatus.CURRENT, ("Recommended",)),
    ("ScalingDecision", "succeeded"): State("Healthy", KStatus.CURRENT, ("Succeeded",)),
    ("ScalingDecision", "failed"): State("Degraded", KStatus.CURRENT, ("Failed",)),
    ("ScalingBacktest", "created"): _CREATED,
    ("ScalingBacktest", "pending"): State("Progressing", KStatus.IN_PROGRESS, ("Pending",)),
    ("ScalingBacktest", "running"): State("Progressing", KStatus.IN_PROGRESS, ("Running",)),
    ("ScalingBacktest", "succeeded"): State("Healthy", KStatus.CURRENT, ("Complete", "True", "Completed")),
    ("ScalingBacktest", "failed"): State("Degraded", KStatus.FAILED, ("Failed", "True", "PolicyNotFound")),
}
KINDS = sorted({kind for kind, _ in STATES})


def is_in(name: str, body: Json) -> bool:
    """Whether the object is in the state with this name."""
    status, reached = body.get("status") or {}, STATES[body["kind"], name].reached
    if name == "created":
        return not status
    if name == "edited":
        return status["observedGeneration"] < body["metadata"]["generation"]
    if len(reached) == 1:
        return status.get("phase") == reached[0]
    conditions = status.get("conditions", ())
    return reached in [(condition["type"], condition["status"], condition["reason"]) for condition in conditions]


async def assert_reaches(name: str, read: Callable[[], Awaitable[Json]], seconds: float = 40) -> None:
    """Wait until the object is in a state of which Argo CD and kstatus say what they should."""

    async def assert_current_state() -> bool:
        assert_state(name, await read())
        return True

    # A request that fails for a moment shows in other conditions of the same object.
    await eventually(assert_current_state, seconds=seconds)


def assert_state(name: str, body: Json) -> None:
    """Assert that the object is in a state, and what Argo CD and kstatus say about it."""
    assert is_in(name, body), body
    expected, kind = STATES[body["kind"], name], body["kind"]
    assert (health(body)["status"], kstatus(body)) == (expected.health, expected.kstatus), body.get("status")
    if os.environ.get("UPDATE_TESTDATA"):
        _write(kind, name, body)


def recorded_object(kind: str, name: str) -> Json:
    """Return the recorded object of a state."""
    return yaml.safe_load((CUSTOMIZATIONS / kind / "testdata" / f"{name}.yaml").read_text())


def _write(kind: str, name: str, body: Json) -> None:
    body["metadata"].pop("managedFields", None)
    text = yaml.safe_dump(body, sort_keys=False, width=120).replace(body["metadata"]["namespace"], "shop")
    folder = CUSTOMIZATIONS / kind
    (folder / "testdata" / f"{name}.yaml").write_text(text)
    recorded = [name for other, name in STATES if other == kind and (folder / "testdata" / f"{name}.yaml").exists()]
    tests = [
        {"healthStatus": health(recorded_object(kind, name)), "inputPath": f"testdata/{name}.yaml"} for name in recorded
    ]
    (folder / "health_test.yaml").write_text(yaml.safe_dump({"tests": tests}, sort_keys=False, width=120))
