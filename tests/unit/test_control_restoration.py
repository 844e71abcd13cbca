"""Foreign writes, deletions and changes of the target: when the original minimum is restored."""

from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.control.actuation import restoration as restore
from predictive_scaling.control.actuation.ownership import FINALIZER, path_of
from predictive_scaling.decision.review import Problem
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import a_policy
from tests.support.control import World, an_edited_policy

pytestmark = pytest.mark.usefixtures("logs")

MINUTE = timedelta(minutes=1)
KEY = PolicyKey("shop", "checkout")


async def test_a_foreign_write_is_kept_until_a_user_resumes_the_policy() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(8)
    assert world.target.minimum == 3
    conflict = world.condition("Conflict")
    assert (conflict["status"], conflict["reason"]) == ("True", "ForeignWriter")
    assert world.condition("Ready")["status"] == "True"

    world.put(a_policy(annotations={"predictive-scaling.io/resume": "1"}))
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"
    assert world.status["takeover"]["originalMinimum"] == 3


async def test_a_conflict_is_kept_after_a_restart() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    world.restart()
    await world.turn(8)
    assert world.target.minimum == 3
    assert world.condition("Conflict")["status"] == "True"


async def test_an_edit_of_the_policy_ends_a_conflict() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    world.put(an_edited_policy(generation=2, max=39))
    await world.turn(20)
    assert world.target.minimum == 9


async def test_a_deletion_restores_the_original_minimum_and_removes_the_finalizer() -> None:
    world = World()
    await world.turn(20)
    (record,) = world.records[KEY]
    world.records[KEY] = [replace(record, deleted=True)]
    await world.loop.run()
    assert world.target.minimum == 2
    assert "finalizers" not in world.cluster.objects[path_of(KEY)]["metadata"]


async def test_a_deletion_removes_the_finalizer_when_the_target_does_not_exist() -> None:
    world = World()
    await world.turn(20)
    world.target.exists = False
    (record,) = world.records[KEY]
    world.records[KEY] = [replace(record, deleted=True)]
    await world.loop.run()
    assert "finalizers" not in world.cluster.objects[path_of(KEY)]["metadata"]


async def test_a_deletion_waits_for_an_unavailable_target_but_not_indefinitely(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    world.target.reachable = False
    (record,) = world.records[KEY]
    world.records[KEY] = [replace(record, deleted=True)]
    seconds = 1000.0
    monkeypatch.setattr(restore, "monotonic", lambda: seconds)
    await world.loop.run()
    assert world.cluster.objects[path_of(KEY)]["metadata"]["finalizers"] == [FINALIZER]
    seconds += restore.TIMEOUT_SECONDS + 1
    await world.loop.run()
    assert "finalizers" not in world.cluster.objects[path_of(KEY)]["metadata"]


async def test_leaving_auto_restores_the_original_minimum() -> None:
    world = World()
    await world.turn(20)
    world.put(an_edited_policy(generation=2, mode="Off"))
    await world.turn(2)
    assert world.target.minimum == 2
    assert "takeover" not in world.status


async def test_a_change_of_the_target_restores_the_previous_target() -> None:
    world = World()
    await world.turn(20)
    old = world.target
    world.targets["orders"] = world.target = InMemoryTarget(3, 40, 3, 3, uid="orders")
    world.put(an_edited_policy(generation=2, target="orders"))
    await world.turn(20)
    assert (old.minimum, world.target.minimum) == (2, 9)
    assert world.status["takeover"]["originalMinimum"] == 3


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_minimum_is_restored_after_an_edit_that_made_the_spec_invalid(restarted: bool) -> None:
    world = World()
    await world.turn(20)
    invalid = {"policy": None, "problem": Problem("InvalidSpec", "spec.target names no target"), "generation": 2}
    world.records[KEY] = [replace(world.records[KEY][0], **invalid)]
    await world.turn(2)
    assert world.condition("Stalled")["status"] == "True"
    assert world.status["target"] == "hpa/checkout"
    if restarted:
        world.restart()
        await world.turn()
    world.delete("checkout")
    await world.turn(3)
    assert world.target.minimum == 2
    assert path_of(KEY) not in world.cluster.objects


async def test_a_scaled_object_is_restored_after_a_restart_and_another_target() -> None:
    world = World(a_policy(target={"scaledObject": {"name": "queue"}}))
    queue = world.targets["queue"] = InMemoryTarget(2, 40, 2, 2, uid="queue")
    await world.turn(20)
    assert queue.minimum == 9
    world.restart()
    world.put(an_edited_policy(generation=2))
    await world.turn(4)
    assert queue.minimum == 2
    assert world.status["target"] == "hpa/checkout"
