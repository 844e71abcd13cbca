"""Runs the operator's tasks concurrently and shuts them down in order, within a time limit."""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Sequence

import structlog

from predictive_scaling.bootstrap import Operator
from predictive_scaling.errors import LeadershipLostError, PredictiveScalingError, TaskEndedError
from predictive_scaling.periodic_task import run_periodically

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 25.0
"""From the first signal to the end of the process; Kubernetes kills it after 30 s."""
_TASKS_SECONDS = 5.0
_STEP_SECONDS = 8.0


async def run_until(stop: asyncio.Event, operator: Operator) -> None:
    """Run all tasks until `stop`; then end them, release the lease and stop the watches, even after failures.

    Raises LeadershipLostError when the lease was lost, TaskEndedError when a task ended early: in both cases the
    process must restart.
    """
    leadership = operator.leadership
    operator.watch.start()
    tasks = [
        asyncio.create_task(run_periodically(task, lambda: leadership.leads), name=task.name) for task in operator.tasks
    ]
    end_signals = [asyncio.create_task(stop.wait()), asyncio.create_task(leadership.lost.wait())]
    problem: PredictiveScalingError | None = None
    try:
        await asyncio.wait([*end_signals, *tasks], return_when=asyncio.FIRST_COMPLETED)
        problem = None if stop.is_set() else _problem(operator, tasks)
    finally:
        end_process_after(SHUTDOWN_SECONDS, 0 if problem is None else problem.exit_code)
        await _shut_down(operator, [*tasks, *end_signals])
    if problem is not None:
        raise problem


def end_process_after(seconds: float, exit_code: int) -> None:
    """Exit after `seconds` if the process still runs: threads cannot be cancelled, and tasks may ignore it."""

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
            f"The lease {operator.leadership.name} was lost: another replica may lead now. "
            "This process exits; its replacement waits for the lease."
        )
    ended = next(task for task in tasks if task.done())
    error = None if ended.cancelled() else ended.exception()
    log.error("task_ended", task=ended.get_name(), exc_info=error)
    return TaskEndedError(f"The background task {ended.get_name()} ended before shutdown: {error!r}")


async def _shut_down(operator: Operator, tasks: Sequence[asyncio.Task[object]]) -> None:
    """Stop the tasks and their requests to AWS first, then release the lease, then stop the watches."""
    for task in tasks:
        task.cancel()
    done, pending = await asyncio.wait(tasks, timeout=_TASKS_SECONDS)
    for task in done:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio logs no warning
    for task in pending:
        log.warning("task_not_ended", task=task.get_name())
    # A write that AWS executes after the release could overwrite that of the next leader.
    await _step("end requests to AWS", operator.aws.close())
    await _step("release lease", operator.leadership.release())
    if operator.aggregated is not None:
        await _step("stop external metrics", operator.aggregated.stop())
    await _step("stop watches", operator.watch.stop())


async def _step(name: str, work: Awaitable[object]) -> None:
    """Run a step of the shutdown; its failure or timeout does not prevent the next step."""
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            await work
    except Exception as error:  # the shutdown continues
        log.warning("shutdown_step_failed", step=name, error=str(error) or type(error).__name__)
