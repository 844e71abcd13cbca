"""Semantics 21 and 32: learned lead times and capacities are used when they can be trusted, shown, and reported."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.cluster.pod_record import parse_pod
from predictive_scaling.control.capacity import Capacities, Observation
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.resources.learned_status import LearnedCapacity, LearnedLeadTime, LearnedStarts
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.pods import Json, a_pod_body
from tests.support.raised import Raised

KEY = ("uid", SeriesKey("checkout", "requests_per_second", "Sum"))
MINUTE = timedelta(minutes=1)
TICK = timedelta(seconds=15)
DEFAULT = 3 * MINUTE


def observe(
    capacities: Capacities, count: int, demand: float, since: datetime = NOON, *, ready: int = 10, **fields: Any
) -> None:
    """Ticks in which `ready` replicas at 80 % serve this demand, each with a new value of it."""
    values: dict[str, Any] = {"utilization": 0.8} | fields
    for index in range(count):
        at = since + index * TICK
        capacities.observe(KEY, Observation(at, demand, at, ready, **values))


# Capacity of a replica.


def test_capacity_is_unknown_until_there_are_enough_observations() -> None:
    capacities = Capacities()
    observe(capacities, 9, 400.0)
    assert capacities.of(KEY, None) is None
    observe(capacities, 1, 400.0, NOON + MINUTE * 5)
    assert capacities.of(KEY, None) == 50.0


def test_a_minute_of_demand_is_one_observation_of_however_many_ticks() -> None:
    capacities = Capacities()
    for tick in range(4 * 9):
        minute = NOON + (tick // 4) * MINUTE
        capacities.observe(KEY, Observation(NOON + tick * TICK, 400.0, minute, 10, 0.8))
    assert capacities.of(KEY, None) is None
    capacities.observe(KEY, Observation(NOON + 9 * MINUTE, 400.0, NOON + 9 * MINUTE, 10, 0.8))
    learned = capacities.learned(KEY)
    assert learned is not None
    assert (learned.value, learned.samples) == (50.0, 10)


def test_an_outlier_does_not_change_the_capacity() -> None:
    capacities = Capacities()
    observe(capacities, 20, 400.0)
    observe(capacities, 5, 4000.0)
    observe(capacities, 20, 400.0)
    assert capacities.of(KEY, None) == 50.0


@pytest.mark.parametrize("fields", [{"utilization": 0.01}, {"utilization": None}, {"ready": 0}])
def test_an_idle_target_is_no_observation_of_capacity(fields: dict[str, Any]) -> None:
    capacities = Capacities()
    observe(capacities, 20, 4.0, **fields)
    assert capacities.of(KEY, None) is None


def test_replicas_that_have_just_started_do_not_count() -> None:
    capacities = Capacities()
    observe(capacities, 20, 400.0)
    observe(capacities, 8, 400.0, NOON + 10 * MINUTE, ready=20)
    observe(capacities, 24, 800.0, NOON + 12 * MINUTE, ready=20)
    learned = capacities.learned(KEY)
    assert learned is not None
    assert learned.value == 50.0


def test_a_configured_capacity_takes_precedence() -> None:
    capacities = Capacities()
    observe(capacities, 20, 400.0)
    assert capacities.of(KEY, 70.0) == 70.0


def test_an_untrusted_estimate_does_not_replace_a_trusted_one() -> None:
    capacities = Capacities()
    observe(capacities, 20, 400.0)
    for index in range(24):
        observe(capacities, 1, (40.0, 4000.0, 900.0)[index % 3], NOON + (index + 30) * TICK)
    assert capacities.of(KEY, None) == 50.0


def test_a_new_release_is_learned_from_the_beginning() -> None:
    capacities = Capacities()
    observe(capacities, 120, 400.0, release="first")
    observe(capacities, 9, 240.0, NOON + 60 * MINUTE, release="second")
    assert capacities.of(KEY, None) == 50.0
    observe(capacities, 3, 240.0, NOON + 63 * MINUTE, release="second")
    assert capacities.of(KEY, None) == 30.0


def test_the_capacity_of_the_status_is_used_after_a_restart() -> None:
    capacities = Capacities()
    capacities.restore(KEY, LearnedCapacity(value=50.0, low=48.0, high=52.0, samples=80))
    assert capacities.of(KEY, None) == 50.0
    observe(capacities, 12, 240.0)
    assert capacities.of(KEY, None) == 30.0


# Lead time.


def test_few_starts_only_lengthen_the_default() -> None:
    lead_times = LeadTimes(DEFAULT)
    lead_times.learn("uid", MINUTE)
    assert lead_times.of("uid", None) == DEFAULT
    lead_times.learn("uid", 9 * MINUTE)
    assert lead_times.of("uid", None) > DEFAULT
    lead_times = LeadTimes(DEFAULT)
    for _ in range(3):
        lead_times.learn("uid", MINUTE)
    assert lead_times.of("uid", None) == MINUTE


def test_with_node_headroom_starts_do_not_wait_for_nodes() -> None:
    lead_times = LeadTimes(DEFAULT)
    for with_new_node in (False, True, False, True, False):
        lead_times.learn("uid", (6 if with_new_node else 1) * MINUTE, with_new_node=with_new_node)
    assert lead_times.of("uid", None) == 6 * MINUTE
    assert lead_times.of("uid", None, has_headroom=True) == MINUTE
    learned = lead_times.learned("uid")
    assert learned is not None
    assert learned.on_existing_nodes == LearnedStarts(value=MINUTE, starts=3)
    assert learned.with_new_node == LearnedStarts(value=6 * MINUTE, starts=2)


def test_the_learned_lead_time_survives_a_restart() -> None:
    before, after = LeadTimes(DEFAULT), LeadTimes(DEFAULT)
    for minutes in (1, 2, 5, 2, 1, 6):
        before.learn("uid", minutes * MINUTE, with_new_node=minutes > 4)
    after.restore("uid", before.learned("uid"), before.of("uid", None))
    restored, written = after.learned("uid"), before.learned("uid")
    assert restored is not None
    assert written is not None
    assert restored.starts == written.starts
    assert (restored.on_existing_nodes, restored.with_new_node) == (written.on_existing_nodes, written.with_new_node)
    assert restored.value >= written.value


def test_restored_starts_are_not_replaced_by_a_few_of_the_same_release() -> None:
    before, after = LeadTimes(DEFAULT), LeadTimes(DEFAULT)
    for number in range(12):
        before.learn("uid", (6 if number < 4 else 1) * MINUTE, with_new_node=number < 4, release="first")
    after.restore("uid", before.learned("uid"), None, release="first")
    for _ in range(3):
        after.learn("uid", MINUTE, with_new_node=False, release="first")
    assert after.of("uid", None) == 6 * MINUTE
    for _ in range(3):
        after.learn("uid", MINUTE / 2, with_new_node=False, release="second")
    assert after.of("uid", None, has_headroom=True) == MINUTE / 2
    assert after.of("uid", None) == 6 * MINUTE, "a node takes as long as before"


def test_a_status_of_an_earlier_release_counts_as_one_start() -> None:
    lead_times = LeadTimes(DEFAULT)
    lead_times.restore("uid", None, 6 * MINUTE)
    lead_times.restore("uid", LearnedLeadTime(value=MINUTE, starts=9, trusted=True), None)
    learned = lead_times.learned("uid")
    assert learned is not None
    assert (learned.value, learned.starts, learned.trusted) == (6 * MINUTE, 1, False)


def test_a_pod_says_how_long_it_waited_for_its_node() -> None:
    body = a_pod_body()

    def waited() -> float | None:
        pod = parse_pod(body)
        assert pod is not None
        return pod.scheduled_after_seconds

    assert waited() is None
    body["status"]["conditions"][0]["lastTransitionTime"] = (NOON + timedelta(seconds=90)).isoformat()
    assert waited() == 90.0
    body["status"]["conditions"][0]["status"] = "False"
    assert waited() is None


# In the loop.


class Utilized(InMemoryTarget):
    """A target whose replicas are utilized by the demand that each of them gets."""

    demand = 180.0
    capacity = 100.0

    async def observe(self) -> Any:
        observed = await InMemoryTarget.observe(self)
        return replace(observed, utilization=self.demand / self.capacity / max(observed.ready_replicas, 1))


def a_world() -> World:
    """shop/checkout with two replicas, whose capacity is to be learned."""
    world = World(a_policy(demand={"perReplica": "Auto"}), demand=180.0)
    world.target = world.targets["checkout"] = Utilized(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    return world


def notes(world: World, reason: str) -> list[str]:
    """The Events of a reason."""
    queues = world.events._queue._events.values()  # pyright: ignore[reportPrivateUsage] (what would be sent)
    return [event["note"] for events in queues for event in events if event["reason"] == reason]


async def test_a_slower_release_raises_the_floor_and_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world()
    await world.turn(12, step=MINUTE)
    learned = world.status["learned"]["perReplica"]
    assert (learned["value"], world.status["perReplica"], world.target.minimum) == ("100", "100", 2)
    assert learned["samples"] >= 10
    assert notes(world, "CapacityChanged") == []

    monkeypatch.setattr(Utilized, "capacity", 60.0)
    world.target.template = "slower"
    await world.turn(20, step=MINUTE)
    assert world.status["perReplica"] == "60"
    assert world.target.minimum == 3
    (note,) = notes(world, "CapacityChanged")
    assert "60 requests_per_second at full load, no longer 100" in note


async def test_the_learned_capacity_is_used_right_after_a_restart() -> None:
    world = a_world()
    await world.turn(12, step=MINUTE)
    world.restart()
    await world.turn()
    assert world.status["perReplica"] == "100"


async def test_a_longer_lead_time_is_reported_once_and_used() -> None:
    world = a_world()
    await world.turn(8)
    (record,) = world.records[next(iter(world.records))]
    learning = world.loop.reconciler.situations.learning
    for minutes in (4, 4, 4, 9, 9, 9, 9):
        learning.learn_start(record, "in-memory", minutes * MINUTE, with_new_node=False, release="first")
    await world.turn()
    assert world.status["leadTime"] == "9m"
    assert world.status["learned"]["leadTime"]["starts"] == 7
    (note,) = notes(world, "LeadTimeChanged")
    assert "no longer 4m" in note
    assert "Floors cover this time from now on." in note


@pytest.mark.parametrize(("waited", "kind"), [(0, "onExistingNodes"), (40, "withNewNode")])
async def test_a_start_is_counted_by_whether_a_pod_waited_for_a_node(waited: int, kind: str) -> None:
    def placed(name: str) -> Json:
        body = a_pod_body(name=name, ready=True, created_at=NOON + TICK)
        scheduled_at = NOON + TICK + timedelta(seconds=waited)
        body["status"]["conditions"][0]["lastTransitionTime"] = scheduled_at.isoformat()
        return body

    world = Raised(placed)
    await world.turn()
    world.target.replicas = world.target.ready_replicas = 9
    await world.turn(2)
    lead_time = world.status["learned"]["leadTime"]
    assert lead_time["starts"] == 1
    assert lead_time[kind]["starts"] == 1
    assert not lead_time["trusted"]


async def test_a_value_that_swings_is_reported_once_an_hour() -> None:
    world = a_world()
    await world.turn()
    (record,) = world.records[next(iter(world.records))]
    changes = world.loop.reconciler.situations.learning.changes
    for index in range(24):
        value = (50.0, 100.0)[index % 2]
        changes.note_capacity(record, LearnedCapacity(value=value, low=value, high=value, samples=20))
        world.clock.advance(5 * MINUTE)
    assert 1 <= len(notes(world, "CapacityChanged")) <= 2


def test_impossible_numbers_are_no_observations() -> None:
    capacities = Capacities()
    for demand, utilization in ((float("inf"), 0.8), (float("nan"), 0.8), (400.0, float("inf")), (400.0, float("nan"))):
        observe(capacities, 20, demand, utilization=utilization)
    assert capacities.learned(KEY) is None
