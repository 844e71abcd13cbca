"""A write whose response was lost counts as made: for steps, for verification and for roll-backs (semantics 19, 28)."""

from typing import Any

import pytest

from predictive_scaling.errors import ClusterUnavailableError
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import a_policy
from tests.support.cluster import Json
from tests.support.control import World
from tests.support.raised import Raised, crashing

SLOW: dict[str, Any] = {"scaleUp": {"maxStep": 4, "period": "10m"}}
LOST = "the API server did not answer within 4 s"


class LosingTarget(InMemoryTarget):
    """A target whose next response is lost, after its write or before."""

    is_written = True
    losses = 1

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if self.losses == 0:
            return await InMemoryTarget.apply(self, floor, take=take)
        self.losses -= 1
        if self.is_written:
            await InMemoryTarget.apply(self, floor, take=take)
        raise ClusterUnavailableError(LOST)


def a_world(*, is_written: bool = True) -> tuple[World, LosingTarget]:
    """The floor should rise from 2 to 9, by at most 4 in ten minutes."""
    world = World(a_policy(**SLOW))
    target = LosingTarget(2, 40, 2, 2)
    target.is_written = is_written
    world.targets["checkout"] = world.target = target
    return world, target


async def test_a_write_without_a_response_is_verified_and_counts_for_the_steps() -> None:
    world, target = a_world()
    await world.turn(2)
    assert (target.minimum, world.decisions.statuses) == (6, ["verifying"])
    await world.turn(5)
    assert (target.minimum, target.writes) == (6, 1), "a step in ten minutes"
    target.settle()
    await world.turn()
    assert world.decisions.statuses == ["succeeded"]


async def test_a_write_that_was_not_made_is_repeated_under_the_same_name() -> None:
    world, target = a_world(is_written=False)
    await world.turn(2)
    assert (target.minimum, target.writes, world.decisions.statuses) == (6, 1, ["verifying"])


async def test_a_target_that_was_recreated_meanwhile_was_not_written() -> None:
    world, target = a_world()
    await world.turn()
    assert (target.minimum, world.decisions.statuses) == (6, ["executing"])
    target.uid = "another"
    await world.turn()
    assert world.decisions.statuses[0] == "superseded"


async def test_a_decision_that_a_person_cleared_meanwhile_is_not_verified() -> None:
    world, _ = a_world()
    await world.turn()
    (name,) = world.decisions.rows
    world.states.drop_intents({name})
    await world.turn()
    assert name not in world.verification.names


async def test_a_harmful_raise_without_a_response_is_rolled_back() -> None:
    world = Raised(crashing)
    target = LosingTarget(2, 40, 9, 2, source=world.target.source)
    world.targets["checkout"] = world.target = target
    await world.pass_deadline()
    assert (target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_a_write_that_cannot_be_shown_counts_for_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(a_policy(**SLOW))
    merge = world.cluster.merge

    async def fails_once(path: str, body: Json) -> Json:
        if "/scalingdecisions/" in path:
            monkeypatch.setattr(world.cluster, "merge", merge)
            raise ClusterUnavailableError(LOST)
        return await merge(path, body)

    monkeypatch.setattr(world.cluster, "merge", fails_once)
    await world.turn(6)
    assert (world.target.minimum, world.decisions.statuses) == (6, ["verifying"])
