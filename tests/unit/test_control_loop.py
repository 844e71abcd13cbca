"""The tick in memory: what each policy gets, whatever else happens."""

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.actuation import restoration as restore
from predictive_scaling.control.actuation.ownership import FINALIZER, path_of
from predictive_scaling.errors import ClusterUnavailableError, TargetRefusedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import a_policy, an_event
from tests.support.control import World

MINUTE = timedelta(minutes=1)
KEY = PolicyKey("shop", "checkout")


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    """What was logged."""
    with capture_logs() as found:
        yield found


def edited(generation: int, **spec: Any) -> ScalingPolicy:
    """The policy after an edit of its spec."""
    policy = a_policy(**spec)
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"generation": generation})})


async def test_auto_raises_the_floor_step_by_step_to_what_is_forecast() -> None:
    world = World()
    await world.turn(20)
    assert world.target.minimum == 9
    assert [(row.from_replicas, row.to_replicas) for row in world.decisions.rows.values()] == [(2, 4), (4, 8), (8, 9)]
    assert world.status["floor"] == 9
    assert world.status["takeover"]["originalMinimum"] == 2


async def test_a_world_in_which_nothing_changes_is_not_written_to() -> None:
    world = World()
    await world.turn(20)
    world.target.settle()
    await world.turn(8)
    world.clock.at = world.clock.at.replace(second=0)
    await world.turn(1, step=timedelta())
    written = len(world.cluster.writes)
    await world.turn(3, step=timedelta())
    assert len(world.cluster.writes) - written == 3  # the lease, each time


async def test_recommend_decides_and_does_not_touch_the_target() -> None:
    world = World(a_policy(mode="Recommend"))
    await world.turn(20)
    assert (world.target.minimum, world.target.writes, world.status["floor"]) == (2, 0, 9)
    assert set(world.phases) == {"Recommended"}


async def test_the_policy_is_held_and_the_old_minimum_noted_before_the_first_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    seen: list[tuple[list[str], int]] = []
    apply = InMemoryTarget.apply

    async def watched(target: InMemoryTarget, floor: int, *, take: bool = False) -> Applied:
        policy = world.cluster.objects[path_of(KEY)]
        seen.append((policy["metadata"]["finalizers"], policy["status"]["takeover"]["originalMinimum"]))
        assert world.decisions.statuses[-1] == "executing"
        return await apply(target, floor, take=take)

    monkeypatch.setattr(InMemoryTarget, "apply", watched)
    await world.turn(20)
    assert seen == [([FINALIZER], 2)] * 3


async def test_a_policy_whose_visit_fails_stops_no_other(logs: list[EventDict]) -> None:
    world = World()
    broken = a_policy(target={"horizontalPodAutoscaler": {"name": "broken"}})
    metadata = broken.metadata.model_copy(update={"name": "broken", "uid": "another"})
    world.put(broken.model_copy(update={"metadata": metadata}))
    await world.turn(20)
    assert world.target.minimum == 9
    assert {log["policy"] for log in logs if log["event"] == "visit_failed"} == {"shop/broken"}


async def test_without_the_api_server_nothing_is_done_and_nothing_is_forgotten() -> None:
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


class Interrupted(InMemoryTarget):
    """Its process is killed before, or after, the write reaches it."""

    interrupted: str = "before"

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if self.interrupted == "after":
            await InMemoryTarget.apply(self, floor, take=take)
        raise ClusterUnavailableError("killed")


def interrupted(world: World, when: str) -> None:
    """From here on every write to the target is interrupted."""
    target = Interrupted(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    target.interrupted = when
    world.targets["checkout"] = world.target = target


def mended(world: World) -> None:
    """The same target, and a new process."""
    broken = world.target
    world.target = InMemoryTarget(broken.minimum, 40, broken.replicas, broken.ready_replicas, managers=broken.managers)
    world.targets["checkout"] = world.target
    world.restart()


async def test_an_intent_without_effect_is_carried_out_under_its_own_name_after_a_restart() -> None:
    world = World()
    interrupted(world, "before")
    await world.turn(1, step=timedelta())
    (intent,) = world.decisions.rows
    mended(world)
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 4
    assert list(world.decisions.rows) == [intent]
    assert world.decisions.rows[intent].status == "verifying"


async def test_an_effect_without_a_record_is_verified_after_a_restart_and_not_made_again() -> None:
    world = World()
    interrupted(world, "after")
    await world.turn(1, step=timedelta())
    (intent,) = world.decisions.rows
    assert (world.target.minimum, world.decisions.rows[intent].status) == (4, "executing")
    mended(world)
    await world.turn(1, step=timedelta())
    world.target.settle()
    await world.turn(20)
    assert world.decisions.rows[intent].status == "succeeded"
    steps = [(row.from_replicas, row.to_replicas) for row in world.decisions.rows.values()]
    assert steps == [(2, 4), (4, 8), (8, 9)]


async def test_an_intent_that_the_policy_outgrew_is_superseded() -> None:
    world = World()
    interrupted(world, "before")
    await world.turn(1, step=timedelta())
    mended(world)
    world.put(edited(2, max=3))
    await world.turn(1, step=timedelta())
    assert world.decisions.statuses == ["superseded", "verifying"]
    assert world.target.minimum == 3


async def test_a_policy_edited_between_decision_and_write_is_not_written_for() -> None:
    world = World()
    await world.turn(1, step=timedelta())
    world.cluster.objects[path_of(KEY)]["metadata"]["generation"] = 2
    world.clock.advance(2 * MINUTE)
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 4
    assert world.decisions.statuses == ["verifying", "superseded"]


async def test_what_someone_else_set_is_left_alone_until_a_person_consents() -> None:
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


async def test_a_restart_does_not_turn_a_conflict_into_a_fight() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    world.restart()
    await world.turn(8)
    assert world.target.minimum == 3
    assert world.condition("Conflict")["status"] == "True"


async def test_an_edited_policy_takes_the_floor_again() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    world.put(edited(2, max=39))
    await world.turn(20)
    assert world.target.minimum == 9


async def test_deleting_restores_what_was_there_and_lets_the_policy_go() -> None:
    world = World()
    await world.turn(20)
    (record,) = world.records[KEY]
    world.records[KEY] = [replace(record, deleted=True)]
    await world.loop.run()
    assert world.target.minimum == 2
    assert "finalizers" not in world.cluster.objects[path_of(KEY)]["metadata"]


async def test_deleting_lets_the_policy_go_when_its_target_is_gone() -> None:
    world = World()
    await world.turn(20)
    world.target.exists = False
    (record,) = world.records[KEY]
    world.records[KEY] = [replace(record, deleted=True)]
    await world.loop.run()
    assert "finalizers" not in world.cluster.objects[path_of(KEY)]["metadata"]


async def test_a_deletion_waits_for_a_target_that_is_away_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_leaving_auto_restores_as_deleting_does() -> None:
    world = World()
    await world.turn(20)
    world.put(edited(2, mode="Off"))
    await world.turn(2)
    assert world.target.minimum == 2
    assert "takeover" not in world.status


async def test_naming_another_target_restores_the_old_one() -> None:
    world = World()
    await world.turn(20)
    old = world.target
    world.targets["orders"] = world.target = InMemoryTarget(3, 40, 3, 3, uid="orders")
    world.put(edited(2, target={"horizontalPodAutoscaler": {"name": "orders"}}))
    await world.turn(20)
    assert (old.minimum, world.target.minimum) == (2, 9)
    assert world.status["takeover"]["originalMinimum"] == 3


async def test_a_refused_write_is_tried_again_later_and_later() -> None:
    world = World()
    world.target.maximum = 40
    refuses = Refusing(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    world.targets["checkout"] = world.target = refuses
    await world.turn(4 * 8)
    assert set(world.decisions.statuses) == {"failed"}
    assert 2 <= refuses.asked <= 5


class Refusing(InMemoryTarget):
    """Refuses every write, as an admission policy may."""

    asked: int = 0

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        del floor, take
        self.asked += 1
        raise TargetRefusedError("denied by policy")


async def test_a_rising_chain_of_raises_ends_well_although_each_waits_for_its_pods() -> None:
    world = World(a_policy(demand={"metric": "requests_per_second", "perReplica": "100"}))
    await world.turn(12)
    world.prophet.demand = 2000.0
    await world.turn(16)
    assert world.target.minimum == 20
    assert set(world.decisions.statuses) == {"verifying"}
    world.target.settle()
    await world.turn(1)
    assert set(world.decisions.statuses) == {"succeeded"}


async def test_a_standby_does_nothing() -> None:
    world = World()
    world.cluster.objects["/apis/coordination.k8s.io/v1/namespaces/default/leases/predictive-scaling"] = {
        "metadata": {"name": "predictive-scaling", "resourceVersion": "1"},
        "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15},
    }
    await world.turn(4)
    assert world.target.writes == 0
    assert world.cluster.writes == []


async def test_a_floor_does_not_sink_when_demand_stops_to_come_in() -> None:
    world = World()
    await world.turn(20)
    world.target.settle()
    world.source.until = world.clock.now()
    await world.turn(4 * 90)
    assert world.target.minimum == 9
    assert world.condition("MetricsFresh")["status"] == "False"


async def test_a_restart_remembers_the_floor_that_was_recommended() -> None:
    world = World(a_policy(mode="Recommend"))
    await world.turn(20)
    count = len(world.decisions.rows)
    world.restart()
    await world.turn(4)
    assert (world.status["floor"], len(world.decisions.rows)) == (9, count)


async def test_what_the_api_server_refuses_for_good_is_said_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_an_event_raises_the_floor_before_it_starts_and_is_named() -> None:
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
