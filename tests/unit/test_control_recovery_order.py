"""Which unfinished decisions are taken up first, and for how long a tick waits for targets that do not respond."""

from copy import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.control.actuation import recovery as module
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import (
    AWSAccessDeniedError,
    ClusterUnavailableError,
    PredictiveScalingError,
    RequestFailedError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON
from tests.support.control import World, a_policy_named
from tests.support.decision_rows import a_raise_row
from tests.support.manual_seconds import ManualSeconds


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, module)


class SlowTarget(InMemoryTarget):
    """A target of which the next observations fail, each after some seconds."""

    error: PredictiveScalingError | None = None
    failures: int = 0
    attempts: int = 0
    seconds: ManualSeconds | None = None

    async def observe(self) -> Observed:
        self.attempts += 1
        if self.failures > 0 and self.error is not None:
            self.failures -= 1
            if self.seconds is not None:
                self.seconds.now += 4.0
            raise copy(self.error)  # the traceback of one instance would grow with each attempt
        return await InMemoryTarget.observe(self)


def a_world(*names: str) -> World:
    """Policies whose raise from 2 to 4 was written by a former operator."""
    world = World(*(a_policy_named(name, target=name) for name in names))
    for name in names:
        world.targets[name] = SlowTarget(4, 40, 4, 4, uid=name, managers=("predictive-scaling",))
        row = a_raise_row(name)
        world.decisions.rows[row.id] = row
    return world


def fail(
    world: World, name: str, error: PredictiveScalingError, *, failures: int, seconds: ManualSeconds | None = None
) -> None:
    target = world.targets[name]
    assert isinstance(target, SlowTarget)
    target.error, target.failures, target.seconds = error, failures, seconds


def attempts(world: World) -> list[int]:
    return [target.attempts for target in world.targets.values() if isinstance(target, SlowTarget)]


async def recover(world: World) -> None:
    await world.leadership.campaign()
    await world.recovery.run()


async def test_targets_whose_requests_fail_keep_no_other_decision_from_being_taken_up(seconds: ManualSeconds) -> None:
    broken = [f"broken-{number}" for number in range(10)]
    world = a_world(*broken, "web")
    for name in broken:
        fail(world, name, RequestFailedError("service unavailable"), failures=99)
    await recover(world)
    assert world.verification.names == {"web-1"}
    assert len(world.recovery.held()) == 10


async def test_a_tick_ends_after_a_few_requests_without_an_api_server(seconds: ManualSeconds) -> None:
    names = [f"web-{number}" for number in range(30)]
    world = a_world(*names)
    for name in names:
        fail(world, name, ClusterUnavailableError("connection refused"), failures=1)
    await recover(world)
    assert sum(attempts(world)) == 3
    for _ in range(10):
        await world.recovery.resume()
    assert set(attempts(world)) == {1}, "each tick continues with the rest"


async def test_targets_that_do_not_respond_delay_a_tick_for_a_limited_time(seconds: ManualSeconds) -> None:
    names = [f"web-{number}" for number in range(30)]
    world = a_world(*names)
    for name in names:
        fail(world, name, RequestFailedError("did not answer within 4 s"), failures=1, seconds=seconds)
    await recover(world)
    assert sum(attempts(world)) == 3
    await world.recovery.resume()
    assert sum(attempts(world)) == 6
    assert max(attempts(world)) == 1, "those that failed come last"


async def test_the_decisions_of_a_policy_are_taken_up_in_their_order(seconds: ManualSeconds) -> None:
    world = a_world("web")
    world.decisions.rows["web-1"] = replace(world.decisions.rows["web-1"], to_replicas=3)
    newer = a_raise_row("web", 2, created_at=NOON - timedelta(minutes=59), from_replicas=3)
    world.decisions.rows[newer.id] = newer
    fail(world, "web", ClusterUnavailableError("connection reset"), failures=1)
    await recover(world)
    assert world.verification.names == frozenset()
    seconds.now += 301
    await world.recovery.resume()
    assert world.verification.names == {"web-1", "web-2"}
    (record,) = world.records[PolicyKey("shop", "web")]
    assert world.states.of(record, world.clock.now()).previous_decision == "web-2"


async def test_a_target_that_fails_for_days_is_still_retried_and_fails_no_tick(seconds: ManualSeconds) -> None:
    world = a_world("web")
    fail(world, "web", AWSAccessDeniedError("not allowed"), failures=1100)
    await recover(world)
    for _ in range(1100):
        seconds.now += 301
        await world.recovery.resume()
    assert world.verification.names == {"web-1"}
