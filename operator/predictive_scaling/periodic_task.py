"""Background work in runs: one that fails is logged, counted and tried again later, and ends nothing else."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import ClusterUnavailableError, DatabaseUnavailableError, PredictiveScalingError

log = structlog.get_logger(__name__)

TASK_FAILURES = Counter(
    "predictive_scaling_task_failures_total", "Runs of a background task that ended in an error.", ["task"]
)

MIN_PAUSE_SECONDS = 0.05
"""Between two runs, however often the task is woken."""
MAX_PAUSE_SECONDS = 60.0
"""After failures in a row; a task with a longer period keeps its period."""
_MAX_DOUBLINGS = 10


@dataclass(slots=True)
class PeriodicTask:
    """Something to do again and again, one run at a time, and how its last runs ended.

    every_seconds: real time between two runs. on_standby: it also runs while this process does not lead.
    max_pause_seconds: the longest pause after failures in a row; the pause doubles with each.
    """

    name: str
    run: Callable[[], Awaitable[object]]
    every_seconds: float
    on_standby: bool = False
    max_pause_seconds: float = MAX_PAUSE_SECONDS
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it to have the next run at once; ignored during the pause after a failure."""
    failures: int = 0
    """In a row, up to now."""
    last_error: str | None = None
    """Of the newest failure in that row."""
    waits_for_dependency: bool = False
    """Whether that failure was an outage of the database or of the API server, which no restart mends."""
    started_at: float | None = None
    """Monotonic second at which the task was started; None before."""
    finished_at: float | None = None
    """Monotonic second at which the newest run ended, well or not."""
    succeeded_at: float | None = None
    """Monotonic second of the last heartbeat: a run that ended well, or a turn without leadership."""

    async def attempt(self) -> None:
        """One run. Raises CancelledError when the task is cancelled, and nothing else of what a run raises."""
        try:
            await self.run()
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            # Something that the run awaited was cancelled, not the task itself.
            self._failed(error)
        except Exception as error:  # the next run may do better, and no other task depends on this one
            self._failed(error)
        else:
            self.heartbeat()
        self.finished_at = monotonic()

    def heartbeat(self) -> None:
        """All is well."""
        self.succeeded_at = monotonic()
        self.failures, self.last_error, self.waits_for_dependency = 0, None, False

    @property
    def pause_seconds(self) -> float:
        """Real time until the next run."""
        period = max(MIN_PAUSE_SECONDS, self.every_seconds)
        doubled = period * 2 ** min(max(0, self.failures - 1), _MAX_DOUBLINGS)
        return min(doubled, max(period, self.max_pause_seconds))

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        self.last_error = str(error) or type(error).__name__
        self.waits_for_dependency = isinstance(error, ClusterUnavailableError | DatabaseUnavailableError)
        TASK_FAILURES.labels(self.name).inc()
        if isinstance(error, PredictiveScalingError):
            log.warning("task_failed", task=self.name, failures=self.failures, error=str(error))
        else:
            log.error("task_failed", task=self.name, failures=self.failures, exc_info=error)


async def run_periodically(task: PeriodicTask, leads: Callable[[], bool]) -> None:
    """Run the task until cancelled, apart by its period, or as soon as it is woken."""
    task.started_at = monotonic()
    while True:
        task.woken.clear()
        if task.on_standby or leads():
            await task.attempt()
        else:
            task.heartbeat()
        _end_if_cancelled()
        await _pause(task)


@asynccontextmanager
async def running(task: PeriodicTask) -> AsyncGenerator[None]:
    """Run the task while the block runs; it needs no leadership."""
    runs = asyncio.create_task(run_periodically(task, lambda: True), name=task.name)
    try:
        yield
    finally:
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)


def _end_if_cancelled() -> None:
    """Raises CancelledError where the current task was cancelled and what it awaited kept that to itself."""
    current = asyncio.current_task()
    if current is not None and current.cancelling():
        raise asyncio.CancelledError


async def _pause(task: PeriodicTask) -> None:
    if task.failures:
        await asyncio.sleep(task.pause_seconds)
        return
    await asyncio.sleep(MIN_PAUSE_SECONDS)
    try:
        async with asyncio.timeout(task.pause_seconds):
            await task.woken.wait()
    except TimeoutError:
        return
