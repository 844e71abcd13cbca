"""Writes that the API server refuses: the reason is reported, and the operator tries again."""

from typing import Any

import pytest

from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.control.actuation import restoration as restore
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.errors import TargetRefusedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.control import World, an_edited_policy

pytestmark = pytest.mark.usefixtures("logs")


class Refusing(InMemoryTarget):
    """Refuses writes of values below `refuses_below`."""

    refuses_below: int = 1000
    attempts: int = 0

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if floor < self.refuses_below:
            self.attempts += 1
            raise TargetRefusedError(f"denied the value {floor}; ask the admission policy's owner")
        return await InMemoryTarget.apply(self, floor, take=take)

    async def restore(self, floor: int) -> None:
        if floor < self.refuses_below:
            raise TargetRefusedError(f"denied the value {floor}")
        await InMemoryTarget.restore(self, floor)


def replace_with_refusing(world: World, below: int) -> Refusing:
    """Replace the target of the world by a target that refuses lower values."""
    target = Refusing(
        world.target.minimum, 40, world.target.replicas, world.target.ready_replicas, managers=world.target.managers
    )
    target.refuses_below = below
    world.targets["checkout"] = world.target = target
    return target


async def test_a_refused_write_reports_the_reason_and_the_current_floor_until_it_succeeds() -> None:
    world = World()
    target = replace_with_refusing(world, below=1000)
    await world.turn(8)
    ready, active = world.condition("Ready"), world.condition("ScalingActive")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert "denied the value" in ready["message"]
    assert "tried again at" in ready["message"]
    assert (world.status["floor"], target.minimum) == (2, 2)
    assert active["message"].startswith("Hold 2: ")
    assert "Raise" not in active["message"]
    target.refuses_below = 0
    await world.turn(40)
    assert target.minimum == 9
    assert (world.condition("Ready")["status"], world.status["floor"]) == ("True", 9)


async def test_a_refused_decrease_does_not_delay_a_raise() -> None:
    world = World()
    await world.turn(20)
    target = replace_with_refusing(world, below=9)
    target.settle()
    world.source.demand = world.forecaster.demand = 500.0
    await world.turn(4 * 20)
    assert world.condition("Ready")["reason"] == "Refused"
    attempts = target.attempts
    assert attempts >= 1
    world.source.demand = world.forecaster.demand = 1200.0
    await world.turn(8)
    assert target.minimum == 12
    assert world.condition("Ready")["status"] == "True"


async def test_an_edited_policy_does_not_wait_after_a_refusal() -> None:
    world = World()
    target = replace_with_refusing(world, below=1000)
    await world.turn(2)
    attempts, target.refuses_below = target.attempts, 0
    world.put(an_edited_policy(generation=2))
    await world.turn(1)
    assert (attempts, target.minimum) == (1, 4)


async def test_a_refused_restore_is_reported_and_retried_while_the_policy_exists() -> None:
    world = World()
    await world.turn(20)
    target = replace_with_refusing(world, below=9)
    world.put(an_edited_policy(generation=2, mode="Off"))
    await world.turn(4)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert (target.minimum, world.status["takeover"]["originalMinimum"]) == (9, 2)
    target.refuses_below = 0
    await world.turn(20)
    assert target.minimum == 2
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("failing", ["write", "read"])
async def test_a_deletion_does_not_wait_indefinitely_for_a_target_that_refuses(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    world = World()
    await world.turn(20)
    target = replace_with_refusing(world, below=9)

    async def forbidden(self: InMemoryTarget) -> Any:
        raise ObjectRefusedError("horizontalpodautoscalers is forbidden")

    if failing == "read":
        monkeypatch.setattr(Refusing, "observe", forbidden)
    seconds = 1000.0
    monkeypatch.setattr(restore, "monotonic", lambda: seconds)
    world.delete("checkout")
    await world.turn(1)
    assert [key.name for key in world.records] == ["checkout"]
    seconds += restore.TIMEOUT_SECONDS + 1
    await world.turn(1)
    assert (world.records, target.minimum) == ({}, 9)


async def test_a_refused_write_of_the_policy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    apply = world.cluster.apply

    async def forbidden(path: str, body: Json, *, force: bool = False) -> Json:
        if path == path_of(PolicyKey("shop", "checkout")):
            raise ObjectRefusedError("scalingpolicies is forbidden: no permission to patch")
        return await apply(path, body, force=force)

    monkeypatch.setattr(world.cluster, "apply", forbidden)
    world.put(an_edited_policy(generation=2, mode="Off"))
    await world.turn(2)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert "no permission to patch" in ready["message"]
