"""The status documents of a policy, byte by byte, from the reconciliation to the API server and back."""

import json
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.policy_publisher import PolicyPublisher
from predictive_scaling.control.tuning_cache import TuningCache
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import AccuracyStatus, Advice
from predictive_scaling.storage.policies import PolicyRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.in_memory_ports import NoMetricSink, NoPolicies

MINUTE = timedelta(minutes=1)
KEY = PolicyKey("shop", "checkout")
COPIED = ("conditions", "advice", "forecast")
DOCUMENTS = Path(__file__).parents[1] / "data" / "policy_status"
ADVICE = Advice(quantile=0.85, target_utilization=82, replica_hours_saved=12.3456789, message="Set targetUtilization.")


@pytest.fixture(autouse=True)
def every_policy_has_advice(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Every policy has advice."""

    def advice(*_: Any) -> Advice:
        return ADVICE

    monkeypatch.setattr(TuningCache, "advice", advice)
    with capture_logs():
        yield


class PublishedPolicies(NoPolicies):
    """A table that keeps its published rows."""

    def __init__(self) -> None:
        self.rows: list[PolicyRow] = []

    async def record(self, rows: Any) -> None:
        self.rows += rows


class MeasuredWorld(World):
    """A world with measured accuracy and published rows."""

    def _assemble(self) -> None:
        super()._assemble()
        self.published = PublishedPolicies()
        self.loop.publisher = PolicyPublisher(
            self.published, NoMetricSink(), self.clock, 5 * MINUTE, list, lambda: False
        )

    def measure(self, wape: float = 0.123456789) -> None:
        """Set the measured accuracy, as the background task does."""
        (state,) = [self.states.of(record, self.clock.now()) for (record,) in self.records.values()]
        state.accuracy = AccuracyStatus(
            wape=wape, mape=0.2, coverage=0.91, quantile=0.9, window=timedelta(days=2, seconds=1.5)
        )

    def status_writes(self) -> int:
        """The number of writes of the status."""
        return self.cluster.writes.count(("edit", path_of(KEY)))

    async def row(self) -> PolicyRow:
        """The newest row of the policy in the database."""
        await self.loop.publisher.write()
        return self.published.rows[-1]


async def a_world(**spec: Any) -> MeasuredWorld:
    world = MeasuredWorld(a_policy(**spec), demand=812.3456789)
    world.clock.at = NOON + timedelta(microseconds=123_456)
    await world.turn(2)
    world.measure()
    await world.turn(20)
    return world


async def fail_to_observe(target: InMemoryTarget) -> Any:
    del target
    raise OverflowError("date value out of range")


async def turn_with_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operator run once while the target cannot be observed."""
    with monkeypatch.context() as patch:
        patch.setattr(InMemoryTarget, "observe", fail_to_observe)
        await world.turn(1)


def document(status: dict[str, Any]) -> str:
    """The JSON text of a status with sorted keys, as the API server returns it."""
    return json.dumps(status, indent=2, sort_keys=True) + "\n"


def expected_document(name: str) -> str:
    return (DOCUMENTS / f"{name}.json").read_text()


async def test_the_status_of_a_policy_in_mode_auto() -> None:
    world = await a_world()
    assert document(world.status) == expected_document("normal")


async def test_the_status_of_a_policy_in_mode_recommend() -> None:
    world = await a_world(mode="Recommend", forecast={"leadTime": "3m"})
    for _ in range(20):
        await world.turn(4)
        await world.shadow_minutes()
    await world.shadow_accounts()
    await world.turn(1, step=5 * MINUTE)
    await world.turn(1)
    assert document(world.status) == expected_document("recommend")


async def test_the_status_of_a_policy_whose_reconciliation_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    await turn_with_failure(world, monkeypatch)
    assert document(world.status) == expected_document("failed")


async def test_the_status_of_a_paused_policy() -> None:
    world = await a_world()
    world.put(a_policy(annotations={"predictive-scaling.io/paused": "true"}))
    await world.turn(2)
    assert document(world.status) == expected_document("paused")


async def test_the_status_of_a_policy_without_a_target() -> None:
    world = await a_world()
    world.target.exists = False
    await world.turn(2)
    assert document(world.status) == expected_document("target_missing")


async def test_the_row_of_a_policy_has_the_documents_of_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    world.put(a_policy(annotations={"predictive-scaling.io/paused": "true"}))
    await world.turn(1)
    paused = await world.row()
    assert {field: getattr(paused, field) for field in COPIED} == {field: world.status[field] for field in COPIED}
    await turn_with_failure(world, monkeypatch)
    failed = await world.row()
    assert failed.conditions == world.status["conditions"] != paused.conditions
    assert replace(failed, conditions=paused.conditions, updated_at=paused.updated_at) == paused
    assert (failed.floor, failed.source, failed.current_replicas) == (9, "Forecast", 2)
    assert failed.last_decision_at == datetime.fromisoformat(world.status["lastDecision"]["at"])


async def test_the_row_of_a_policy_in_mode_recommend_has_its_shadow_account() -> None:
    world = await a_world(mode="Recommend")
    await world.shadow_minutes()
    await world.turn(4)
    await world.shadow_accounts()
    await world.turn(1)
    account = world.states.by_key()[KEY].shadow
    assert account is not None
    assert (await world.row()).shadow == account.to_manifest()


async def test_a_failure_after_a_restart_keeps_the_rest_of_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    before = world.status
    world.restart()
    await turn_with_failure(world, monkeypatch)
    changed = {name for name in before if world.status[name] != before[name]}
    assert (changed, world.status.keys()) == ({"conditions"}, before.keys())


async def test_unknown_fields_survive_a_failure_and_not_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    forecast = world.status["forecast"] | {"later": "x"}
    later = {"later": {"a": 1}, "forecast": forecast}
    world.policy()["status"].update(later)
    world.sync()
    world.restart()
    await turn_with_failure(world, monkeypatch)
    assert {name: world.status[name] for name in later} == later
    await world.turn(4)
    assert "later" not in world.status
    assert "later" not in world.status["forecast"]


async def test_a_change_below_the_resolution_of_the_status_is_not_written() -> None:
    world = await a_world()
    await world.turn(1, step=timedelta())
    written, row = world.status_writes(), await world.row()
    world.measure(wape=0.12345678901)
    world.source.demand += 1e-9
    await world.turn(2, step=timedelta(microseconds=1))
    assert world.status_writes() == written
    assert await world.row() is row


async def test_a_restart_does_not_write_an_unchanged_status(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    await turn_with_failure(world, monkeypatch)
    written = world.status_writes()
    world.restart()
    await turn_with_failure(world, monkeypatch)
    assert world.status_writes() == written
