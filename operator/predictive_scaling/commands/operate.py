"""`predictive-scaling operator`: watches policies and raises floors ahead of demand."""

import asyncio
import signal
from contextlib import AsyncExitStack, suppress

import structlog
import typer

from predictive_scaling.bootstrap import Operator, assemble
from predictive_scaling.clock import Clock, parse_clock
from predictive_scaling.cluster.client import connected
from predictive_scaling.commands.supervision import run_until
from predictive_scaling.control.health import (
    MIN_STALLED_SECONDS,
    Startup,
    hang_check,
    index_check,
    leader_check,
    liveness_check,
    stalled_seconds,
    startup_check,
    success_check,
    tasks_check,
    watch_check,
)
from predictive_scaling.control.jobs.aggregated_metrics import check_settings
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.ports import Databases, Ports
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.telemetry.checks import database_check, models_check
from predictive_scaling.telemetry.logs import configure_logs, log_file
from predictive_scaling.telemetry.server import TelemetryServer
from predictive_scaling.telemetry.tracing import sent_traces

app = typer.Typer()
log = structlog.get_logger(__name__)

_SLACK_SHARE = 4 / 15
_RESTART_SECONDS = 2.0
_FIRST_RESPONSE_SECONDS = 5.0


@app.command()
def operate() -> None:
    """Watch policies and raise floors ahead of demand, until SIGTERM or Ctrl-C.

    Exit codes: 0 stopped, 70 a background task ended, 78 invalid setting or database schema, 79 the lease was lost.
    """
    settings = read_settings()
    check_settings(settings)
    clock = parse_clock(settings.clock)
    file = log_file("operator", settings.log_dir)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, file=file)
    with sent_traces("operator", enabled=settings.traces):
        asyncio.run(_operate(settings, clock))


async def _operate(settings: Settings, clock: Clock) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    databases, startup = Databases.of(settings), Startup()
    databases.hold("its schema has not been checked yet")
    # No request may take longer than the margin between the last use of a lease and its expiry.
    timeout_seconds = settings.lease_duration.total_seconds() * _SLACK_SHARE
    async with AsyncExitStack() as parts:
        parts.push_async_callback(databases.close)
        connections = 2 * settings.writes_in_flight
        cluster = await parts.enter_async_context(connected(connections=connections, timeout_seconds=timeout_seconds))
        operator = assemble(settings, clock, Ports.of(settings, cluster, databases))
        await parts.enter_async_context(_telemetry(settings, clock, operator, databases, startup))
        await _run(stop, databases, operator, startup)
    log.info("operator_stopped")


async def _run(stop: asyncio.Event, databases: Databases, operator: Operator, startup: Startup) -> None:
    """Run until `stop`; while the database is unavailable, run without it.

    Raises SchemaError as soon as a wrong schema is detected, and the errors of `run_until`.
    """
    check = asyncio.create_task(_release_when_checked(databases))
    check.add_done_callback(lambda task: None if task.cancelled() or task.exception() is None else stop.set())
    stopped = asyncio.create_task(stop.wait())
    try:
        # Usually the database responds immediately, so that no task has to start without it.
        await asyncio.wait([check, stopped], timeout=_FIRST_RESPONSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            startup.problem = None
            await run_until(stop, operator)
    finally:
        check.cancel()
        stopped.cancel()
        with suppress(asyncio.CancelledError):
            await check


async def _release_when_checked(databases: Databases) -> None:
    while True:
        try:
            await check_schema(databases.schema)
        except DatabaseUnavailableError as error:
            log.warning("database_unreachable", error=str(error))
            await asyncio.sleep(_RESTART_SECONDS)
        else:
            databases.release()
            await databases.schema.close()
            return


def _telemetry(
    settings: Settings, clock: Clock, operator: Operator, databases: Databases, startup: Startup
) -> TelemetryServer:
    tick, refresh = operator.task("tick"), operator.task("feed")
    limit = stalled_seconds(clock.real_seconds(settings.tick))
    watch = watch_check(operator.cache, lambda: operator.watch.ended, lambda: operator.loop.index_missing_seconds)
    readiness = [
        startup_check(startup),
        index_check(operator.cache, lambda: operator.leadership.leads),
        success_check(tick, limit),
    ]
    return TelemetryServer(
        settings.host,
        settings.operator_port,
        checks=[
            database_check(databases.background, required=False),
            models_check(lambda: len(operator.training.store.models())),
            leader_check(lambda: operator.leadership.leads),
            *readiness,
            hang_check(refresh, MIN_STALLED_SECONDS),
            watch,
            tasks_check(operator.tasks),
        ],
        ready=readiness,
        live=[liveness_check(tick, limit), hang_check(refresh, MIN_STALLED_SECONDS), watch],
    )
