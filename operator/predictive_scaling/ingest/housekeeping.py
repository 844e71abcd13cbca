"""Tasks of ingest besides consuming: waiting for the schema, retention, and the liveness check of the loop."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.ingest.arrivals import INTERVAL_SECONDS, Arrivals
from predictive_scaling.ingest.consumer import Ingest
from predictive_scaling.periodic_task import PeriodicTask
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.sample_arrivals import SampleArrivals
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.telemetry.checks import Check

log = structlog.get_logger(__name__)

INTERVAL = timedelta(hours=1)
PAUSE_SECONDS = 2.0


def retention_task(apply: Callable[[datetime], Awaitable[object]], clock: Clock) -> PeriodicTask:
    """Return the task that applies retention every hour of product time; a failed run does not end ingest.

    apply: `Retention.apply`, which takes the current time.
    """

    async def run() -> None:
        await apply(clock.now())

    return PeriodicTask("retention", run, clock.real_seconds(INTERVAL), on_standby=True)


def arrivals_task(arrivals: Arrivals, table: SampleArrivals) -> PeriodicTask:
    """Return the task that writes the arrivals of the last minute."""
    return PeriodicTask("arrivals", lambda: arrivals.write(table), INTERVAL_SECONDS, on_standby=True)


async def wait_for_schema(database: Database, worker: Ingest | None, stop: asyncio.Event) -> None:
    """Wait until the database is reachable. Raises SchemaError when its schema is wrong.

    worker: reports that it is alive meanwhile; None without Kafka.
    """
    while not stop.is_set():
        try:
            await check_schema(database)
            return
        except DatabaseUnavailableError as error:
            log.warning("database_unreachable", error=str(error))
        if worker is not None:
            worker.last_iteration_at = monotonic()
        try:
            await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)
        except TimeoutError:
            continue


MAX_ITERATION_SECONDS = 120.0
"""An iteration takes half a second, and retries count as iterations; a longer time is a hang."""


def loop_check(worker: Ingest) -> Check:
    """Return a check that fails when only a restart helps."""

    async def probe() -> None:
        silent = monotonic() - worker.last_iteration_at
        if silent > MAX_ITERATION_SECONDS:
            raise TimeoutError(f"the ingest loop has made no progress for {silent:.0f} s")

    return Check("consumer", probe)
