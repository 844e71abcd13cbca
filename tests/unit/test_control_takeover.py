"""Ownership of the minimum: the original minimum is restored after changes of policies, targets and processes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.control.actuation import execution
from predictive_scaling.control.actuation.ownership import FINALIZER, path_of
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.control import World, a_policy_named, an_edited_policy

pytestmark = pytest.mark.usefixtures("logs")

OLDER, YOUNGER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


async def two_policies() -> World:
    """`older` acts on hpa/checkout, `younger` waits for it."""
    world = World(a_policy_named("older"))
    world.put(a_policy_named("older"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert world.target.minimum == 9
    return world


def takeover_of(world: World, name: str) -> dict[str, Any]:
    return world.policy(name)["status"].get("takeover", {})


def condition_of(world: World, name: str, type_: str) -> dict[str, Any]:
    conditions = world.policy(name)["status"]["conditions"]
    return next(condition for condition in conditions if condition["type"] == type_)


def policy_names(world: World) -> list[str]:
    return [key.name for key in world.records]


async def test_deleting_the_acting_policy_passes_its_takeover_on_without_lowering_the_floor() -> None:
    world = await two_policies()
    assert condition_of(world, "younger", "Conflict")["reason"] == "TargetHeldByPolicy"
    world.delete("older")
    await world.turn(1)
    assert policy_names(world) == ["younger"]
    assert world.target.minimum == 9
    assert takeover_of(world, "younger")["originalMinimum"] == 2
    assert condition_of(world, "younger", "Conflict")["status"] == "False"
    world.delete("younger")
    await world.turn(1)
    assert (policy_names(world), world.target.minimum) == ([], 2)


async def test_a_status_that_is_being_written_does_not_undo_a_takeover_that_is_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await two_policies()
    younger = f"{path_of(PolicyKey('shop', 'younger'))}/status"
    merge, edit, edited = world.cluster.merge, world.cluster.edit, list[str]()

    async def slow_merge(path: str, body: Any) -> Any:
        await asyncio.sleep(0.05)
        return await merge(path, body)

    async def slower_edit(path: str, operations: list[Any]) -> Any:
        await asyncio.sleep(0.2)
        edited.append(path)
        return await edit(path, operations)

    monkeypatch.setattr(world.cluster, "merge", slow_merge)
    monkeypatch.setattr(world.cluster, "edit", slower_edit)
    world.delete("older")
    await world.loop.run()
    assert younger in edited
    assert takeover_of(world, "younger")["originalMinimum"] == 2


async def test_deleting_a_waiting_policy_does_not_change_the_floor() -> None:
    world = await two_policies()
    world.delete("younger")
    await world.turn(2)
    assert (policy_names(world), world.target.minimum) == (["older"], 9)


@pytest.mark.parametrize("ending", ["deleted", "off", "recommend", "retargeted"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_an_older_policy_that_begins_to_act_inherits_the_original_minimum(ending: str, restarted: bool) -> None:
    world = World(a_policy_named("older", mode="Off"))
    world.put(a_policy_named("older", mode="Off"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert (world.target.minimum, takeover_of(world, "younger")["originalMinimum"]) == (9, 2)

    world.put(a_policy_named("older", generation=2), created_at=OLDER)
    if restarted:
        world.restart()
    await world.turn(4)
    assert takeover_of(world, "older")["originalMinimum"] == 2
    assert takeover_of(world, "younger") == {}
    assert condition_of(world, "younger", "Conflict")["status"] == "True"
    world.delete("younger")
    await world.turn(2)
    assert world.target.minimum == 9

    if ending == "deleted":
        world.delete("older")
    else:
        spec: dict[str, Any] = {"off": {"mode": "Off"}, "recommend": {"mode": "Recommend"}}.get(
            ending, {"target": "orders"}
        )
        world.targets["orders"] = InMemoryTarget(3, 40, 3, 3, uid="orders")
        world.put(a_policy_named("older", generation=3, **spec), created_at=OLDER)
    await world.turn(2)
    assert world.target.minimum == 2


async def test_a_policy_in_recommend_does_not_block_a_policy_in_auto() -> None:
    world = World(a_policy_named("older", mode="Recommend"))
    world.put(a_policy_named("older", mode="Recommend"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert world.target.minimum == 9
    assert condition_of(world, "older", "Conflict")["reason"] == "TargetHeldByPolicy"


async def test_a_policy_that_is_off_has_no_conflict_over_the_target_of_another() -> None:
    world = World(a_policy_named("older", mode="Off"))
    world.put(a_policy_named("older", mode="Off"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert world.target.minimum == 9
    assert condition_of(world, "older", "Conflict")["status"] == "False"
    assert condition_of(world, "older", "ScalingActive")["reason"] == "Off"


async def test_a_crash_while_a_takeover_is_passed_on_loses_nothing() -> None:
    world = await two_policies()
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    # Both policies have recorded the take-over; the older policy still has its finalizer.
    younger = world.policy("younger")
    younger["status"]["takeover"] = dict(takeover_of(world, "older"))
    younger["status"]["target"] = "hpa/checkout"
    younger["metadata"]["finalizers"] = [FINALIZER]
    world.sync()
    world.delete("older")
    world.restart()
    await world.turn(2)
    assert (policy_names(world), world.target.minimum) == (["younger"], 9)
    world.delete("younger")
    await world.turn(2)
    assert (policy_names(world), world.target.minimum) == ([], 2)


async def test_a_policy_retargeted_and_deleted_at_once_restores_its_new_target() -> None:
    world = World()
    await world.turn(20)
    old, new = world.target, InMemoryTarget(3, 40, 3, 3, uid="orders")
    world.targets["orders"] = new
    world.put(an_edited_policy(generation=2, target="orders"))
    await world.loop.run()
    assert (old.minimum, new.minimum) == (2, 6)
    assert world.policy()["metadata"]["finalizers"] == [FINALIZER]
    world.delete("checkout")
    await world.turn(1)
    assert (world.records, new.minimum) == ({}, 3)


async def test_a_removed_finalizer_is_added_again_before_the_next_write() -> None:
    world = World()
    await world.turn(1)
    del world.policy()["metadata"]["finalizers"]
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.policy()["metadata"]["finalizers"] == [FINALIZER]


class Killed(BaseException):
    """Ends a process; no handler of errors catches it."""


async def kill_at(world: World, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process at a failpoint."""

    def reached(name: str) -> None:
        if name == point:
            raise Killed

    monkeypatch.setattr(execution, "failpoint", reached)
    with pytest.raises(BaseExceptionGroup):
        await world.turn(2)
    monkeypatch.undo()
    world.sync()


@pytest.mark.parametrize("generation", [1, 2])
async def test_a_minimum_set_after_a_crash_between_write_and_record_is_respected(
    monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    world = World()
    if generation == 2:
        await world.turn(1, step=timedelta())
        world = World()
        world.put(an_edited_policy(generation=2), status={"observedGeneration": 1})
    await kill_at(world, "operator.after_apply", monkeypatch)
    assert world.target.minimum == 4
    world.target.foreign_write(3)
    world.restart()
    await world.turn(20)
    assert world.target.minimum == 3
    assert world.condition("Conflict")["reason"] == "ForeignWriter"
    assert takeover_of(world, "checkout")["originalMinimum"] == 2


async def test_a_crash_before_the_first_write_is_no_conflict_with_the_previous_manager(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await kill_at(world, "operator.after_intent", monkeypatch)
    assert (world.target.minimum, takeover_of(world, "checkout")["written"]) == (2, True)
    world.restart()
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"


async def test_a_crash_after_a_resume_restores_the_minimum_that_the_user_had_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/resume": "1"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await kill_at(world, "operator.after_apply", monkeypatch)
    world.restart()
    await world.turn(2)
    world.delete("checkout")
    await world.turn(2)
    assert world.target.minimum == 3


async def test_a_resume_annotation_of_any_length_is_acted_on_once() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    annotations = {"predictive-scaling.io/resume": "resume " * 1000}
    metadata = record.policy.metadata.model_copy(update={"annotations": annotations})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await world.turn(20)
    assert world.target.minimum == 9
    assert len(takeover_of(world, "checkout")["resume"]) <= 253
    world.target.foreign_write(4)
    world.restart()
    await world.turn(8)
    assert world.target.minimum == 4


async def test_a_released_field_is_written_again_at_once_and_the_original_minimum_is_kept() -> None:
    world = World()
    await world.turn(20)
    world.target.give_up()
    assert world.target.minimum == 1
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"
    newest = list(world.decisions.rows.values())[-1]
    assert (newest.from_replicas, newest.to_replicas, newest.reason) == (1, 9, "FieldGivenUp")
    assert newest.message is not None
    assert "minimum of 1 is the API default" in newest.message

    world.delete("checkout")
    await world.turn(1)
    assert world.target.minimum == 2


async def test_releasing_the_field_ends_a_conflict() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    assert world.condition("Conflict")["status"] == "True"
    world.target.give_up()
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"


async def test_a_paused_policy_does_not_write_a_released_field() -> None:
    world = World()
    await world.turn(20)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/paused": "true"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    world.target.give_up()
    await world.turn(4)
    assert world.target.minimum == 1


async def test_an_hpa_without_a_minimum_is_raised_in_steps() -> None:
    world = World()
    world.target.give_up()
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 2
    await world.turn(20)
    assert world.target.minimum == 9
    world.delete("checkout")
    await world.turn(1)
    assert world.target.minimum == 1


async def test_the_status_of_a_waiting_policy_names_the_policy_that_holds_the_target() -> None:
    world = await two_policies()
    assert "ScalingPolicy shop/older" in condition_of(world, "younger", "Conflict")["message"]
    assert "takeover" not in world.policy("younger")["status"]
    assert path_of(PolicyKey("shop", "younger")) in world.cluster.objects


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_maximum_lowered_below_the_floor_lowers_it_without_a_conflict_and_raises_it_again(
    restarted: bool,
) -> None:
    world = World()
    await world.turn(20)
    assert world.target.minimum == 9
    world.target.lower_maximum(4)
    if restarted:
        world.restart()
    await world.turn(4)
    assert (world.target.minimum, world.condition("Conflict")["status"]) == (4, "False")
    assert world.condition("ScalingLimited")["status"] == "True"
    assert world.phases[-1] == "Superseded"
    assert "Failed" not in world.phases
    world.target.maximum = 40
    await world.turn(20)
    assert world.target.minimum == 9
    world.target.lower_maximum(6)
    world.delete("checkout")
    await world.turn(2)
    assert (policy_names(world), world.target.minimum) == ([], 2)


async def test_a_lowered_maximum_limits_the_restored_minimum() -> None:
    world = World()
    await world.turn(20)
    world.target.lower_maximum(1)
    await world.turn(2)
    world.delete("checkout")
    await world.turn(2)
    assert (policy_names(world), world.target.minimum) == ([], 1)
