"""A policy whose visit fails: shown as such, repeated later and later, and nobody waits for it."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from structlog.typing import EventDict

from predictive_scaling.cluster.client import Json, ObjectConflictError
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.reconcile_failures import MAX_PAUSE
from predictive_scaling.errors import (
    ClusterUnavailableError,
    RequestFailedError,
    RequestTimedOutError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import a_policy
from tests.support.control import World

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    """What was logged."""
    with capture_logs() as found:
        yield found


WEBHOOK = 'Internal error occurred: failed calling webhook "deny.shop"'


class Broken(InMemoryTarget):
    """Every write of it fails, or hangs."""

    error: Exception | None = None
    hangs: bool = False
    asked: int = 0

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return await InMemoryTarget.apply(self, floor, take=take)


def named(name: str, number: int = 1, **spec: Any) -> ScalingPolicy:
    """Another policy, on a target of its own name."""
    policy = a_policy(target={"horizontalPodAutoscaler": {"name": name}}, **spec)
    uid = f"8b0c2f3e-0000-4000-8000-{number:012d}"
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"name": name, "uid": uid})})


def a_world(*broken: Broken) -> World:
    """The broken targets' policies come first, `checkout` last."""
    policies = [named(f"broken-{number}", 100 + number) for number in range(len(broken))]
    world = World(*policies, a_policy())
    for number, target in enumerate(broken):
        world.targets[f"broken-{number}"] = target
    return world


def broken(error: Exception | None = None) -> Broken:
    target = Broken(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    target.error = error
    return target


def ready_of(world: World, name: str) -> dict[str, Any]:
    status = world.cluster.objects[path_of(PolicyKey("shop", name))]["status"]
    return next(one for one in status["conditions"] if one["type"] == "Ready")


def failed(reason: str) -> float:
    return REGISTRY.get_sample_value("predictive_scaling_visits_failed_total", {"reason": reason}) or 0.0


FAILURES = [
    (RequestFailedError(WEBHOOK), "RequestFailed", WEBHOOK),
    (RequestTimedOutError("did not answer within 4 s"), "RequestTimedOut", "did not answer within 4 s"),
    (ObjectConflictError("the object has been modified"), "Conflict", "has been modified"),
    (OverflowError("date value out of range"), "InternalError", "date value out of range"),
    (KeyError("spec"), "InternalError", "KeyError"),
    (TimeoutError("inner"), "InternalError", "TimeoutError"),
    (ExceptionGroup("two", [ValueError("1"), ValueError("2")]), "InternalError", "ExceptionGroup"),
]


@pytest.mark.parametrize(("error", "reason", "words"), FAILURES, ids=lambda it: type(it).__name__)
async def test_a_failing_visit_is_shown_counted_and_holds_up_no_other(
    error: Exception, reason: str, words: str, logs: list[EventDict]
) -> None:
    world = a_world(broken(error))
    before = failed(reason)
    await world.turn(3, step=timedelta(seconds=1))
    assert world.target.minimum > 2, "the other policy was raised in the same ticks"
    ready = ready_of(world, "broken-0")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert words in ready["message"]
    if reason != "Conflict":  # a conflict of a write is a verdict of the visit, not its failure
        assert failed(reason) > before
        assert "shop/broken-0" in {log["policy"] for log in logs if log["event"] == "visit_failed"}


async def test_what_the_visits_before_found_stays_in_the_status_and_heals_with_the_cause() -> None:
    world = World()
    await world.turn(4, step=MINUTE)
    known = dict(world.status)

    async def fails(target: InMemoryTarget) -> Any:
        raise OverflowError("date value out of range")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InMemoryTarget, "observe", fails)
        await world.turn(1)
    assert world.condition("Ready")["reason"] == "InternalError"
    for field in ("floor", "takeover", "lastDecision", "target", "forecast", "currentReplicas"):
        assert world.status[field] == known[field], field
    assert world.condition("MetricsFresh")["status"] == "True"
    await world.turn(4)
    assert world.condition("Ready")["status"] == "True"


async def test_a_takeover_that_the_failing_visit_recorded_is_not_lost() -> None:
    world = World()
    world.targets["checkout"] = world.target = broken(RequestFailedError(WEBHOOK))
    await world.turn(2)
    assert world.condition("Ready")["reason"] == "RequestFailed"
    assert world.status["takeover"]["originalMinimum"] == 2
    assert world.status["target"] == "hpa/checkout"


async def test_an_event_tells_of_a_failure_once() -> None:
    world = a_world(broken(RequestFailedError(WEBHOOK)))
    await world.turn(8, step=MINUTE)
    await world.events.send()
    told = [one for path, one in world.cluster.objects.items() if "/events/" in path]
    notes = [one["note"] for one in told if one["reason"] == "VisitFailed"]
    assert len(notes) == 1
    assert WEBHOOK in notes[0]


async def test_a_failing_policy_is_visited_less_and_less_often_and_at_once_after_an_edit() -> None:
    target = broken(RequestFailedError(WEBHOOK))
    world = a_world(target)
    await world.turn(30, step=MINUTE)
    assert 6 <= target.asked <= 12, "half an hour: pauses of up to five minutes, in place of 60 turns"
    asked = target.asked
    await world.turn(1)
    assert target.asked == asked
    (record,) = world.records[PolicyKey("shop", "broken-0")]
    assert record.policy is not None
    policy = record.policy
    edited = policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"generation": 2})})
    world.put(edited)
    target.error = None
    await world.turn(1)
    assert target.asked > asked
    assert ready_of(world, "broken-0")["status"] == "True"


async def test_what_the_server_asks_to_wait_is_waited() -> None:
    target = broken(RequestFailedError("too many requests", retry_after_seconds=120.0))
    world = a_world(target)
    await world.turn(1)
    asked = target.asked
    await world.turn(7)
    assert target.asked == asked, "not before the two minutes are over"
    await world.turn(2)
    assert target.asked > asked


async def test_no_server_makes_a_policy_wait_for_longer_than_the_longest_pause() -> None:
    target = broken(RequestFailedError("too many requests", retry_after_seconds=1e18))
    world = a_world(target)
    await world.turn(1)
    asked = target.asked
    await world.turn(2 + MAX_PAUSE // timedelta(seconds=15))
    assert target.asked > asked


async def test_a_visit_that_hangs_is_given_up_and_the_next_tick_goes_on() -> None:
    target = broken()
    target.hangs = True
    world = a_world(target)
    world.loop.reconcile_limit_seconds = 0.2
    await world.turn(2)
    assert world.target.minimum > 2
    ready = ready_of(world, "broken-0")
    assert (ready["status"], ready["reason"]) == ("False", "VisitTimedOut")


async def test_one_lost_connection_ends_the_tick_and_the_next_one_begins_with_whom_it_did_not_reach() -> None:
    world = a_world(*(broken() for _ in range(4)))
    await world.turn(1)
    visited: list[str] = []
    away = True

    async def observe(target: InMemoryTarget) -> Any:
        name = next(name for name, one in world.targets.items() if one is target)
        visited.append(name)
        if away:
            raise ClusterUnavailableError("connection refused")
        return await original(target)

    original = InMemoryTarget.observe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InMemoryTarget, "observe", observe)
        world.loop.in_flight = 1
        before = REGISTRY.get_sample_value("predictive_scaling_ticks_failed_total") or 0.0
        for expected in ("broken-0", "broken-1", "broken-2"):
            visited.clear()
            await world.loop.run()
            assert visited == [expected]
        assert REGISTRY.get_sample_value("predictive_scaling_ticks_failed_total") == before + 3
        away = False
        visited.clear()
        await world.loop.run()
    assert visited[0] == "broken-3"
    assert len(visited) == 5
    assert not any(ready_of(world, name)["status"] == "False" for name in world.targets), "nobody is to blame"


async def test_a_few_time_outs_end_no_tick_and_many_in_a_row_do() -> None:
    slow = [broken(RequestTimedOutError("did not answer within 4 s")) for _ in range(4)]
    world = a_world(*slow)
    world.loop.in_flight = 1
    await world.leadership.campaign()
    for _ in range(3):
        await world.refresher.run()
        await world.loop.run()
        world.clock.advance(timedelta(seconds=1))
    assert world.target.minimum > 2, "the next ticks began with whom the first one did not reach"
    assert all(target.asked <= 2 for target in slow)


async def test_a_conflict_on_a_status_is_the_policys_own() -> None:
    world = a_world(broken())
    edit = world.cluster.edit

    async def conflict(path: str, operations: list[Json]) -> Json:
        if "broken-0" in path:
            raise ObjectConflictError(f"PATCH {path}: the object has been modified")
        return await edit(path, operations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.cluster, "edit", conflict)
        await world.turn(3)
    assert world.target.minimum > 2
    await world.turn(4)
    assert ready_of(world, "broken-0")["status"] == "True"
