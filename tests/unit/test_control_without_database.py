"""An unavailable database: floors are raised but not lowered, and decisions get their rows when it is back."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from structlog.typing import EventDict

from forecasting.forecast import Forecast
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.actuation.decision_log import QUEUED, DecisionLog, Transition
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.serving.model_store import ForecastRequest
from predictive_scaling.storage.scaling_decisions import UNFINISHED
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import NOON, a_forecast, a_policy, an_event
from tests.support.control import World
from tests.support.in_memory_ports import FixedForecaster, InMemoryDecisions

pytestmark = pytest.mark.usefixtures("logs")

MINUTE = timedelta(minutes=1)
KEY = PolicyKey("shop", "checkout")


class RisingForecaster(FixedForecaster):
    """Forecasts a constant demand for half an hour from noon on, and four times as much afterwards."""

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        forecasts: dict[Any, Forecast] = {}
        for name, request in requests.items():
            times = [request.series.end + index * request.series.step for index in range(request.steps)]
            demands = [self.demand if at < NOON + 30 * MINUTE else 4 * self.demand for at in times]
            forecasts[name] = a_forecast(*demands, origin=request.series.end, step=request.series.step)
        return forecasts


def edited(generation: int, **spec: Any) -> ScalingPolicy:
    policy = a_policy(**spec)
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"generation": generation})})


def scaling_decision_names(world: World) -> list[str]:
    return [path.rpartition("/")[2] for path in world.cluster.objects if "/scalingdecisions/" in path]


def replica_steps(world: World) -> list[tuple[int, int]]:
    return [(row.from_replicas, row.to_replicas) for row in world.decisions.rows.values()]


def assert_all_recorded(world: World) -> None:
    """Each decision has one row and one ScalingDecision, in order of creation, with the same status."""
    rows = world.decisions.rows
    assert list(rows) == scaling_decision_names(world)
    assert len(world.decisions.inserts) == len(set(world.decisions.inserts))
    assert [row.created_at for row in rows.values()] == sorted(row.created_at for row in rows.values())
    assert [row.status for row in rows.values()] == [phase.lower() for phase in world.phases]


async def turns(world: World, passes: int) -> None:
    """Let passes of the operator run; the target has the replicas of its floor at once."""
    for _ in range(passes):
        await world.turn(1)
        world.target.settle()


async def test_forecasts_in_memory_raise_the_floor_and_the_rows_follow_when_the_database_returns() -> None:
    world = World()
    world.forecast_by(RisingForecaster(300.0))
    await turns(world, 8)
    assert world.target.minimum == 3
    world.lose_database()
    rows = len(world.decisions.rows)
    await turns(world, 4 * 35)
    assert world.target.minimum == 12
    assert len(world.decisions.rows) == rows
    world.regain_database()
    await world.turn(2)
    assert replica_steps(world) == [(2, 3), (3, 6), (6, 12)]
    assert set(world.decisions.statuses) == {"succeeded"}
    assert_all_recorded(world)


async def test_the_intent_is_a_scaling_decision_before_the_target_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(1)
    world.lose_database()
    intents_at_write: list[tuple[int, int]] = []
    apply = InMemoryTarget.apply

    async def recording_apply(target: InMemoryTarget, floor: int, *, take: bool = False) -> Applied:
        newest = world.cluster.objects[[path for path in world.cluster.objects if "/scalingdecisions/" in path][-1]]
        intents_at_write.append((newest["spec"]["to"], floor))
        return await apply(target, floor, take=take)

    monkeypatch.setattr(InMemoryTarget, "apply", recording_apply)
    await world.turn(12)
    assert intents_at_write == [(8, 8), (9, 9)]


@pytest.mark.parametrize("mode", ["Auto", "Recommend"])
async def test_no_floor_or_recommendation_is_lowered_without_the_database(mode: str) -> None:
    world = World(a_policy(mode=mode))
    await world.turn(20)
    world.lose_database()
    world.put(edited(2, max=5, mode=mode))
    await world.turn(8)
    assert world.status["floor"] == 9
    assert world.target.minimum == (9 if mode == "Auto" else 2)
    assert len(scaling_decision_names(world)) == len(world.decisions.rows) == 3
    world.regain_database()
    await world.turn(4)
    assert world.status["floor"] == 5
    assert world.target.minimum == (5 if mode == "Auto" else 2)
    assert_all_recorded(world)


async def test_a_higher_floor_is_recommended_without_the_database() -> None:
    world = World(a_policy(mode="Recommend"))
    await world.turn(1)
    world.lose_database()
    await world.turn(12)
    assert world.status["floor"] == 9
    world.regain_database()
    await world.turn(1)
    assert replica_steps(world) == [(2, 4), (4, 8), (8, 9)]
    assert_all_recorded(world)


CALLS = [
    "intend",
    "transition to executing",
    "transition to verifying",
    "transition to succeeded",
    "transition to superseded",
    "transition to cancelled",
    "by_id",
    "known",
    "unfinished",
    "last_of_each",
    "since_of_each",
    "ping",
]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("call", CALLS)
async def test_floors_are_raised_whichever_call_loses_the_database(call: str, *, restarts: bool) -> None:
    world = World()
    await turns(world, 1)
    if restarts:
        world.restart()
    world.decisions.goes_away_at = call
    if call == "ping":
        world.decisions.is_away = True
    await turns(world, 20)
    assert world.target.minimum == 9
    world.lose_database()
    world.put(edited(2, max=5))
    await turns(world, 4)
    assert world.target.minimum == 9
    world.regain_database()
    await turns(world, 8)
    assert world.target.minimum == 5
    assert replica_steps(world) == [(2, 4), (4, 8), (8, 9), (9, 5)]
    assert not set(world.decisions.statuses) & {phase.stored for phase in UNFINISHED}
    assert_all_recorded(world)


async def test_a_decrease_interrupted_by_the_database_waits_for_its_return() -> None:
    world = World()
    await world.turn(20)
    world.target.settle()
    await world.turn(1)
    world.decisions.goes_away_at = "transition to executing"
    world.put(edited(2, max=5))
    await world.turn(4)
    assert world.target.minimum == 9
    world.regain_database()
    await world.turn(2)
    assert world.target.minimum == 5
    assert replica_steps(world) == [(2, 4), (4, 8), (8, 9), (9, 5)]


async def test_the_outage_is_reported_and_the_policy_stays_ready() -> None:
    world = World()
    await world.turn(1)
    world.lose_database()
    await world.turn(12)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("True", "DatabaseUnavailable")
    assert "floors are raised" in ready["message"]
    assert QUEUED._value.get() > 0  # pyright: ignore[reportPrivateUsage] (prometheus_client has no reader)
    world.regain_database()
    await world.turn(2)
    assert (world.condition("Ready")["status"], world.condition("Ready")["reason"]) == ("True", "TargetObserved")
    assert QUEUED._value.get() == 0  # pyright: ignore[reportPrivateUsage]
    sent: list[str] = []
    while world.events._queue:  # pyright: ignore[reportPrivateUsage] (what would be sent)
        sent.append(world.events._queue.get()["reason"])  # pyright: ignore[reportPrivateUsage]
    assert sent.count("DatabaseUnavailable") == sent.count("DatabaseAvailable") == 1


async def test_an_operator_started_without_the_database_applies_event_floors_and_the_minimum() -> None:
    world = World(a_policy(min=3))
    world.lose_database()
    await turns(world, 8)
    assert world.target.minimum == 3
    start = world.clock.now() + 5 * MINUTE
    event = an_event(start=start, end=start + timedelta(hours=1), expect={"minReplicas": 20})
    world.event_records["shop", "flash-sale"] = [EventRecord("shop", "flash-sale", "event-uid", 1, 1, start, {}, event)]
    await turns(world, 4 * 10)
    assert world.target.minimum == 20
    world.regain_database()
    await turns(world, 2)
    assert replica_steps(world)[-1][1] == 20
    assert_all_recorded(world)


async def test_decisions_made_without_the_database_survive_a_restart() -> None:
    world = World()
    await world.turn(1)
    world.lose_database()
    await world.turn(6)
    raised = world.target.minimum
    assert raised > 4
    world.restart()
    await world.turn(2)
    assert world.target.minimum >= raised
    world.target.settle()
    world.regain_database()
    await world.turn(20)
    world.target.settle()
    await world.turn(2)
    assert replica_steps(world) == [(2, 4), (4, 8), (8, 9)]
    assert set(world.decisions.statuses) == {"succeeded"}
    assert_all_recorded(world)


async def test_a_restart_after_the_outage_writes_the_missing_rows() -> None:
    world = World()
    await world.turn(1)
    world.lose_database()
    await world.turn(20)
    world.restart()
    world.regain_database()
    world.target.settle()
    await world.turn(2)
    assert replica_steps(world) == [(2, 4), (4, 8), (8, 9)]
    assert set(world.decisions.statuses) == {"succeeded"}


async def test_rows_that_a_full_queue_drops_are_written_from_the_scaling_decisions() -> None:
    world = World()
    world.decision_records.log.max_queued = 1
    world.lose_database()
    start = world.clock.now() + 5 * MINUTE
    event = an_event(start=start, end=start + timedelta(hours=1), expect={"minReplicas": 20})
    world.event_records["shop", "flash-sale"] = [EventRecord("shop", "flash-sale", "event-uid", 1, 1, start, {}, event)]
    await turns(world, 4 * 10)
    assert world.target.minimum == 20
    assert world.decision_records.log.queued == 1
    world.regain_database()
    await turns(world, 2)
    assert {row.id for row in world.decisions.rows.values()} == set(scaling_decision_names(world))
    assert not set(world.decisions.statuses) & {phase.stored for phase in UNFINISHED}


class RefusingOneRow(InMemoryDecisions):
    """A reachable table that refuses one row."""

    async def intend(self, decision: Any) -> bool:
        if decision.to_replicas == 8 and not self.is_away:
            raise ValueError("a value that no column takes")
        return await super().intend(decision)


async def test_a_refused_row_does_not_block_the_rows_behind_it(logs: list[EventDict]) -> None:
    world = World()
    world.decisions = RefusingOneRow()
    world.use(world.decisions)
    await world.turn(1)
    world.lose_database()
    await world.turn(12)
    assert world.target.minimum == 9
    world.regain_database()
    await world.turn(1)
    assert "decision_write_refused" in {entry["event"] for entry in logs}
    assert replica_steps(world) == [(2, 4), (8, 9)]


async def test_a_transition_with_a_lost_response_does_not_count_as_ended_elsewhere() -> None:
    table = InMemoryDecisions()
    world = World()
    world.use(table)
    world.decisions = table
    await world.turn(1)
    (name,) = table.rows
    assert table.rows[name].status == "verifying"
    decisions = DecisionLog(table)
    again = Transition(name, DecisionPhase.VERIFYING, world.clock.now())
    assert await decisions.transition(again) is None
    table.is_away = True
    with pytest.raises(DatabaseUnavailableError):
        await decisions.transition(again, may_wait=False)
