"""The operator's background jobs on a real database: commands, scores, events, the policy table, recovery."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.cluster.client import Json
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.demand_window import MINUTE
from predictive_scaling.control.jobs.accuracy import Accuracy
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.control.jobs.commands import CLEAR_STUCK, RELOAD_MODELS, CommandHandler
from predictive_scaling.control.jobs.training import TrainingScheduler
from predictive_scaling.control.policy_publisher import PolicyPublisher
from predictive_scaling.errors import ClusterUnavailableError, RequestFailedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.decision_lists import DecisionLists
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import NOON, an_event
from tests.support.control import World
from tests.support.in_memory_ports import NoMetricSink

pytestmark = pytest.mark.integration


async def test_forecasts_are_scored_once_their_demand_is_recorded(database: Database) -> None:
    world = World(demand=1000.0)
    world.forecaster.demand = 900.0
    await world.turn(12)
    predictions, performances = Predictions(database), ModelPerformances(database)
    for _ in range(30):
        world.clock.advance(MINUTE)
        await world.refresher.run()
        await predictions.record(world.predicted.rows)
        world.predicted.rows.clear()
    accuracy = Accuracy(predictions, performances, world.window, world.states, world.clock)
    await accuracy.run()
    (row,) = await performances.by_service(NOON, world.clock.now())
    assert row.sums.wape == pytest.approx(0.1)
    assert row.sums.mape == pytest.approx(0.1)
    assert (row.sums.bias, row.sums.coverage["0.9"]) == (pytest.approx(-0.1), 0.0)
    assert row.sums.samples > 0
    await world.turn(2)
    assert world.status["accuracy"]["wape"] == "0.1"


async def test_stuck_decisions_are_cleared_in_the_table_and_the_cluster(database: Database, tmp_path: Path) -> None:
    world = World()
    table = ScalingDecisions(database)
    world.use(table)
    await world.turn(1)
    world.clock.advance(timedelta(hours=3))
    commands = Commands(database)
    job = command_handler(world, database, tmp_path)
    number = await commands.submit(CLEAR_STUCK, {}, world.clock.now())
    answer = await wait_for_answer(job, commands, number)
    assert answer == {"cleared": 1}
    assert [row.status for row in (await DecisionLists(database).page()).decisions] == ["cancelled"]
    assert world.phases == ["Cancelled"]


class Unwritable(InMemoryTarget):
    """The API server refuses connections for writes until `is_reachable`."""

    is_reachable: bool = False

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if not self.is_reachable:
            raise ClusterUnavailableError("the API server did not answer")
        return await InMemoryTarget.apply(self, floor, take=take)


async def test_a_cleared_intent_is_not_executed_when_its_target_is_writable_again(
    database: Database, tmp_path: Path
) -> None:
    world, table, commands = World(), ScalingDecisions(database), Commands(database)
    world.use(table)
    world.targets["checkout"] = world.target = target = Unwritable(2, 40, 2, 2)
    await world.turn(1)
    (intent,) = (await DecisionLists(database).page()).decisions
    assert (intent.status, target.minimum) == ("executing", 2)
    world.clock.advance(timedelta(hours=1))
    number = await commands.submit(CLEAR_STUCK, {}, world.clock.now())
    assert await wait_for_answer(command_handler(world, database, tmp_path), commands, number) == {"cleared": 1}

    target.is_reachable = True
    await world.turn(1)
    rows = {row.id: row for row in (await DecisionLists(database).page()).decisions}
    assert (rows[intent.id].status, world.phases[0]) == ("cancelled", "Cancelled")
    (next_intent,) = [row for row in rows.values() if row.id != intent.id]
    assert (next_intent.from_replicas, next_intent.to_replicas, next_intent.status) == (2, 4, "verifying")
    assert target.minimum == 4


async def test_models_are_reloaded_by_a_command(database: Database, tmp_path: Path) -> None:
    world = World()
    commands = Commands(database)
    job = command_handler(world, database, tmp_path)
    number = await commands.submit(RELOAD_MODELS, {}, world.clock.now())
    assert await wait_for_answer(job, commands, number) == {"reloaded": [], "rejected": []}


async def test_events_have_a_status_and_rows_until_they_are_deleted(database: Database) -> None:
    world, table = World(), BusinessEvents(database)
    event = an_event(start=NOON + timedelta(minutes=30), end=NOON + timedelta(hours=1), expect={"multiplier": "2"})
    path = "/apis/predictive-scaling.io/v1alpha1/namespaces/shop/businessevents/flash-sale"
    world.cluster.objects[path] = {"metadata": {"name": "flash-sale", "resourceVersion": "1"}}
    record = EventRecord("shop", "flash-sale", "event-uid", 1, 1, NOON, {}, event)
    world.event_records["shop", "flash-sale"] = [record]
    job = BusinessEventController(world.cluster, world.informer_cache, table, world.clock, is_leader)
    await job.run()
    status = world.cluster.objects[path]["status"]
    assert (status["phase"], status["matchedPolicies"]) == ("Scheduled", 1)
    (row,) = await table.between(NOON, NOON + timedelta(hours=2))
    assert (row.name, row.multiplier, list(row.policies)) == ("flash-sale", 2.0, ["checkout"])

    writes = len(world.cluster.writes)
    await job.run()
    assert len(world.cluster.writes) == writes
    world.clock.advance(timedelta(minutes=40))
    await job.run()
    assert world.cluster.objects[path]["status"]["phase"] == "Active"

    world.clock.at = NOON
    del world.event_records["shop", "flash-sale"]
    await job.run()
    assert await table.between(NOON, NOON + timedelta(hours=2)) == []


async def test_the_policy_table_contains_the_status_of_existing_policies(database: Database) -> None:
    world, table = World(), Policies(database)
    keys = [PolicyKey("shop", "checkout")]
    world.loop.publisher = PolicyPublisher(table, NoMetricSink(), world.clock, 5 * MINUTE, lambda: keys, is_leader)
    await world.turn(20)
    await world.loop.publisher.write()
    (row,) = await table.all()
    assert (row.namespace, row.policy, row.target, row.mode) == ("shop", "checkout", "hpa/checkout", "Auto")
    assert row.floor == 9
    assert {condition["type"] for condition in row.conditions} >= {"Ready", "Stalled"}
    assert row.last_decision_at is not None

    world.records.clear()
    keys[:] = [PolicyKey("shop", "orders")]
    await world.loop.run()
    await world.loop.publisher.write()
    assert await table.all() == []


async def test_unfinished_decisions_are_resumed_after_a_restart(database: Database) -> None:
    world = World()
    world.use(ScalingDecisions(database))
    await world.turn(1, step=timedelta())
    world.restart()
    world.target.settle()
    await world.turn(20)
    rows = (await DecisionLists(database).page()).decisions
    steps = sorted((row.from_replicas, row.to_replicas) for row in rows)
    assert steps == [(2, 4), (4, 8), (8, 9)]
    assert sorted(world.phases)[-1] == "Verifying"


def command_handler(world: World, database: Database, folder: Path) -> CommandHandler:
    table, commands, past = ScalingDecisions(database), Commands(database), BusinessEvents(database)
    models = TrainingScheduler(
        store=ModelStore(folder),
        window=world.window,
        states=world.states,
        cache=world.informer_cache,
        events=world.events,
        clock=world.clock,
        past=past,
        interval=timedelta(days=1),
        trains=False,
    )
    return CommandHandler(
        commands, table, world.decision_records, world.verification, world.states, models, world.clock, is_leader
    )


async def wait_for_answer(job: CommandHandler, commands: Commands, number: int) -> object:
    """Return the answer to a command while the handler runs."""
    running_job = asyncio.create_task(job.run())
    try:
        return await commands.wait(number, 240)
    finally:
        running_job.cancel()
        await asyncio.gather(running_job, return_exceptions=True)


def is_leader() -> bool:
    return True


async def test_an_event_whose_status_cannot_be_written_does_not_delay_others(database: Database) -> None:
    world, table = World(), BusinessEvents(database)
    root = "/apis/predictive-scaling.io/v1alpha1/namespaces/shop/businessevents"
    for number, name in enumerate(("bad", "good")):
        world.cluster.objects[f"{root}/{name}"] = {"metadata": {"name": name, "resourceVersion": "1"}}
        event = an_event(name, start=NOON + timedelta(minutes=30), end=NOON + timedelta(hours=1))
        world.event_records["shop", name] = [EventRecord("shop", name, f"event-{number}", 1, 1, NOON, {}, event)]
    edit = world.cluster.edit

    async def fail_for_bad_event(path: str, operations: list[Json]) -> Json:
        if "/bad/" in path:
            raise RequestFailedError("failed calling webhook")
        return await edit(path, operations)

    world.cluster.edit = fail_for_bad_event
    await BusinessEventController(world.cluster, world.informer_cache, table, world.clock, is_leader).run()
    assert world.cluster.objects[f"{root}/good"]["status"]["phase"] == "Scheduled"
    assert {row.name for row in await table.between(NOON, NOON + timedelta(hours=2))} == {"bad", "good"}
