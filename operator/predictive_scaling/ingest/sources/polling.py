"""Polling of all sources by one process among the replicas of ingest."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.ingest.sample_writer import SampleWriter
from predictive_scaling.ingest.sources.configuration import AnySource, PrometheusSource
from predictive_scaling.ingest.sources.poller import PullLimits, SourcePoller
from predictive_scaling.ingest.sources.postgresql import PostgreSQLReader
from predictive_scaling.ingest.sources.prometheus import PrometheusReader
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.poller_lock import PollerLock, poller_lock
from predictive_scaling.storage.source_positions import SourcePositions

log = structlog.get_logger(__name__)

STANDBY_SECONDS = 5.0
"""Pause between two attempts to become the process that polls."""
KEEP_SECONDS = 10.0
"""Interval at which the lock is kept; an idle transaction loses it after a minute."""


async def poll_sources(
    sources: Sequence[AnySource],
    database: Database,
    writer: SampleWriter,
    limits: PullLimits,
    clock: Clock,
) -> NoReturn:
    """Poll the sources until cancelled, while this process holds the lock."""
    positions = SourcePositions(database)
    while True:
        try:
            async with poller_lock(database) as lock:
                if lock is not None:
                    readers = [_reader(source) for source in sources]
                    pollers = [SourcePoller(reader, positions, writer, limits, clock) for reader in readers]
                    await _poll_while_locked(lock, positions, writer, pollers)
        except DatabaseUnavailableError as error:
            log.warning("sources_interrupted", error=str(error))
        await asyncio.sleep(STANDBY_SECONDS)


def _reader(source: AnySource) -> PrometheusReader | PostgreSQLReader:
    return PrometheusReader(source) if isinstance(source, PrometheusSource) else PostgreSQLReader(source)


async def _poll_while_locked(
    lock: PollerLock, positions: SourcePositions, writer: SampleWriter, pollers: Sequence[SourcePoller]
) -> None:
    """Poll until the lock is lost or the task is cancelled; another process may have written before."""
    log.info("sources_polled_here", queries=sum(len(poller.keys) for poller in pollers))
    writer.forget()
    await positions.forget_others([key for poller in pollers for key in poller.keys])
    tasks = [asyncio.create_task(_keep(lock)), *(asyncio.create_task(poller.run()) for poller in pollers)]
    try:
        # None of them ends by itself: the first to end has lost the lock or the database.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for poller in pollers:
            poller.hide()


async def _keep(lock: PollerLock) -> NoReturn:
    while True:
        await asyncio.sleep(KEEP_SECONDS)
        await lock.keep()
