"""What the operator's probes say of ticks that fail, ticks that hang, and dependencies that are away."""

import pytest

from predictive_scaling import periodic_task as periodic
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.control import health as module
from predictive_scaling.control.health import (
    Startup,
    hang_check,
    index_check,
    liveness_check,
    stalled_seconds,
    startup_check,
    success_check,
    tasks_check,
    watch_check,
)
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.periodic_task import PeriodicTask
from predictive_scaling.telemetry.checks import Check, CheckResult, Health, examine
from tests.support.cluster import InMemoryCluster

LIMIT = 60.0


class Seconds:
    """A monotonic clock that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    for place in (module, periodic):
        monkeypatch.setattr(place, "monotonic", clock)
    return clock


class Tick:
    """A task that was started, and that ends as it is told."""

    def __init__(self, seconds: Seconds) -> None:
        self.error: Exception | None = None
        self.task = PeriodicTask("tick", self._run, 15.0)
        self.task.started_at = seconds.now

    async def _run(self) -> None:
        if self.error is not None:
            raise self.error


async def asked(check: Check) -> CheckResult:
    return (await examine([check])).checks[check.name]


def test_three_ticks_are_stalled_and_never_less_than_a_minute() -> None:
    assert stalled_seconds(15.0) == 60.0
    assert stalled_seconds(0.25) == 60.0
    assert stalled_seconds(120.0) == 360.0


async def test_failing_ticks_end_liveness_and_the_answer_says_with_what(seconds: Seconds) -> None:
    tick = Tick(seconds)
    await tick.task.attempt()
    tick.error = RuntimeError("BYDAY=60MO is no day")
    for _ in range(4):
        seconds.now += 16.0
        await tick.task.attempt()
    found = await asked(liveness_check(tick.task, LIMIT))
    assert found.status is Health.UNHEALTHY
    assert found.message == (
        "tick has not succeeded for 64 s, more than 60 s: 4 runs in a row failed, the last with: BYDAY=60MO is no day"
    )
    tick.error = None
    await tick.task.attempt()
    assert (await asked(liveness_check(tick.task, LIMIT))).status is Health.HEALTHY


async def test_a_hanging_tick_ends_liveness(seconds: Seconds) -> None:
    tick = Tick(seconds)
    await tick.task.attempt()
    seconds.now += LIMIT + 1
    found = await asked(liveness_check(tick.task, LIMIT))
    assert found.status is Health.UNHEALTHY
    assert "it hangs" in (found.message or "")


async def test_a_database_that_is_away_ends_readiness_and_not_liveness(seconds: Seconds) -> None:
    tick = Tick(seconds)
    tick.error = DatabaseUnavailableError("PostgreSQL is away")
    for _ in range(10):
        seconds.now += 15.0
        await tick.task.attempt()
    assert (await asked(liveness_check(tick.task, LIMIT))).status is Health.HEALTHY
    ready = await asked(success_check(tick.task, LIMIT))
    assert ready.status is Health.UNHEALTHY
    assert "PostgreSQL is away" in (ready.message or "")
    seconds.now += LIMIT + 1
    assert (await asked(liveness_check(tick.task, LIMIT))).status is Health.UNHEALTHY, "now it hangs"


async def test_a_task_that_was_not_started_yet_is_alive(seconds: Seconds) -> None:
    task = PeriodicTask("tick", Tick(seconds)._run, 15.0)  # pyright: ignore[reportPrivateUsage]
    seconds.now += 10 * LIMIT
    for check in (liveness_check(task, LIMIT), hang_check(task, LIMIT), success_check(task, LIMIT)):
        assert (await asked(check)).status is Health.HEALTHY


async def test_failing_runs_are_no_hanging_ones(seconds: Seconds) -> None:
    feed = Tick(seconds)
    feed.error = RuntimeError("a bug")
    for _ in range(10):
        seconds.now += 15.0
        await feed.task.attempt()
    assert (await asked(hang_check(feed.task, LIMIT))).status is Health.HEALTHY
    seconds.now += LIMIT + 1
    assert (await asked(hang_check(feed.task, LIMIT))).status is Health.UNHEALTHY


async def test_failing_tasks_are_named_and_only_degrade(seconds: Seconds) -> None:
    publisher, well = Tick(seconds), Tick(seconds)
    publisher.task.name = "mirror"
    publisher.error = ValueError("no such column")
    for task in (publisher.task, well.task):
        await task.attempt()
    found = await asked(tasks_check([publisher.task, well.task]))
    assert (found.status, found.message) == (Health.DEGRADED, "mirror failed 1 times: no such column")


async def test_nothing_is_ready_before_the_start_and_on_half_an_index() -> None:
    startup, informer_cache, leads = Startup(), InformerCache(InMemoryCluster()), True
    found = await asked(startup_check(startup))
    assert found.status is Health.UNHEALTHY
    assert "the database schema has not been checked yet" in (found.message or "")
    startup.problem = None
    assert (await asked(startup_check(startup))).status is Health.HEALTHY

    assert (await asked(index_check(informer_cache, lambda: leads))).status is Health.UNHEALTHY
    leads = False
    assert (await asked(index_check(informer_cache, lambda: leads))).status is Health.HEALTHY, (
        "a standby need not know all"
    )
    leads, informer_cache.is_complete = True, True
    assert (await asked(index_check(informer_cache, lambda: leads))).status is Health.HEALTHY


@pytest.mark.parametrize(
    ("ended", "missing_seconds", "status"),
    [(False, 0.0, Health.HEALTHY), (True, 0.0, Health.UNHEALTHY), (False, 301.0, Health.UNHEALTHY)],
)
async def test_a_watch_that_ended_or_shows_nothing_ends_liveness(
    ended: bool, missing_seconds: float, status: Health
) -> None:
    check = watch_check(InformerCache(InMemoryCluster()), lambda: ended, lambda: missing_seconds)
    assert (await asked(check)).status is status
