"""Runs the task of a backtest in a child process below the operator's priority."""

import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta

from predictive_scaling.backtesting.task import ENCODE, OUTCOME_DECODER, BacktestTask, Failed, Outcome
from predictive_scaling.control.jobs.subprocesses import run_child
from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.resources.vocabulary import BacktestReason

_WORKER = ("predictive_scaling.backtesting.worker",)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

RunTask = Callable[[BacktestTask, timedelta], Awaitable[Outcome]]
"""Runs a task within a time limit. Cancelling it ends the child process."""


async def run_in_child(task: BacktestTask, time_limit: timedelta) -> Outcome:
    """Run a task in a child process; it is killed after the time limit, and when the caller is cancelled."""
    seconds = time_limit.total_seconds()
    try:
        ended = await run_child(_WORKER, stdin=ENCODE(task), timeout_seconds=seconds, environment=_ONE_THREAD)
    except TimeoutError:
        return Failed(
            BacktestReason.DEADLINE_EXCEEDED,
            f"not done after {format_duration(time_limit)} (PREDICTIVE_SCALING_BACKTEST_TIME_LIMIT); choose a shorter "
            "span or fewer quantiles and objectives",
        )
    if ended.exit_code == -signal.SIGKILL:
        return Failed(
            BacktestReason.OUT_OF_MEMORY,
            "the system killed the child process, usually because memory ran out; its own limit is "
            f"{task.memory_bytes / 2**20:.0f} MiB; choose a shorter span, or give the operator's pod more memory",
        )
    if ended.exit_code:
        why = f"the child process ended with {ended.exit_code}: {ended.stderr_tail or 'no message'}"
        return Failed(BacktestReason.PROCESS_FAILED, why)
    return OUTCOME_DECODER.decode(ended.output)
