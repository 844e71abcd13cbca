"""After a restart, learned values are used only for the target and the demand that they are about (semantics 32)."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import a_policy
from tests.support.control import World, an_edited_policy


@dataclass(slots=True)
class HalfUtilizedTarget(InMemoryTarget):
    """A target whose utilization is 50 %."""

    async def observe(self) -> Any:
        return replace(await InMemoryTarget.observe(self), utilization=0.5)


async def a_world_that_learned() -> World:
    world = World(a_policy(demand={"perReplica": "Auto"}))
    world.target = world.targets["checkout"] = HalfUtilizedTarget(2, 40, 2, 2)
    await world.turn(60)
    assert world.status["perReplica"] == "880"
    return world


async def test_a_capacity_is_kept_over_a_restart() -> None:
    world = await a_world_that_learned()
    world.restart()
    await world.turn(2)
    assert world.status["perReplica"] == "880"


async def test_what_was_learned_about_a_target_is_not_used_for_another() -> None:
    world = await a_world_that_learned()
    world.target.uid = "re-created"
    world.restart()
    await world.turn(2)
    assert "perReplica" not in world.status


async def test_a_capacity_is_not_used_for_another_metric() -> None:
    world = await a_world_that_learned()
    world.restart()
    world.put(an_edited_policy(generation=2, demand={"metric": "queued_jobs", "perReplica": "Auto"}))
    await world.turn(2)
    assert "perReplica" not in world.status


async def test_restored_starts_count_for_the_release_that_runs() -> None:
    world = World(a_policy())
    await world.turn(2)
    (record,) = next(iter(world.records.values()))

    def learn(starts: int, took: timedelta) -> None:
        for _ in range(starts):
            world.loop.reconciler.situations.learning.learn_start(
                record, world.target.uid, took, with_new_node=took > timedelta(minutes=5), release=world.target.template
            )

    learn(6, timedelta(minutes=6))
    await world.turn(2)
    world.restart()
    await world.turn(1)
    learn(3, timedelta(seconds=30))
    await world.turn(2)
    assert world.status["leadTime"] == "6m"
