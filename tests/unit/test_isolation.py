"""Invalid objects in one namespace never delay the policies of another; the manifests are those of the watch."""

from datetime import timedelta
from typing import Any

import pytest
from structlog.typing import EventDict

from predictive_scaling.cluster import reviewed_objects
from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord
from predictive_scaling.cluster.reviewed_objects import event_record, policy_record
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, an_event
from tests.support.control import World
from tests.support.in_memory_ports import ObservedOccurrences

pytestmark = pytest.mark.usefixtures("logs")

RULES = (
    "FREQ=DAILY;INTERVAL=0",
    "FREQ=MONTHLY;INTERVAL=0",
    "FREQ=DAILY;INTERVAL=-1",
    "FREQ=DAILY;INTERVAL=99999999999",
    "FREQ=MONTHLY;BYDAY=60MO",
    "FREQ=HOURLY;BYHOUR=99",
    "FREQ=DAILY;UNTIL=99991231T235959Z",
    "FREQ=MONTHLY;BYDAY=5FR;BYMONTHDAY=1",
    "FREQ=MONTHLY;BYMONTHDAY=0",
    "FREQ=DAILY;BYSETPOS=0",
    "FREQ=SECONDLY",
    "",
)
TIMES = (
    {"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:59-12:00"},
    {"start": "9999-12-31T00:00:00Z", "end": "9999-12-31T23:59:59Z", "rampDown": "24h"},
    {"start": "2199-12-31T00:00:00Z", "end": "2199-12-31T23:59:59Z", "rampDown": "24h"},
    {"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:00:01Z", "rampUp": "24h"},
    {"start": 5, "end": None},
    {},
)
METADATA = ({"creationTimestamp": "9999-12-31T23:59:59Z"}, {"creationTimestamp": "yesterday"}, {"generation": None})


def an_event_body(number: int, spec: Any, **metadata: Any) -> dict[str, Any]:
    known = {"name": f"bad-{number}", "namespace": "bad", "uid": f"bad-{number}", "resourceVersion": "1"}
    body: dict[str, Any] = {"kind": "BusinessEvent", "metadata": known | metadata, "spec": spec}
    return body


def bad_events() -> list[EventRecord]:
    """A record for each invalid input, as the index handler keeps it."""
    all_policies = {"policies": {"all": True}, "type": "sale"}
    recurrence = {"timezone": "UTC", "start": "18:00", "duration": "168h"}
    specs: list[Any] = [all_policies | {"recurrence": recurrence | {"rrule": rule}} for rule in RULES]
    specs += [
        all_policies | {"recurrence": recurrence | {"rrule": "FREQ=DAILY", "from": day}} for day in ("9999-12-31", 7)
    ]
    specs += [all_policies | {"recurrence": recurrence | {"rrule": "FREQ=DAILY", "timezone": "Factory"}}]
    specs += [all_policies | times for times in TIMES]
    specs += [None, [], "no spec", {"policies": {"all": True}, "\ud800": "\ud800"}]
    bodies = [an_event_body(number, spec) for number, spec in enumerate(specs)]
    bodies += [an_event_body(100 + number, specs[0], **metadata) for number, metadata in enumerate(METADATA)]
    return [event_record(body) for body in bodies]


def bad_policies() -> list[PolicyRecord]:
    good: dict[str, Any] = {
        "target": {"horizontalPodAutoscaler": {"name": "nowhere"}},
        "demand": {"metric": "requests_per_second"},
        "replicas": {"max": 10},
    }
    specs: list[Any] = [
        None,
        {},
        good | {"forecast": {"timezone": "localtime"}},
        good | {"replicas": {"min": 5, "max": 2}},
        good | {"target": {"workload": {"apiVersion": "v9", "kind": "Nothing", "name": "x"}}},
        good,
    ]
    bad_annotations = {
        f"predictive-scaling.io/{name}": "1\u0000" for name in ("pin", "resume", "freeze-until", "direction")
    }
    records: list[PolicyRecord] = []
    for number, spec in enumerate(specs):
        name = f"bad-{number}"
        metadata = {
            "name": name,
            "namespace": "bad",
            "uid": name,
            "resourceVersion": "1",
            "annotations": bad_annotations,
        }
        body: Any = {"metadata": metadata, "spec": spec}
        records.append(policy_record(body))
    return records


def test_an_unreadable_event_is_a_record_with_its_problem() -> None:
    records = bad_events()
    valid = [record.name for record in records if record.problem is None]
    assert valid == ["bad-17", "bad-18"], "times at the edges of the calendar are valid"
    assert all((record.event is None) == (record.problem is not None) for record in records)
    assert all(record.problem.message for record in records if record.problem)


def test_an_unreadable_policy_is_a_record_with_its_problem() -> None:
    records = bad_policies()
    assert [record.problem is None for record in records] == [False, False, False, False, True, True]


def test_a_failing_review_is_a_problem_of_its_object(monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]) -> None:
    def failing(body: Any) -> BusinessEvent:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(reviewed_objects, "review_event", failing)
    record = event_record(an_event_body(1, {}))
    assert record.problem is not None
    assert record.problem.reason == "InternalError"
    assert "RecursionError" in record.problem.message
    assert [log["object"] for log in logs if log["event"] == "review_failed"] == ["bad/bad-1"]


def a_world() -> World:
    """shop/checkout, and an invalid object of every kind in another namespace."""
    world = World()
    for event in bad_events():
        world.event_records[event.namespace, event.name] = [event]
    # An event that passed the review but fails in every later step.
    broken = an_event().model_copy(update={"spec": None})
    world.event_records["bad", "broken"] = [EventRecord("bad", "broken", "broken", 1, 1, NOON, {}, broken)]
    for policy in bad_policies():
        world.records[policy.key] = [policy]
    target = InMemoryTarget(minimum=2, maximum=1, replicas=0, ready_replicas=7)
    world.targets["nowhere"] = target
    return world


async def test_invalid_objects_of_a_namespace_delay_no_policy_of_another() -> None:
    world = a_world()
    sale = an_event(start=NOON + timedelta(minutes=2), end=NOON + timedelta(hours=1), expect={"minReplicas": 20})
    world.event_records["shop", "sale"] = [EventRecord("shop", "sale", "sale", 1, 1, NOON, {}, sale)]
    await world.turn(2)
    assert world.target.minimum > 2
    assert world.status["floor"] > 2
    await world.turn(20)
    assert world.target.minimum == 20


async def test_invalid_events_are_stalled_with_their_reason_and_valid_events_are_not() -> None:
    world = a_world()
    sale = an_event(start=NOON + timedelta(minutes=2), end=NOON + timedelta(hours=1))
    world.event_records["shop", "sale"] = [EventRecord("shop", "sale", "sale", 1, 1, NOON, {}, sale)]
    root = "/apis/predictive-scaling.io/v1alpha1/namespaces"
    for namespace, name in world.event_records:
        path = f"{root}/{namespace}/businessevents/{name}"
        world.cluster.objects[path] = {"metadata": {"name": name, "resourceVersion": "1"}}
    job = BusinessEventController(world.cluster, world.informer_cache, ObservedOccurrences(), world.clock, lambda: True)
    await world.leadership.campaign()
    await job.run()

    def stalled(namespace: str, name: str) -> tuple[str, str]:
        status = world.cluster.objects[f"{root}/{namespace}/businessevents/{name}"]["status"]
        condition = next(condition for condition in status["conditions"] if condition["type"] == "Stalled")
        return condition["status"], condition["reason"]

    for (namespace, name), (record,) in world.event_records.items():
        problem = record.problem.reason if record.problem else None
        expected = "InternalError" if name == "broken" else problem
        assert stalled(namespace, name) == (("True", expected) if expected else ("False", "Accepted")), name
