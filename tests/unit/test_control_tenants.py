"""Namespaces with many policies or events: order of a tick, limits, and what others notice of them."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.jobs.training import TrainingScheduler
from predictive_scaling.control.loop import Loop
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, an_event
from tests.support.control import World, a_policy_named

pytestmark = pytest.mark.usefixtures("logs")


def a_policy_of(namespace: str, name: str, **spec: Any) -> ScalingPolicy:
    """ScalingPolicy NAMESPACE/NAME on an HPA of both names."""
    policy = a_policy_named(name, target=f"{namespace}-{name}", **spec)
    changed = {"namespace": namespace, "uid": f"{namespace}/{name}"}
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update=changed)})


def add(world: World, policy: ScalingPolicy, *, age_seconds: int = 0) -> InMemoryTarget:
    """Create a policy and its target; a greater age is older."""
    target = InMemoryTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    world.targets[policy.spec.target.name] = target
    world.put(policy, created_at=NOON - timedelta(seconds=age_seconds))
    return target


def conditions(world: World, namespace: str, name: str) -> dict[str, dict[str, str]]:
    status = world.cluster.objects[path_of(PolicyKey(namespace, name))]["status"]
    return {condition["type"]: condition for condition in status["conditions"]}


def crowded(count: int = 30) -> World:
    """Namespace `crowd` has many policies that are listed before the two of `quiet`."""
    world = World()
    world.records.clear()
    for number in range(count):
        add(world, a_policy_of("crowd", f"p{number:02}"))
    for name in ("a", "b"):
        add(world, a_policy_of("quiet", name))
    return world


class Fleeting:
    """A leadership that ends after some policies."""

    def __init__(self, reach: int) -> None:
        self.reach, self.reached = reach, list[str]()

    @property
    def leads(self) -> bool:
        return len(self.reached) < self.reach


def reaching(world: World, monkeypatch: pytest.MonkeyPatch, reach: int) -> Fleeting:
    """Let the next tick reach some policies only, one after the other, and record which."""
    leadership = Fleeting(reach)

    async def reconcile(_: Loop, record: PolicyRecord, *__: object) -> None:
        leadership.reached.append(str(record.key))

    monkeypatch.setattr(Loop, "_reconcile", reconcile)
    monkeypatch.setattr(world.loop, "leadership", leadership)
    monkeypatch.setattr(world.loop, "in_flight", 1)
    return leadership


async def test_a_tick_reaches_a_namespace_before_the_second_round_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    world = crowded()
    leadership = reaching(world, monkeypatch, 100)
    await world.loop.tick()
    assert len(leadership.reached) == 32
    assert leadership.reached[:5] == ["crowd/p00", "quiet/a", "crowd/p01", "quiet/b", "crowd/p02"]


async def test_ticks_that_are_cut_short_reach_every_policy_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    world, counts = crowded(10), Counter[str]()
    for _ in range(4):
        leadership = reaching(world, monkeypatch, 3)
        await world.loop.tick()
        counts.update(leadership.reached)
    quiet = {key: count for key, count in counts.items() if key.startswith("quiet/")}
    # Half of the twelve, and no policy of the crowd twice.
    assert quiet == {"quiet/a": 3, "quiet/b": 3}
    assert [count for key, count in counts.items() if key.startswith("crowd/")] == [1] * 6


async def test_only_the_oldest_policies_of_a_namespace_act_and_the_others_say_why() -> None:
    world = World(max_policies_per_namespace=2)
    world.records.clear()
    targets = {
        name: add(world, a_policy_of("crowd", name), age_seconds=age) for name, age in (("c", 3), ("b", 2), ("a", 1))
    }
    alone = add(world, a_policy_of("quiet", "z"))
    await world.turn(20)
    assert [targets[name].minimum for name in ("c", "b", "a")] == [9, 9, 2]
    assert alone.minimum == 9
    stalled = conditions(world, "crowd", "a")["Stalled"]
    assert (stalled["status"], stalled["reason"]) == ("True", "NamespaceLimitExceeded")
    assert "namespace crowd has more than 2 ScalingPolicies" in stalled["message"]
    assert "PREDICTIVE_SCALING_MAX_POLICIES_PER_NAMESPACE" in stalled["message"]
    assert conditions(world, "crowd", "b")["Stalled"]["status"] == "False"
    # The next oldest moves up.
    del world.records[PolicyKey("crowd", "c")], world.cluster.objects[path_of(PolicyKey("crowd", "c"))]
    await world.turn(20)
    assert targets["a"].minimum == 9
    assert conditions(world, "crowd", "a")["Stalled"]["status"] == "False"


async def test_a_policy_beyond_a_lowered_limit_holds_its_floor_until_it_leaves_auto() -> None:
    world = World()
    world.records.clear()
    add(world, a_policy_of("crowd", "old"), age_seconds=9)
    newer = add(world, a_policy_of("crowd", "new"))
    await world.turn(20)
    assert newer.minimum == 9
    world.settings = world.settings.model_copy(update={"max_policies_per_namespace": 1})
    world.restart()
    await world.turn(20)
    assert newer.minimum == 9
    key = PolicyKey("crowd", "new")
    (record,) = world.records[key]
    world.records[key] = [replace(record, generation=2, policy=a_policy_of("crowd", "new", mode="Recommend"))]
    await world.turn(2)
    assert newer.minimum == 2


def an_event_of(namespace: str, name: str) -> BusinessEvent:
    event = an_event(name, NOON, NOON + timedelta(hours=2), expect={"minReplicas": 20})
    return event.model_copy(update={"metadata": event.metadata.model_copy(update={"namespace": namespace})})


def put_event(world: World, namespace: str, name: str, age_seconds: int) -> None:
    created = NOON - timedelta(seconds=age_seconds)
    record = EventRecord(namespace, name, f"{namespace}/{name}", 1, 1, created, {}, an_event_of(namespace, name))
    world.event_records[namespace, name] = [record]


async def test_only_the_oldest_events_of_a_namespace_act() -> None:
    world = World(max_events_per_namespace=1)
    world.records.clear()
    quiet, crowd = add(world, a_policy_of("quiet", "z")), add(world, a_policy_of("crowd", "z"))
    put_event(world, "crowd", "newer", 1)
    put_event(world, "quiet", "sale", 1)
    records = {record.name: record for record in world.informer_cache.events()}
    assert all(record.problem is None for record in records.values())
    put_event(world, "crowd", "older", 2)
    records = {record.name: record for record in world.informer_cache.events()}
    assert {name: record.event is not None for name, record in records.items()} == {
        "newer": False,
        "sale": True,
        "older": True,
    }
    problem = records["newer"].problem
    assert problem is not None
    assert problem.reason == "NamespaceLimitExceeded"
    assert "PREDICTIVE_SCALING_MAX_EVENTS_PER_NAMESPACE" in problem.message
    await world.turn(20)
    assert (quiet.minimum, crowd.minimum) == (20, 20)


async def test_events_of_another_namespace_are_not_looked_at_for_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    world = crowded(1)
    for number in range(50):
        put_event(world, "crowd", f"sale-{number}", number)
    put_event(world, "quiet", "sale", 1)
    asked: list[tuple[str, str]] = []
    selects = BusinessEvent.selects

    def recorded(event: BusinessEvent, namespace: str, labels: dict[str, str]) -> bool:
        asked.append((event.metadata.namespace, namespace))
        return selects(event, namespace, labels)

    monkeypatch.setattr(BusinessEvent, "selects", recorded)
    await world.turn(2)
    assert asked
    assert {event == policy for event, policy in asked} == {True}


async def test_trainings_take_turns_between_namespaces(tmp_path: Path) -> None:
    world = crowded(6)
    await world.turn(2)
    trained: list[str] = []

    async def train(key: SeriesKey, _: bool) -> bool:
        trained.append(key.service)
        return False

    models = ModelStore(tmp_path / "models", timeout_seconds=60)
    job = TrainingScheduler(
        *(models, world.window, world.states, world.informer_cache, world.events, NoOccurrences(), world.clock),
        interval=timedelta(days=1),
        trains=True,
        train=train,
    )
    for _ in range(5):
        await job.run()
    # The shared model, which serves all, is among them.
    assert [service for service in trained if len(service) <= 3] == ["p00", "a", "p01", "b"]


class NoOccurrences:
    """The table business_events, empty."""

    async def between(self, since: datetime, until: datetime) -> list[BusinessEventRow]:
        del since, until
        return []
