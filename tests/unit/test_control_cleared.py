"""A decision that a user cleared is never executed, whenever it was cleared."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from predictive_scaling.cluster.client import Json
from predictive_scaling.control.jobs.commands import CLEAR_STUCK, CommandHandler
from predictive_scaling.errors import ClusterUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.commands import Command
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.control import World

pytestmark = pytest.mark.usefixtures("logs")

HOUR = timedelta(hours=1)


class ClearCommandTable:
    """The table commands, with one request to clear stuck decisions."""

    def __init__(self) -> None:
        self.is_open = True
        self.answers: list[dict[str, Any]] = []

    async def listen(self) -> AsyncIterator[None]:
        yield None

    async def claim(self, kinds: Sequence[str], now: datetime) -> Command | None:
        del kinds
        if not self.is_open:
            return None
        self.is_open = False
        return Command(1, now, CLEAR_STUCK, {}, "claimed", None, None)

    async def answer(self, id: int, answer: dict[str, Any], now: datetime) -> None:  # noqa: A002 (the column's name)
        del id, now
        self.answers.append(answer)


async def clear(world: World) -> dict[str, Any]:
    """Return the response to `DELETE /api/v1/scaling/decisions/stuck`."""
    table, models = ClearCommandTable(), cast(Any, None)
    await CommandHandler(
        table,
        world.decisions,
        *(world.decision_records, world.verification, world.states, models, world.clock, lambda: True),
    ).run()
    (answer,) = table.answers
    return answer


class UnwritableTarget(InMemoryTarget):
    """A target whose writes fail until `works` is true."""

    works: bool = False

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if not self.works:
            raise ClusterUnavailableError("away")
        return await InMemoryTarget.apply(self, floor, take=take)


async def with_a_stuck_intent() -> tuple[World, UnwritableTarget, ScalingDecisionRow]:
    """A world with an intent that was recorded an hour ago and could not be executed."""
    world, target = World(), UnwritableTarget(2, 40, 2, 2)
    world.targets["checkout"] = world.target = target
    await world.turn(1)
    world.clock.advance(HOUR)
    (row,) = world.decisions.rows.values()
    return world, target, row


def status_of(world: World, name: str) -> Json:
    return world.cluster.objects[f"/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingdecisions/{name}"][
        "status"
    ]


async def test_a_cleared_intent_is_dropped_and_the_step_is_decided_under_another_name() -> None:
    world, target, row = await with_a_stuck_intent()
    assert await clear(world) == {"cleared": 1}
    state = world.states.by_key()[PolicyKey("shop", "checkout")]
    assert (state.open_decision, state.previous_decision) == (None, row.id)
    target.works = True
    await world.turn(1)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert status_of(world, row.id)["phase"] == "Cancelled"
    (other,) = [decision for decision in world.decisions.rows.values() if decision.id != row.id]
    assert (other.status, other.from_replicas, other.to_replicas) == ("verifying", 2, 4)
    assert target.minimum == 4


@pytest.mark.parametrize("moment", ["before executing", "before verifying"])
async def test_a_row_cancelled_during_execution_stays_cancelled(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    transition = world.decisions.transition

    async def clear_before_transition(name: str, phase: DecisionPhase, *arguments: Any, **named: Any) -> bool:
        if moment == f"before {phase.stored}" and len(world.decisions.rows) == 1:
            row = world.decisions.rows[name]
            world.decisions.rows[name] = replace(row, status="cancelled", outcome="Cleared.")
        return await transition(name, phase, *arguments, **named)

    monkeypatch.setattr(world.decisions, "transition", clear_before_transition)
    await world.turn(1, step=timedelta())
    cleared = next(iter(world.decisions.rows.values()))
    assert cleared.status == "cancelled"
    assert status_of(world, cleared.id)["phase"] == "Cancelled"
    assert status_of(world, cleared.id)["message"] == "Cleared."
    assert cleared.id not in world.verification.names
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.decisions.rows[cleared.id].status == "cancelled"
    assert status_of(world, cleared.id)["phase"] == "Cancelled"


async def test_a_decision_cleared_during_verification_is_not_verified() -> None:
    world = World()
    await world.turn(1)
    (row,) = world.decisions.rows.values()
    world.clock.advance(HOUR)
    assert await clear(world) == {"cleared": 1}
    world.target.settle()
    await world.turn(4)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert status_of(world, row.id)["phase"] == "Cancelled"


async def test_a_failed_status_update_of_a_cleared_decision_is_made_up_for_later() -> None:
    world, target, row = await with_a_stuck_intent()
    world.cluster.reachable = False
    assert await clear(world) == {"cleared": 1}
    assert world.decisions.rows[row.id].status == "cancelled"
    world.cluster.reachable = target.works = True
    await world.turn(1)
    assert status_of(world, row.id)["phase"] == "Cancelled"
