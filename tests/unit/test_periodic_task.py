"""Periodic tasks: a failure is counted and retried, and does not stop other tasks."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from predictive_scaling.errors import ClusterUnavailableError, DatabaseUnavailableError
from predictive_scaling.periodic_task import MAX_PAUSE_SECONDS, PeriodicTask, run_periodically
from tests.support.eventually import eventually
from tests.support.virtual_time import in_virtual_time


class Work:
    """Counts its runs, and raises `error`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.runs = 0
        self.error = error

    async def __call__(self) -> None:
        self.runs += 1
        if self.error is not None:
            raise self.error


def a_task(work: Callable[[], Awaitable[object]], name: str = "work", every_seconds: float = 0.01) -> PeriodicTask:
    return PeriodicTask(name, work, every_seconds, max_pause_seconds=0.05)


@asynccontextmanager
async def running(*tasks: PeriodicTask, leads: bool = True) -> AsyncGenerator[list[asyncio.Task[None]]]:
    started = [asyncio.create_task(run_periodically(periodic, lambda: leads)) for periodic in tasks]
    try:
        yield started
    finally:
        for periodic in started:
            periodic.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def wait_until(holds: Callable[[], bool]) -> None:
    async def check() -> bool:
        return holds()

    await eventually(check, interval_seconds=0.01)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        ExceptionGroup("two bugs", [ValueError("1"), KeyError("2")]),
        DatabaseUnavailableError("PostgreSQL is away"),
        asyncio.CancelledError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
@in_virtual_time
async def test_a_failing_task_is_retried_and_the_others_continue(error: BaseException) -> None:
    failing, healthy = Work(error), Work()
    broken = a_task(failing, f"failing_{type(error).__name__}")
    with capture_logs() as logs:
        async with running(broken, a_task(healthy)) as started:
            await wait_until(lambda: failing.runs >= 3 and healthy.runs >= 3)
            assert not any(task.done() for task in started)
            failing.error = None
            await wait_until(lambda: broken.failures == 0 and broken.succeeded_at is not None)
    assert {log["task"] for log in logs if log["event"] == "task_failed"} == {broken.name}
    counted = REGISTRY.get_sample_value("predictive_scaling_task_failures_total", {"task": broken.name})
    assert counted is not None
    assert counted >= 3


@in_virtual_time
async def test_an_unexpected_failure_is_logged_with_its_traceback() -> None:
    task = a_task(Work(RuntimeError("a bug")))
    with capture_logs() as logs:
        await task.attempt()
    (failed,) = [log for log in logs if log["event"] == "task_failed"]
    assert failed["exc_info"].args == ("a bug",)
    assert failed["exc_info"].__traceback__ is not None


@in_virtual_time
async def test_a_cancelled_task_ends() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async with running(a_task(forever)) as (task,):
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@in_virtual_time
async def test_a_cancelled_task_ends_although_its_run_suppresses_the_cancellation() -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with running(a_task(stubborn)) as (task,):
        await asyncio.sleep(0)
        task.cancel()
        finished, _ = await asyncio.wait([task], timeout=5)
        assert task in finished
        assert task.cancelled()


@in_virtual_time
async def test_the_pause_doubles_up_to_a_limit_and_is_reset_by_a_success() -> None:
    work = Work(RuntimeError("a bug"))
    task = PeriodicTask("doubling", work, 0.5)
    pauses: list[float] = []
    for _ in range(12):
        await task.attempt()
        pauses.append(task.pause_seconds)
    assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == MAX_PAUSE_SECONDS
    work.error = None
    await task.attempt()
    assert task.pause_seconds == 0.5


@in_virtual_time
async def test_a_period_longer_than_the_maximum_pause_is_kept() -> None:
    task = PeriodicTask("rare", Work(RuntimeError("a bug")), 900.0)
    for _ in range(5):
        await task.attempt()
    assert task.pause_seconds == 900.0


@in_virtual_time
async def test_waking_ends_the_pause_after_a_success() -> None:
    work = Work()
    task = PeriodicTask("woken", work, 3600.0)
    async with running(task):
        await wait_until(lambda: work.runs == 1)
        task.woken.set()
        await wait_until(lambda: work.runs == 2)


@in_virtual_time
async def test_a_standby_does_not_run_leader_tasks_and_still_reports_success() -> None:
    leader_work, shared_work = Work(), Work()
    task, shared = a_task(leader_work), PeriodicTask("shared", shared_work, 0.01, on_standby=True)
    async with running(task, shared, leads=False):
        await wait_until(lambda: shared_work.runs >= 2 and task.succeeded_at is not None)
    assert leader_work.runs == 0


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (DatabaseUnavailableError("away"), True),
        (ClusterUnavailableError("away"), True),
        (RuntimeError("a bug"), False),
    ],
)
@in_virtual_time
async def test_an_unavailable_dependency_is_distinguished_from_a_bug(error: Exception, waits: bool) -> None:
    task = a_task(Work(error))
    await task.attempt()
    assert task.waits_for_dependency is waits
