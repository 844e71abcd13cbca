"""Checks of the operator's liveness and readiness (docs/runbook.md lists the rules).

Liveness covers what only a restart repairs: ticks that fail or hang, a watch that delivers nothing. It does not cover
outages of the database or the API server. A blocked event loop answers no probe and therefore fails, too.
Readiness covers whether anything can be decided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.periodic_task import PeriodicTask
from predictive_scaling.telemetry.checks import Check, Degraded

MIN_STALLED_SECONDS = 60.0
"""However short a tick is: a slow moment of the machine is no reason to restart."""
STALLED_TICKS = 3
INDEX_SECONDS = 300.0
_DEAF_SECONDS = 120.0


@dataclass(slots=True)
class Startup:
    """Progress of the start: why nothing is decided yet; None once everything runs."""

    problem: str | None = "the database schema has not been checked yet"


def stalled_seconds(tick_seconds: float) -> float:
    """After how many seconds without success the tick counts as stalled: three ticks, and at least a minute."""
    return max(MIN_STALLED_SECONDS, STALLED_TICKS * tick_seconds)


def liveness_check(task: PeriodicTask, limit_seconds: float) -> Check:
    """Does the task succeed now and then? One that waits for the database or the API server is alive."""

    async def probe() -> None:
        if task.waits_for_dependency and monotonic() - (task.finished_at or 0.0) <= limit_seconds:
            return
        _refuse_stalled(task, task.succeeded_at, limit_seconds)

    return Check(task.name, probe)


def hang_check(task: PeriodicTask, limit_seconds: float) -> Check:
    """Do the runs of the task end, well or not?"""

    async def probe() -> None:
        _refuse_stalled(task, task.finished_at, limit_seconds)

    return Check(task.name, probe)


def success_check(task: PeriodicTask, limit_seconds: float) -> Check:
    """Fail while the task does not succeed, for any reason: nothing is decided without it."""

    async def probe() -> None:
        _refuse_stalled(task, task.succeeded_at, limit_seconds)

    return Check(task.name, probe)


def tasks_check(tasks: Sequence[PeriodicTask]) -> Check:
    """Report background tasks that fail now. Only their own work is delayed."""

    async def probe() -> None:
        failing = [task for task in tasks if task.failures]
        if failing:
            shown = (f"{task.name} failed {task.failures} times: {task.last_error}" for task in failing)
            raise Degraded("; ".join(shown))

    return Check("tasks", probe, required=False)


def startup_check(startup: Startup) -> Check:
    """Has everything been started?"""

    async def probe() -> None:
        if startup.problem is not None:
            raise RuntimeError(f"not started yet: {startup.problem}")

    return Check("startup", probe)


def index_check(informer_cache: InformerCache, leads: Callable[[], bool]) -> Check:
    """Fail while a leader has not seen every object; a standby does not have to."""

    async def probe() -> None:
        if leads() and not informer_cache.is_complete:
            raise RuntimeError("the watches have not delivered every policy and event yet; decisions wait for that")

    return Check("index", probe)


def watch_check(
    informer_cache: InformerCache, ended: Callable[[], bool], index_missing_seconds: Callable[[], float]
) -> Check:
    """Do the watches show what is there? One that never does is deaf, and only a restart mends it."""

    async def probe() -> None:
        if ended():
            raise RuntimeError("the watch ended")
        deaf = informer_cache.watch_lag_seconds()
        if deaf > _DEAF_SECONDS:
            raise RuntimeError(f"the watch has not shown a write of ours for {deaf:.0f} s")
        missing = index_missing_seconds()
        if missing > INDEX_SECONDS:
            raise RuntimeError(f"the watches have not shown every object for {missing:.0f} s")

    return Check("watch", probe)


def leader_check(leads: Callable[[], bool]) -> Check:
    """Report whether this process leads. A standby is healthy, too."""

    async def probe() -> None:
        if not leads():
            raise Degraded("standby: another operator leads, or none does yet")

    return Check("leader", probe, required=False)


def _refuse_stalled(task: PeriodicTask, last: float | None, limit_seconds: float) -> None:
    """Raises RuntimeError where the last sign of life is too long ago; a task that was not started owes none."""
    if task.started_at is None:
        return
    age = monotonic() - max(task.started_at, last or 0.0)
    if age <= limit_seconds:
        return
    why = f"{task.failures} runs in a row failed, the last with: {task.last_error}" if task.failures else "it hangs"
    raise RuntimeError(f"{task.name} has not succeeded for {age:.0f} s, more than {limit_seconds:.0f} s: {why}")
