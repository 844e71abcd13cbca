"""What ingest does beside reading: waiting for its schema, and forgetting what is old."""

import asyncio
from datetime import timedelta

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.ingest.consumer import Ingest
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.schema import check_schema

log = structlog.get_logger(__name__)

EVERY = timedelta(hours=1)
PAUSE_SECONDS = 2.0


async def run_housekeeping(retention: Retention, clock: Clock) -> None:
    """Apply retention every hour of product time. A table that fails is tried again an hour later."""
    while True:
        await retention.apply(clock.now())
        await clock.sleep(EVERY)


async def wait_for_schema(database: Database, worker: Ingest, stop: asyncio.Event) -> None:
    """Until the database answers. Raises SchemaError as soon as it does and the schema is another one."""
    while not stop.is_set():
        try:
            await check_schema(database)
            return
        except DatabaseUnavailableError as error:
            log.warning("database_waited_for", error=str(error))
        worker.turned_at = monotonic()
        try:
            await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)
        except TimeoutError:
            continue
