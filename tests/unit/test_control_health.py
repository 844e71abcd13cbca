"""The operator's probes: ticks that fail, ticks that hang, and dependencies that are unavailable."""

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
from tests.support.manual_seconds import ManualSeconds

LIMIT_SECONDS = 60.0


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, module, periodic)


class Tick:
    """A started task that succeeds unless `error` is set."""

    def __init__(self, seconds: ManualSeconds) -> None:
        self.error: Exception | None = None
        self.task = PeriodicTask("tick", self._run, 15.0)
        self.task.started_at = seconds.now

    async def _run(self) -> None:
        if self.error is not None:
            raise self.error


async def examined(check: Check) -> CheckResult:
    return (await examine([check])).checks[check.name]


def test_a_tick_is_stalled_after_three_intervals_but_at_least_a_minute() -> None:
    assert stalled_seconds(15.0) == 60.0
    assert stalled_seconds(0.25) == 60.0
    assert stalled_seconds(120.0) == 360.0


async def test_failing_ticks_fail_liveness_with_their_error(seconds: ManualSeconds) -> None:
    tick = Tick(seconds)
    await tick.task.attempt()
    tick.error = RuntimeError("BYDAY=60MO is no day")
    for _ in range(4):
        seconds.now += 16.0
        await tick.task.attempt()
    result = await examined(liveness_check(tick.task, LIMIT_SECONDS))
    assert result.status is Health.UNHEALTHY
    assert "tick has not succeeded for 64 s" in (result.message or "")
    assert "BYDAY=60MO is no day" in (result.message or "")
    tick.error = None
    await tick.task.attempt()
    assert (await examined(liveness_check(tick.task, LIMIT_SECONDS))).status is Health.HEALTHY


async def test_a_hanging_tick_fails_liveness(seconds: ManualSeconds) -> None:
    tick = Tick(seconds)
    await tick.task.attempt()
    seconds.now += LIMIT_SECONDS + 1
    result = await examined(liveness_check(tick.task, LIMIT_SECONDS))
    assert result.status is Health.UNHEALTHY
    assert "it hangs" in (result.message or "")


async def test_an_unavailable_database_fails_readiness_but_not_liveness(seconds: ManualSeconds) -> None:
    tick = Tick(seconds)
    tick.error = DatabaseUnavailableError("PostgreSQL is away")
    for _ in range(10):
        seconds.now += 15.0
        await tick.task.attempt()
    assert (await examined(liveness_check(tick.task, LIMIT_SECONDS))).status is Health.HEALTHY
    ready = await examined(success_check(tick.task, LIMIT_SECONDS))
    assert ready.status is Health.UNHEALTHY
    assert "PostgreSQL is away" in (ready.message or "")
    seconds.now += LIMIT_SECONDS + 1
    assert (await examined(liveness_check(tick.task, LIMIT_SECONDS))).status is Health.UNHEALTHY, "now it hangs"


async def test_a_task_that_has_not_started_is_alive(seconds: ManualSeconds) -> None:
    task = PeriodicTask("tick", Tick(seconds)._run, 15.0)  # pyright: ignore[reportPrivateUsage]
    seconds.now += 10 * LIMIT_SECONDS
    for check in (
        liveness_check(task, LIMIT_SECONDS),
        hang_check(task, LIMIT_SECONDS),
        success_check(task, LIMIT_SECONDS),
    ):
        assert (await examined(check)).status is Health.HEALTHY


async def test_failing_runs_are_not_reported_as_hanging(seconds: ManualSeconds) -> None:
    refresher = Tick(seconds)
    refresher.error = RuntimeError("a bug")
    for _ in range(10):
        seconds.now += 15.0
        await refresher.task.attempt()
    assert (await examined(hang_check(refresher.task, LIMIT_SECONDS))).status is Health.HEALTHY
    seconds.now += LIMIT_SECONDS + 1
    assert (await examined(hang_check(refresher.task, LIMIT_SECONDS))).status is Health.UNHEALTHY


async def test_failing_tasks_are_named_and_only_degrade_health(seconds: ManualSeconds) -> None:
    publisher, healthy = Tick(seconds), Tick(seconds)
    publisher.task.name = "publisher"
    publisher.error = ValueError("no such column")
    for task in (publisher.task, healthy.task):
        await task.attempt()
    result = await examined(tasks_check([publisher.task, healthy.task]))
    assert (result.status, result.message) == (Health.DEGRADED, "publisher failed 1 times: no such column")


async def test_the_operator_is_not_ready_before_startup_or_with_an_incomplete_index() -> None:
    startup, informer_cache, leads = Startup(), InformerCache(InMemoryCluster()), True
    result = await examined(startup_check(startup))
    assert result.status is Health.UNHEALTHY
    assert "the database schema has not been checked yet" in (result.message or "")
    startup.problem = None
    assert (await examined(startup_check(startup))).status is Health.HEALTHY

    assert (await examined(index_check(informer_cache, lambda: leads))).status is Health.UNHEALTHY
    leads = False
    assert (await examined(index_check(informer_cache, lambda: leads))).status is Health.HEALTHY, (
        "a standby does not need a complete index"
    )
    leads, informer_cache.is_complete = True, True
    assert (await examined(index_check(informer_cache, lambda: leads))).status is Health.HEALTHY


@pytest.mark.parametrize(
    ("ended", "missing_seconds", "status"),
    [(False, 0.0, Health.HEALTHY), (True, 0.0, Health.UNHEALTHY), (False, 301.0, Health.UNHEALTHY)],
)
async def test_a_watch_that_ended_or_lags_fails_liveness(ended: bool, missing_seconds: float, status: Health) -> None:
    check = watch_check(InformerCache(InMemoryCluster()), lambda: ended, lambda: missing_seconds)
    assert (await examined(check)).status is status
