"""The running account of what mode Auto would have done: shop/checkout in mode Recommend, in memory."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from predictive_scaling.control import conflicts
from predictive_scaling.control.shadow_recording import hour_of
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, a_policy
from tests.support.control import World, a_policy_named, path_of

KEY = PolicyKey("shop", "checkout")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LEAD_TIME = {"leadTime": "3m"}


def a_world(**spec: Any) -> World:
    """A demand of 880 that needs 9 replicas of 100, and a target whose autoscaler has two."""
    return World(a_policy(mode="Recommend", forecast=LEAD_TIME, **spec))


async def minutes_pass(world: World, count: int) -> None:
    """Let minutes pass; each is observed, and each quarter of an hour is compared."""
    for _ in range(count):
        await world.turn(1, step=timedelta())
        await world.shadow_minutes()
        world.clock.advance(MINUTE)
        if world.clock.now().minute % 15 == 0:
            await world.shadow_accounts()
    await world.refresher.run()
    await world.shadow_accounts()


def another_autoscaler(observed: Observed) -> str:
    """Name an HPA that scales every target as well."""
    return f"HPA/web scales {observed.uid} as well"


def shadow(world: World) -> dict[str, Any]:
    """The newest account of shop/checkout; the status is written some minutes later."""
    account = world.states.by_key()[KEY].shadow
    assert account is not None
    return account.to_manifest()


async def test_the_status_accounts_for_what_auto_would_have_avoided_and_added() -> None:
    world = a_world()
    await minutes_pass(world, 30)
    # The floor rises 2, 4, 8, 9 at the steps of 12:00, 12:01 and 12:02; its replicas are ready after three minutes.
    floors = [4, 8, *[9] * 28]
    assert world.target.minimum == 2
    assert shadow(world) == {
        "since": "2026-06-17T12:00:00Z",
        "until": "2026-06-17T12:30:00Z",
        "coveredHours": "0.5",
        "decisions": 3,
        "minutesShort": "30",
        "minutesShortAvoided": "25",
        "replicaHours": "1",
        "replicaHoursAdded": str(round((sum(floors) - 60) / 60, 1)),
        "largest": [
            {
                "time": "2026-06-17T12:00:00Z",
                "minutesShortAvoided": "25",
                "replicaHoursAdded": str(round((sum(floors) - 60) / 60, 1)),
            }
        ],
    }
    written = shadow(world)
    world.clock.advance(5 * MINUTE)
    await world.turn(1)
    assert world.status["shadow"] == written


async def test_enough_replicas_leave_nothing_to_avoid_and_nothing_to_add() -> None:
    world = a_world()
    world.target.replicas = world.target.ready_replicas = 12
    await minutes_pass(world, 20)
    account = shadow(world)
    assert (account["minutesShort"], account["minutesShortAvoided"], account["replicaHoursAdded"]) == ("0", "0", "0")
    assert (account["replicaHours"], "largest" in account and account["largest"]) == ("4", [])


async def test_the_account_continues_after_a_restart_and_counts_no_minute_twice() -> None:
    world = a_world()
    await minutes_pass(world, 30)
    before = shadow(world)
    world.clock.advance(5 * MINUTE)
    await world.turn(1, step=timedelta())
    world.restart()
    await world.turn(1, step=timedelta())
    assert shadow(world) == before
    await minutes_pass(world, 55)
    account = shadow(world)
    assert (account["coveredHours"], account["minutesShort"]) == ("1.4", "85")
    assert [hour["time"] for hour in account["largest"]] == ["2026-06-17T13:00:00Z", "2026-06-17T12:00:00Z"][::-1]


async def test_times_without_demand_or_without_the_operator_are_left_out() -> None:
    world = a_world()
    world.source.until = NOON + 20 * MINUTE
    await minutes_pass(world, 30)
    assert (shadow(world)["coveredHours"], shadow(world)["until"]) == ("0.3", "2026-06-17T12:20:00Z")
    world.source.until = NOON + timedelta(days=1)
    world.clock.advance(2 * HOUR)
    await minutes_pass(world, 30)
    assert shadow(world)["coveredHours"] == "1"


async def test_late_samples_of_an_hour_are_counted() -> None:
    world = a_world()
    world.source.until = NOON + 50 * MINUTE
    await minutes_pass(world, 60)
    assert shadow(world)["coveredHours"] == "0.8"
    world.source.until = NOON + timedelta(days=1)
    await minutes_pass(world, 15)
    assert shadow(world)["coveredHours"] == "1.2"


async def test_hours_older_than_seven_days_leave_the_account() -> None:
    world = a_world()
    await minutes_pass(world, 75)
    (first, _) = world.shadow_hours.rows.values()
    for day in range(1, 9):
        moved = replace(first, since=first.since - timedelta(days=day), until=first.until - timedelta(days=day))
        await world.shadow_hours.record([moved])
    await minutes_pass(world, 1)
    assert (shadow(world)["since"], shadow(world)["coveredHours"]) == ("2026-06-11T12:00:00Z", "7.3")


async def test_a_minute_in_which_the_floor_would_not_act_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world()
    await minutes_pass(world, 10)
    with monkeypatch.context() as patch:
        patch.setattr(conflicts, "other_autoscaler", another_autoscaler)
        await minutes_pass(world, 10)
    world.target.replicas = world.target.ready_replicas = 0
    await minutes_pass(world, 10)
    (hour,) = world.shadow_hours.rows.values()
    assert (hour.covered_minutes, hour.observed_minutes) == (10, 10)


async def test_auto_shows_no_account_and_recommend_continues_it() -> None:
    world = a_world()
    await minutes_pass(world, 30)
    world.put(a_policy(forecast=LEAD_TIME))
    await minutes_pass(world, 15)
    await world.turn(1)
    assert "shadow" not in world.status
    assert world.target.minimum == 9
    world.put(a_policy(mode="Recommend", forecast=LEAD_TIME))
    await minutes_pass(world, 15)
    assert shadow(world)["coveredHours"] == "0.8"


async def test_another_target_begins_a_new_account() -> None:
    world = a_world()
    await minutes_pass(world, 75)
    world.targets["web"] = InMemoryTarget(2, 40, 12, 12)
    world.put(a_policy(mode="Recommend", forecast=LEAD_TIME, target={"horizontalPodAutoscaler": {"name": "web"}}))
    await minutes_pass(world, 30)
    assert (shadow(world)["coveredHours"], shadow(world)["replicaHours"]) == ("0.5", "6")


async def test_a_workload_without_an_autoscaler_has_exactly_the_replicas_of_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observe = InMemoryTarget.observe

    async def directly(target: InMemoryTarget) -> Any:
        return replace(await observe(target), is_scaled_directly=True)

    monkeypatch.setattr(InMemoryTarget, "observe", directly)
    world = a_world(
        target={"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}},
        scaleDown={"stabilizationWindow": "0s", "maxStep": "100%"},
    )
    world.target.minimum = world.target.replicas = world.target.ready_replicas = 30
    await minutes_pass(world, 30)
    account = shadow(world)
    assert (account["replicaHours"], account["minutesShortAvoided"]) == ("15", "0")
    assert float(account["replicaHoursAdded"]) < -5


async def test_without_the_capacity_of_a_replica_there_is_no_account() -> None:
    world = a_world(demand={"perReplica": "Auto"})
    world.target.ready_replicas = 0
    await minutes_pass(world, 30)
    assert world.states.by_key()[KEY].shadow is None
    assert world.shadow_hours.rows == {}


async def test_minutes_wait_in_memory_while_the_database_is_away() -> None:
    world = a_world()
    world.shadow_hours.is_away = True
    with pytest.raises(DatabaseUnavailableError):
        await minutes_pass(world, 20)
    world.shadow_hours.is_away = False
    await minutes_pass(world, 10)
    assert shadow(world)["until"] == f"{hour_of(NOON):%Y-%m-%dT%H}:25:00Z"
    assert shadow(world)["coveredHours"] == "0.4"


async def test_a_policy_that_cannot_be_compared_affects_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        *(a_policy_named(name, target=name, mode="Recommend", forecast=LEAD_TIME) for name in ("checkout", "broken"))
    )
    world.targets["broken"] = InMemoryTarget(2, 40, 2, 2)
    minutes = world.window.minutes

    def fail(key: Any, since: datetime, until: datetime) -> Any:
        if key.service == "broken":
            raise OverflowError("garbage")
        return minutes(key, since, until)

    await world.turn(2)
    monkeypatch.setattr(world.window, "minutes", fail)
    with capture_logs() as logs:
        await minutes_pass(world, 15)
    assert shadow(world)["minutesShort"] == "15"
    assert {log["policy"] for log in logs if log["event"] == "shadow_not_compared"} == {"shop/broken"}


async def test_hours_of_a_deleted_policy_are_deleted() -> None:
    world = a_world()
    await minutes_pass(world, 15)
    del world.records[KEY]
    await world.loop.run()
    await world.shadow_accounts()
    assert world.shadow_hours.rows == {}


async def test_hours_of_a_policy_that_was_re_created_while_no_operator_ran_are_deleted() -> None:
    world = a_world()
    await minutes_pass(world, 15)
    del world.cluster.objects[path_of(KEY)]
    world.put(a_policy_named("checkout", forecast=LEAD_TIME))
    world.restart()
    await world.turn(1)
    await world.shadow_accounts()
    assert world.shadow_hours.rows == {}


async def test_a_demand_of_zero_counts_only_where_it_is_valid() -> None:
    for is_valid in (False, True):
        world = a_world(demand={"zeroIsValid": is_valid})
        world.source.demand = 0.0
        await minutes_pass(world, 15)
        assert bool(world.shadow_hours.rows) is is_valid


async def test_a_policy_that_left_recommend_shows_no_account_at_once() -> None:
    world = a_world()
    await minutes_pass(world, 15)
    world.put(a_policy(forecast=LEAD_TIME))
    world.clock.advance(5 * MINUTE)
    await world.turn(1)
    assert world.states.by_key()[KEY].shadow is not None
    assert "shadow" not in world.status
