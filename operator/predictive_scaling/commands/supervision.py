"""The operator's tasks from start to end: all at once, and a shutdown in order that always ends."""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Sequence

import structlog

from predictive_scaling.bootstrap import Operator
from predictive_scaling.control.periodic_task import run_periodically
from predictive_scaling.errors import LeadershipLostError, PredictiveScalingError, TaskEndedError

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 25.0
"""From the first sign to the end of the process; Kubernetes kills after 30 s."""
_TASKS_SECONDS = 5.0
_STEP_SECONDS = 8.0


async def run_until(stop: asyncio.Event, operator: Operator) -> None:
    """Run all tasks until `stop`; then end them, release the lease and stop the watches, whatever failed before.

    Raises LeadershipLostError when the lease was lost, TaskEndedError when a task ended that should not: in both cases
    the process has to start again.
    """
    leadership = operator.leadership
    operator.watch.start()
    tasks = [
        asyncio.create_task(run_periodically(task, lambda: leadership.leads), name=task.name) for task in operator.tasks
    ]
    signs = [asyncio.create_task(stop.wait()), asyncio.create_task(leadership.lost.wait())]
    problem: PredictiveScalingError | None = None
    try:
        await asyncio.wait([*signs, *tasks], return_when=asyncio.FIRST_COMPLETED)
        problem = None if stop.is_set() else _problem(operator, tasks)
    finally:
        end_process_after(SHUTDOWN_SECONDS, 0 if problem is None else problem.exit_code)
        await _shut_down(operator, [*tasks, *signs])
    if problem is not None:
        raise problem


def end_process_after(seconds: float, exit_code: int) -> None:
    """End the process when it did not end by itself by then: a thread cannot be cancelled, and a task may refuse."""

    def end() -> None:
        log.error("shutdown_overdue", seconds=seconds)
        logging.shutdown()
        os._exit(exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _problem(operator: Operator, tasks: Sequence[asyncio.Task[None]]) -> PredictiveScalingError:
    if operator.leadership.lost.is_set():
        return LeadershipLostError(
            f"The lease {operator.leadership.name} was lost: another operator may act on what this one remembers. "
            "This process ends, and a new one stands by."
        )
    ended = next(task for task in tasks if task.done())
    error = None if ended.cancelled() else ended.exception()
    log.error("task_ended", task=ended.get_name(), exc_info=error)
    return TaskEndedError(f"The background task {ended.get_name()} ended although it should not: {error!r}")


async def _shut_down(operator: Operator, tasks: Sequence[asyncio.Task[object]]) -> None:
    """The acting parts first, the lease next, the watches last."""
    for task in tasks:
        task.cancel()
    done, pending = await asyncio.wait(tasks, timeout=_TASKS_SECONDS)
    for task in done:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain of it
    for task in pending:
        log.warning("task_not_ended", task=task.get_name())
    await _step("release of the lease", operator.leadership.release())
    if operator.aggregated is not None:
        await _step("end of external metrics", operator.aggregated.stop())
    await _step("end of the watches", operator.watch.stop())


async def _step(name: str, work: Awaitable[object]) -> None:
    """One step of the shutdown; one that fails or hangs does not keep the next one from its turn."""
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            await work
    except Exception as error:  # the process ends all the same
        log.warning("shutdown_step_failed", step=name, error=str(error) or type(error).__name__)
