"""A raise stays open for a limited time while what decides its roll-back cannot be observed (semantics 19)."""

import asyncio
from datetime import timedelta

import pytest

from predictive_scaling.control.actuation import verification
from predictive_scaling.control.actuation.verification import MAX_UNDECIDED
from predictive_scaling.errors import (
    PredictiveScalingError,
    RequestTimedOutError,
    TargetRefusedError,
    TargetUnsupportedError,
)
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Progress, ReplicaSource
from tests.support.builders import NOON
from tests.support.cluster import Json
from tests.support.control import World, a_policy_named
from tests.support.raised import PODS, Raised, crashing

EVENTS = "/api/v1/namespaces/shop/events"
FOREVER = NOON + timedelta(days=1)


@pytest.fixture(autouse=True)
def reads_without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_READ_INTERVAL_SECONDS", 0.0)


async def test_pods_that_cannot_be_read_for_a_moment_do_not_prevent_the_roll_back() -> None:
    world = Raised(crashing)
    world.cluster.failing = {PODS}
    await world.pass_deadline()
    assert world.outcomes == [("verifying", None)]
    world.cluster.failing = set()
    await world.turn(2)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_a_raise_whose_pods_stay_unreadable_ends_with_that_problem() -> None:
    world = Raised(crashing)
    world.cluster.failing = {PODS}
    await world.pass_deadline()
    world.clock.advance(MAX_UNDECIDED)
    await world.turn()
    (row,) = world.decisions.rows.values()
    assert (world.target.minimum, row.status, row.cause) == (9, "failed", "Timeout")
    assert "its pods could not be read" in (row.outcome or "")


async def test_a_cause_waits_for_events_that_cannot_be_read_for_a_moment() -> None:
    world = Raised(crashing)
    for index in range(7):
        del world.cluster.objects[f"{PODS}/new-{index}"]
    world.target.replicas = 2
    message = "create Pod web-2 failed: pods is forbidden: exceeded quota: few, requested: pods=1"
    world.cluster.objects[f"{EVENTS}/web.1"] = {
        "metadata": {"name": "web.1"},
        "reason": "FailedCreate",
        "message": message,
    }
    world.cluster.failing = {EVENTS}
    await world.pass_deadline()
    assert world.outcomes == [("verifying", None)]
    world.cluster.failing = set()
    await world.turn()
    assert world.outcomes == [("failed", "Quota")]


async def test_events_that_cannot_be_read_do_not_delay_a_roll_back() -> None:
    world = Raised(crashing)
    world.cluster.failing = {EVENTS}
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_a_pass_ends_its_reads_with_the_first_that_fails_and_the_next_pass_begins_with_another() -> None:
    names = ("cart", "orders", "search")
    world = World(*(a_policy_named(name, target=name) for name in names))
    for name in names:
        source = ReplicaSource(f"shop-{name}", "app=web", "")
        world.targets[name] = InMemoryTarget(2, 40, 2, 2, uid=name, source=source)
    await world.turn(4)
    world.clock.advance(timedelta(minutes=20))
    pods = [f"/api/v1/namespaces/shop-{name}/pods" for name in names]
    world.cluster.failing = set(pods)
    reads: list[str] = []
    for _ in range(4):
        world.cluster.pages.clear()
        await world.verification.run()
        assert len(world.cluster.pages) == 1
        reads += world.cluster.pages
    assert set(reads[:3]) == set(pods)
    assert reads[3] == reads[0]


async def test_targets_that_do_not_respond_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"shop-{number}" for number in range(12)]
    world = World(*(a_policy_named(name, target=name) for name in names))
    for name in names:
        world.targets[name] = InMemoryTarget(2, 40, 2, 2, uid=name)
    await world.turn(2)
    assert len(world.verification.open_names) == 12
    waiting = 0
    all_wait = asyncio.Event()

    async def waits_for_the_others(_target: InMemoryTarget) -> Progress:
        nonlocal waiting
        waiting += 1
        if waiting == len(names):
            all_wait.set()
        await all_wait.wait()
        raise RequestTimedOutError("did not answer within 4 s")

    monkeypatch.setattr(InMemoryTarget, "progress", waits_for_the_others)
    await world.verification.run()
    assert len(world.verification.open_names) == 12


@pytest.mark.parametrize("failing", [set[str](), {PODS}])
async def test_replicas_that_became_ready_while_pods_were_read_count(
    failing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Raised(crashing)
    world.cluster.failing = failing
    await world.turn()
    world.clock.advance(timedelta(minutes=20))
    read = world.cluster.first_page

    async def reads_slowly(path: str, *, limit: int, **query: str) -> list[Json]:
        world.target.settle()
        return await read(path, limit=limit, **query)

    monkeypatch.setattr(world.cluster, "first_page", reads_slowly)
    await world.turn()
    assert (world.target.minimum, world.outcomes) == (9, [("succeeded", None)])


async def test_a_restart_after_the_deadline_waits_for_the_first_reconciliation() -> None:
    world = Raised(crashing)
    await world.turn()
    world.clock.advance(timedelta(hours=1))
    world.restart()
    await world.leadership.campaign()
    await world.recovery.run()
    await world.verification.run()
    assert world.outcomes == [("verifying", None)]
    await world.turn(2)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_an_early_crash_while_demand_is_missing_is_decided_later() -> None:
    world = Raised(crashing)
    await world.turn()
    world.source.until = NOON
    world.clock.advance(timedelta(minutes=7))
    await world.turn(2)
    world.target.ready_replicas = 1
    await world.turn(2)
    assert world.outcomes == [("verifying", None)]
    world.source.until = FOREVER
    await world.turn(3)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_an_early_crash_while_the_demand_needs_the_raise_is_decided_later() -> None:
    world = Raised(crashing, demand=880.0)
    await world.turn()
    world.target.ready_replicas = 1
    await world.turn(2)
    assert world.outcomes == [("verifying", None)]
    world.source.demand = 180.0
    await world.turn(2)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_without_demand_a_raise_is_not_rolled_back() -> None:
    world = Raised(crashing)
    world.source.until = NOON
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes) == (9, [("verifying", None)])
    world.clock.advance(MAX_UNDECIDED)
    await world.turn()
    assert (world.target.minimum, world.outcomes) == (9, [("failed", "CrashLoop")])


async def test_demand_that_returns_soon_after_the_deadline_allows_the_roll_back() -> None:
    world = Raised(crashing)
    world.source.until = NOON
    await world.pass_deadline()
    world.source.until = FOREVER
    await world.turn(4)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


ENDS = [
    (TargetUnsupportedError("the API server has no kind Rollout"), 0, ("cancelled", None)),
    (TargetRefusedError("grant get on rollouts/scale"), 0, ("verifying", None)),
    (TargetRefusedError("grant get on rollouts/scale"), 20, ("failed", "Timeout")),
]


@pytest.mark.parametrize(("error", "minutes", "outcome"), ENDS)
async def test_a_target_that_cannot_be_observed_any_more_ends_the_decision_with_the_reason(
    error: PredictiveScalingError, minutes: int, outcome: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_target: InMemoryTarget) -> Progress:
        raise error

    world = Raised(crashing)
    await world.turn()
    monkeypatch.setattr(InMemoryTarget, "progress", fails)
    world.clock.advance(timedelta(minutes=minutes))
    await world.turn()
    (row,) = world.decisions.rows.values()
    assert (row.status, row.cause) == outcome
    assert row.status == "verifying" or str(error) in (row.outcome or "")


async def test_a_stepped_clock_does_not_shorten_the_time() -> None:
    world = Raised(crashing)
    world.cluster.failing = {PODS}
    await world.pass_deadline()
    world.clock.advance(-timedelta(hours=2))
    await world.turn()
    world.clock.advance(MAX_UNDECIDED - timedelta(minutes=2))
    await world.turn()
    assert world.outcomes == [("verifying", None)]
    world.clock.advance(timedelta(minutes=2))
    await world.turn()
    assert world.outcomes == [("failed", "Timeout")]
