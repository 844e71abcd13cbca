"""A policy whose reconciliation fails: it is reported, retried at growing intervals, and delays no other policy."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.typing import EventDict

from predictive_scaling.cluster.client import Json, ObjectConflictError
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.loop import MAX_TIMEOUTS_IN_A_ROW, Reachability
from predictive_scaling.control.reconcile_failures import MAX_PAUSE
from predictive_scaling.errors import (
    ClusterUnavailableError,
    ExtensionUnavailableError,
    RequestFailedError,
    RequestTimedOutError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.virtual_time import in_virtual_time

pytestmark = pytest.mark.usefixtures("logs")

MINUTE = timedelta(minutes=1)


WEBHOOK = 'Internal error occurred: failed calling webhook "deny.shop"'


class FailingTarget(InMemoryTarget):
    """A target whose writes fail or hang."""

    error: Exception | None = None
    hangs: bool = False
    attempts: int = 0

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        self.attempts += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return await InMemoryTarget.apply(self, floor, take=take)


def a_policy_named(name: str, number: int = 1, **spec: Any) -> ScalingPolicy:
    """ScalingPolicy shop/NAME on hpa/NAME."""
    policy = a_policy(target={"horizontalPodAutoscaler": {"name": name}}, **spec)
    uid = f"8b0c2f3e-0000-4000-8000-{number:012d}"
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"name": name, "uid": uid})})


def a_world(*targets: FailingTarget) -> World:
    """A world with a policy per broken target, before the policy `checkout`."""
    policies = [a_policy_named(f"broken-{number}", 100 + number) for number in range(len(targets))]
    world = World(*policies, a_policy())
    for number, target in enumerate(targets):
        world.targets[f"broken-{number}"] = target
    return world


def a_failing_target(error: Exception | None = None) -> FailingTarget:
    target = FailingTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2)
    target.error = error
    return target


def ready_of(world: World, name: str) -> dict[str, Any]:
    status = world.cluster.objects[path_of(PolicyKey("shop", name))]["status"]
    return next(condition for condition in status["conditions"] if condition["type"] == "Ready")


def failure_count(reason: str) -> float:
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


@pytest.mark.parametrize(("error", "reason", "fragment"), FAILURES, ids=lambda value: type(value).__name__)
async def test_a_failing_reconciliation_is_reported_counted_and_delays_no_other(
    error: Exception, reason: str, fragment: str, logs: list[EventDict]
) -> None:
    world = a_world(a_failing_target(error))
    before = failure_count(reason)
    await world.turn(3, step=timedelta(seconds=1))
    assert world.target.minimum > 2, "the other policy was raised in the same ticks"
    ready = ready_of(world, "broken-0")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert fragment in ready["message"]
    if reason != "Conflict":  # a conflict of a write is a result of the reconciliation, not a failure of it
        assert failure_count(reason) > before
        assert "shop/broken-0" in {log["policy"] for log in logs if log["event"] == "visit_failed"}


async def test_the_status_of_earlier_reconciliations_is_kept_until_the_failure_ends() -> None:
    world = World()
    await world.turn(4, step=MINUTE)
    status_before = dict(world.status)

    async def fails(target: InMemoryTarget) -> Any:
        raise OverflowError("date value out of range")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InMemoryTarget, "observe", fails)
        await world.turn(1)
    assert world.condition("Ready")["reason"] == "InternalError"
    for field in ("floor", "takeover", "lastDecision", "target", "forecast", "currentReplicas"):
        assert world.status[field] == status_before[field], field
    assert world.condition("MetricsFresh")["status"] == "True"
    await world.turn(4)
    assert world.condition("Ready")["status"] == "True"


async def test_a_takeover_recorded_by_a_failing_reconciliation_is_not_lost() -> None:
    world = World()
    world.targets["checkout"] = world.target = a_failing_target(RequestFailedError(WEBHOOK))
    await world.turn(2)
    assert world.condition("Ready")["reason"] == "RequestFailed"
    assert world.status["takeover"]["originalMinimum"] == 2
    assert world.status["target"] == "hpa/checkout"


async def test_a_failure_is_reported_in_one_kubernetes_event() -> None:
    world = a_world(a_failing_target(RequestFailedError(WEBHOOK)))
    await world.turn(8, step=MINUTE)
    await world.events.send()
    events = [body for path, body in world.cluster.objects.items() if "/events/" in path]
    notes = [event["note"] for event in events if event["reason"] == "VisitFailed"]
    assert len(notes) == 1
    assert WEBHOOK in notes[0]


async def test_a_failing_policy_is_retried_with_backoff_and_at_once_after_an_edit() -> None:
    target = a_failing_target(RequestFailedError(WEBHOOK))
    world = a_world(target)
    await world.turn(30, step=MINUTE)
    assert 6 <= target.attempts <= 12, "half an hour with pauses of up to five minutes instead of 60 attempts"
    attempts = target.attempts
    await world.turn(1)
    assert target.attempts == attempts
    (record,) = world.records[PolicyKey("shop", "broken-0")]
    assert record.policy is not None
    policy = record.policy
    edited = policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"generation": 2})})
    world.put(edited)
    target.error = None
    await world.turn(1)
    assert target.attempts > attempts
    assert ready_of(world, "broken-0")["status"] == "True"


async def test_retry_after_of_the_api_server_is_respected() -> None:
    target = a_failing_target(RequestFailedError("too many requests", retry_after_seconds=120.0))
    world = a_world(target)
    await world.turn(1)
    attempts = target.attempts
    await world.turn(7)
    assert target.attempts == attempts, "no attempt within the two minutes"
    await world.turn(2)
    assert target.attempts > attempts


async def test_retry_after_is_limited_to_the_maximum_pause() -> None:
    target = a_failing_target(RequestFailedError("too many requests", retry_after_seconds=1e18))
    world = a_world(target)
    await world.turn(1)
    attempts = target.attempts
    await world.turn(2 + MAX_PAUSE // timedelta(seconds=15))
    assert target.attempts > attempts


@in_virtual_time
async def test_a_hanging_reconciliation_times_out_and_the_next_tick_continues() -> None:
    target = a_failing_target()
    target.hangs = True
    world = a_world(target)
    world.loop.reconcile_limit_seconds = 0.2
    await world.turn(2)
    assert world.target.minimum > 2
    ready = ready_of(world, "broken-0")
    assert (ready["status"], ready["reason"]) == ("False", "VisitTimedOut")


async def test_a_lost_connection_ends_the_tick_and_the_next_tick_begins_with_the_remaining_policies() -> None:
    world = a_world(*(a_failing_target() for _ in range(4)))
    await world.turn(1)
    observed: list[str] = []
    away = True

    async def observe(target: InMemoryTarget) -> Any:
        name = next(name for name, candidate in world.targets.items() if candidate is target)
        observed.append(name)
        if away:
            raise ClusterUnavailableError("connection refused")
        return await original(target)

    original = InMemoryTarget.observe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InMemoryTarget, "observe", observe)
        world.loop.in_flight = 1
        before = REGISTRY.get_sample_value("predictive_scaling_ticks_failed_total") or 0.0
        for expected in ("broken-0", "broken-1", "broken-2"):
            observed.clear()
            await world.loop.run()
            assert observed == [expected]
        assert REGISTRY.get_sample_value("predictive_scaling_ticks_failed_total") == before + 3
        away = False
        observed.clear()
        await world.loop.run()
    assert observed[0] == "broken-3"
    assert len(observed) == 5
    assert not any(ready_of(world, name)["status"] == "False" for name in world.targets), "no policy is failing"


async def test_dead_apis_of_targets_never_end_a_tick_and_are_shown_with_back_off() -> None:
    error = ExtensionUnavailableError("GET /apis/shop.example/v1: service unavailable")
    dead = [a_failing_target(error) for _ in range(5)]
    world = a_world(*dead)
    world.loop.in_flight = 1
    await world.turn(1)
    assert world.target.minimum > 2
    for index in range(5):
        ready = ready_of(world, f"broken-{index}")
        assert (ready["status"], ready["reason"]) == ("False", "RequestFailed")
    assert all(target.attempts == 1 for target in dead), "each waits for its next attempt"


def test_an_api_that_does_not_respond_does_not_make_the_api_server_unavailable() -> None:
    cluster = Reachability()
    for _ in range(MAX_TIMEOUTS_IN_A_ROW):
        cluster.note(RequestTimedOutError("did not answer within 4 s"))
        cluster.note(ExtensionUnavailableError("service unavailable"))
    assert cluster.lost


async def test_only_many_consecutive_time_outs_end_a_tick() -> None:
    slow = [a_failing_target(RequestTimedOutError("did not answer within 4 s")) for _ in range(4)]
    world = a_world(*slow)
    world.loop.in_flight = 1
    await world.leadership.campaign()
    for _ in range(3):
        await world.refresher.run()
        await world.loop.run()
        world.clock.advance(timedelta(seconds=1))
    assert world.target.minimum > 2, "the next ticks began with the policies that the first tick did not reach"
    assert all(target.attempts <= 2 for target in slow)


async def test_a_status_conflict_affects_only_its_policy() -> None:
    world = a_world(a_failing_target())
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
