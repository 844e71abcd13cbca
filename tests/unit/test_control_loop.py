"""The control loop with a cluster in memory: decisions, writes, restarts and failures of policies."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.typing import EventDict

from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.cluster.kubernetes_events import EventReason
from predictive_scaling.control.actuation.ownership import FINALIZER, path_of
from predictive_scaling.errors import ClusterUnavailableError, TargetRefusedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied, Observed
from tests.support.builders import a_policy, an_event
from tests.support.control import World, an_edited_policy

pytestmark = pytest.mark.usefixtures("logs")

MINUTE = timedelta(minutes=1)
KEY = PolicyKey("shop", "checkout")


async def test_auto_raises_the_floor_in_steps_to_the_forecast() -> None:
    world = World()
    await world.turn(20)
    assert world.target.minimum == 9
    assert [(row.from_replicas, row.to_replicas) for row in world.decisions.rows.values()] == [(2, 4), (4, 8), (8, 9)]
    assert world.status["floor"] == 9
    assert world.status["takeover"]["originalMinimum"] == 2


@pytest.mark.parametrize(("mode", "phase"), [("Auto", "Verifying"), ("Recommend", "Recommended")])
async def test_each_decision_is_counted_once(mode: str, phase: str) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("predictive_scaling_decisions_total", {"mode": mode, "phase": phase}) or 0.0

    world, before = World(a_policy(mode=mode)), count()
    await world.turn(20)
    assert count() - before == len(world.decisions.rows) > 0


async def test_without_changes_nothing_but_the_lease_is_written() -> None:
    world = World()
    await world.turn(20)
    world.target.settle()
    await world.turn(8)
    world.clock.at = world.clock.at.replace(second=0)
    await world.turn(1, step=timedelta())
    writes = len(world.cluster.writes)
    await world.turn(3, step=timedelta())
    assert len(world.cluster.writes) - writes == 3  # the lease, each time


async def test_recommend_decides_and_does_not_write_the_target() -> None:
    world = World(a_policy(mode="Recommend"))
    await world.turn(20)
    assert (world.target.minimum, world.target.writes, world.status["floor"]) == (2, 0, 9)
    assert set(world.phases) == {"Recommended"}


async def test_the_finalizer_and_the_original_minimum_are_recorded_before_the_first_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    recorded: list[tuple[list[str], int]] = []
    apply = InMemoryTarget.apply

    async def recording_apply(target: InMemoryTarget, floor: int, *, take: bool = False) -> Applied:
        policy = world.cluster.objects[path_of(KEY)]
        recorded.append((policy["metadata"]["finalizers"], policy["status"]["takeover"]["originalMinimum"]))
        assert world.decisions.statuses[-1] == "executing"
        return await apply(target, floor, take=take)

    monkeypatch.setattr(InMemoryTarget, "apply", recording_apply)
    await world.turn(20)
    assert recorded == [([FINALIZER], 2)] * 3


async def test_a_failing_policy_does_not_stop_others(logs: list[EventDict]) -> None:
    world = World()
    broken = a_policy(target={"horizontalPodAutoscaler": {"name": "broken"}})
    metadata = broken.metadata.model_copy(update={"name": "broken", "uid": "another"})
    world.put(broken.model_copy(update={"metadata": metadata}))
    await world.turn(20)
    assert world.target.minimum == 9
    assert {log["policy"] for log in logs if log["event"] == "visit_failed"} == {"shop/broken"}


async def test_without_the_api_server_nothing_is_written_and_no_state_is_lost() -> None:
    world = World()
    await world.turn(4)
    world.cluster.reachable = False
    with pytest.raises(ClusterUnavailableError):
        await world.cluster.get("/")
    world.clock.advance(MINUTE)
    await world.loop.run()
    world.cluster.reachable = True
    await world.turn(20)
    assert world.target.minimum == 9
    assert len(world.decisions.rows) == 3


class InterruptedTarget(InMemoryTarget):
    """A target whose operator is killed before or after the write."""

    interruption: str = "before"

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if self.interruption == "after":
            await InMemoryTarget.apply(self, floor, take=take)
        raise ClusterUnavailableError("killed")


def replace_with_interrupted(world: World, when: str) -> None:
    """Replace the target of the world by a target whose writes are interrupted."""
    target = InterruptedTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    target.interruption = when
    world.targets["checkout"] = world.target = target


def restart_with_working_target(world: World) -> None:
    """Repair the target and restart the process."""
    broken = world.target
    world.target = InMemoryTarget(broken.minimum, 40, broken.replicas, broken.ready_replicas, managers=broken.managers)
    world.targets["checkout"] = world.target
    world.restart()


async def test_an_intent_without_effect_is_executed_under_its_name_after_a_restart() -> None:
    world = World()
    replace_with_interrupted(world, "before")
    await world.turn(1, step=timedelta())
    (intent,) = world.decisions.rows
    restart_with_working_target(world)
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 4
    assert list(world.decisions.rows) == [intent]
    assert world.decisions.rows[intent].status == "verifying"


async def test_an_unrecorded_write_is_verified_after_a_restart_and_not_repeated() -> None:
    world = World()
    replace_with_interrupted(world, "after")
    await world.turn(1, step=timedelta())
    (intent,) = world.decisions.rows
    assert (world.target.minimum, world.decisions.rows[intent].status) == (4, "executing")
    restart_with_working_target(world)
    await world.turn(1, step=timedelta())
    world.target.settle()
    await world.turn(20)
    assert world.decisions.rows[intent].status == "succeeded"
    steps = [(row.from_replicas, row.to_replicas) for row in world.decisions.rows.values()]
    assert steps == [(2, 4), (4, 8), (8, 9)]


async def test_an_intent_for_an_older_generation_is_superseded() -> None:
    world = World()
    replace_with_interrupted(world, "before")
    await world.turn(1, step=timedelta())
    restart_with_working_target(world)
    world.put(an_edited_policy(generation=2, max=3))
    await world.turn(1, step=timedelta())
    assert world.decisions.statuses == ["superseded", "verifying"]
    assert world.target.minimum == 3


async def test_a_decision_is_not_written_if_the_policy_was_edited_in_between() -> None:
    world = World()
    await world.turn(1, step=timedelta())
    world.cluster.objects[path_of(KEY)]["metadata"]["generation"] = 2
    world.clock.advance(2 * MINUTE)
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 4
    assert world.decisions.statuses == ["verifying", "superseded"]


async def test_a_refused_write_is_retried_with_backoff() -> None:
    world = World()
    world.target.maximum = 40
    refusing_target = RefusingTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    world.targets["checkout"] = world.target = refusing_target
    await world.turn(4 * 8)
    assert set(world.decisions.statuses) == {"failed"}
    assert 2 <= refusing_target.attempts <= 5


class RefusingTarget(InMemoryTarget):
    """A target whose writes are refused, for example by an admission policy."""

    attempts: int = 0

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        del floor, take
        self.attempts += 1
        raise TargetRefusedError("denied by policy")


async def test_consecutive_raises_succeed_although_each_waits_for_its_pods() -> None:
    world = World(a_policy(demand={"metric": "requests_per_second", "perReplica": "100"}))
    await world.turn(12)
    world.forecaster.demand = 2000.0
    await world.turn(16)
    assert world.target.minimum == 20
    assert set(world.decisions.statuses) == {"verifying"}
    world.target.settle()
    await world.turn(1)
    assert set(world.decisions.statuses) == {"succeeded"}


async def test_a_standby_writes_nothing() -> None:
    world = World()
    world.cluster.objects["/apis/coordination.k8s.io/v1/namespaces/default/leases/predictive-scaling"] = {
        "metadata": {"name": "predictive-scaling", "resourceVersion": "1"},
        "spec": {"holderIdentity": "another", "leaseDurationSeconds": 3600},
    }
    await world.turn(4)
    assert world.target.writes == 0
    assert world.cluster.writes == []


@pytest.mark.parametrize("mode", ["Auto", "Recommend"])
async def test_a_leader_frozen_within_a_reconciliation_writes_nothing_when_it_continues(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    world = World(a_policy(mode=mode))
    await world.leadership.campaign()
    observe, writes = InMemoryTarget.observe, list(world.cluster.writes)

    async def observe_past_the_lease(target: InMemoryTarget) -> Observed:
        world.leadership._relied_until = 0.0  # pyright: ignore[reportPrivateUsage]
        return await observe(target)

    monkeypatch.setattr(InMemoryTarget, "observe", observe_past_the_lease)
    await world.loop.run()
    (record,) = world.records[KEY]
    world.events.emit(record, EventReason.PAUSED, "It was queued before.")
    await world.events.send()
    assert world.cluster.writes == writes
    assert world.target.writes == 0


async def test_a_standby_sends_its_events() -> None:
    world = World()
    (record,) = world.records[KEY]
    world.events.emit(record, EventReason.MODEL_REJECTED, "A standby loads models, too.")
    await world.events.send()
    assert [verb for verb, _ in world.cluster.writes] == ["create"]


async def test_the_floor_is_not_lowered_when_demand_samples_stop() -> None:
    world = World()
    await world.turn(20)
    world.target.settle()
    world.source.until = world.clock.now()
    await world.turn(4 * 90)
    assert world.target.minimum == 9
    assert world.condition("MetricsFresh")["status"] == "False"


async def test_the_recommended_floor_survives_a_restart() -> None:
    world = World(a_policy(mode="Recommend"))
    await world.turn(20)
    count = len(world.decisions.rows)
    world.restart()
    await world.turn(4)
    assert (world.status["floor"], len(world.decisions.rows)) == (9, count)


async def test_a_write_that_the_api_server_forbids_is_reported_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    create = world.cluster.create

    async def forbidden(path: str, body: Json) -> Json:
        if path.endswith("scalingdecisions"):
            raise ObjectRefusedError("scalingdecisions is forbidden: no permission to create")
        return await create(path, body)

    monkeypatch.setattr(world.cluster, "create", forbidden)
    await world.turn(4)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert "forbidden" in ready["message"]
    assert world.target.minimum == 2


async def test_an_event_raises_the_floor_before_its_start_and_is_the_source() -> None:
    world = World()
    await world.turn(20)
    start = world.clock.now() + 10 * MINUTE
    event = an_event(start=start, end=start + timedelta(hours=1), rampUp="5m", expect={"multiplier": "2"})
    world.event_records["shop", "flash-sale"] = [EventRecord("shop", "flash-sale", "event-uid", 1, 1, start, {}, event)]
    await world.turn(4 * 8)
    assert world.clock.now() < start
    assert world.target.minimum >= 17
    newest = list(world.decisions.rows.values())[-1]
    assert (newest.source, newest.event) == ("Event", "flash-sale")
