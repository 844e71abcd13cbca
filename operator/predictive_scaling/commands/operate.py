"""`predictive-scaling operator`: watch policies and raise floors ahead of demand."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any

import structlog
import typer

from predictive_scaling.bootstrap import Databases, Operator, assemble
from predictive_scaling.clock import Clock, monotonic, parse_clock
from predictive_scaling.control.chores import Chore, keep_doing
from predictive_scaling.errors import DatabaseUnavailableError, SettingsError
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles, read_trust
from predictive_scaling.handlers.probes import beat_check, leader_check, watch_check
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.targets.client import Cluster, connected
from predictive_scaling.telemetry.checks import database_check, models_check
from predictive_scaling.telemetry.logs import configure_logs
from predictive_scaling.telemetry.server import TelemetryServer

app = typer.Typer()
log = structlog.get_logger(__name__)

_TRUST = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
_TRUST_EVERY = timedelta(minutes=10)
_STALLED_SECONDS = 60.0
_SLACK_SHARE = 4 / 15
_RESTART_SECONDS = 2.0


@app.command()
def operate() -> None:
    """Watch policies and raise floors ahead of demand, until SIGTERM or Ctrl-C."""
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format)
    asyncio.run(_operate(settings, clock))


async def _operate(settings: Settings, clock: Clock) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    databases = Databases.of(settings)
    # No request may outlive the slack between our last reliance on a lease and its end.
    timeout_seconds = settings.lease_duration.total_seconds() * _SLACK_SHARE
    async with AsyncExitStack() as parts:
        parts.push_async_callback(databases.close)
        connections = 2 * settings.writes_in_flight
        cluster = await parts.enter_async_context(connected(connections=connections, timeout_seconds=timeout_seconds))
        operator = assemble(settings, clock, cluster, databases)
        await parts.enter_async_context(_telemetry(settings, operator, databases))
        if not await _schema_is_ready(databases, stop):
            return
        chores = list(operator.chores)
        if settings.external_metrics:
            server = await parts.enter_async_context(await _external_metrics(settings, clock, cluster, operator))
            chores.append(Chore("aggregator's authority", lambda: _trust_anew(server, cluster), _TRUST_EVERY))
        await _run_until(stop, settings, clock, operator, chores)
    log.info("operator_stopped")


async def _run_until(
    stop: asyncio.Event, settings: Settings, clock: Clock, operator: Operator, chores: Sequence[Chore]
) -> None:
    """Everything at once until `stop`; then the acting parts first, the lease next, the watches last."""
    operator.watch.start()
    # Loading probes each model in a child process; until then the naive models forecast.
    loading = asyncio.create_task(operator.models.take_up())
    acting = [
        asyncio.create_task(work)
        for work in (
            operator.leadership.run(),
            operator.loop.run(),
            operator.feed.run(),
            operator.events.run(),
            operator.mirror.run(),
            _verify(settings, clock, operator),
            _answer(operator),
            *(keep_doing(chore, clock, lambda: operator.leadership.leads) for chore in chores),
        )
    ]
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopped, *acting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end([*acting, stopped, loading])
        await operator.leadership.release()
        await operator.watch.stop()


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def _verify(settings: Settings, clock: Clock, operator: Operator) -> None:
    """Look after writes for ever, beside the tick."""
    while True:
        if operator.leadership.leads:
            await operator.verification.look()
        await asyncio.sleep(max(0.05, clock.real_seconds(settings.tick) / 2))


async def _answer(operator: Operator) -> None:
    """Answer commands for ever; listening begins anew whenever the database went away."""
    while True:
        try:
            await operator.commands.run()
        except DatabaseUnavailableError as error:
            log.info("commands_wait", error=str(error))
        await asyncio.sleep(_RESTART_SECONDS)


async def _schema_is_ready(databases: Databases, stop: asyncio.Event) -> bool:
    """Wait for the database; False when stopped meanwhile. Raises SchemaError for a schema that is not ours."""
    while not stop.is_set():
        try:
            await check_schema(databases.beside)
            return True
        except DatabaseUnavailableError as error:
            log.warning("database_waited_for", error=str(error))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _RESTART_SECONDS)
    return False


def _telemetry(settings: Settings, operator: Operator, databases: Databases) -> TelemetryServer:
    began = monotonic()
    limit = _STALLED_SECONDS
    turns = [
        beat_check("tick", lambda: max(operator.loop.beat_at, began), limit),
        beat_check("feed", lambda: max(operator.feed.beat_at, began), limit),
        watch_check(operator.inventory, lambda: operator.watch.runs),
    ]
    return TelemetryServer(
        settings.host,
        settings.operator_port,
        checks=[
            database_check(databases.beside),
            models_check(lambda: len(operator.models.shelf.models())),
            leader_check(lambda: operator.leadership.leads),
            *turns,
        ],
        ready=[database_check(databases.beside)],
        live=turns,
    )


async def _external_metrics(
    settings: Settings, clock: Clock, cluster: Cluster, operator: Operator
) -> ExternalMetricsServer:
    certificate, key = settings.external_metrics_certificate, settings.external_metrics_key
    if certificate is None or key is None:
        raise SettingsError(
            "PREDICTIVE_SCALING_EXTERNAL_METRICS needs PREDICTIVE_SCALING_EXTERNAL_METRICS_CERTIFICATE and …_KEY: "
            "the API server speaks TLS only"
        )
    trust = await _aggregator(cluster)
    files = ServingFiles(certificate, key)
    return ExternalMetricsServer(
        operator.board, clock, files, trust, host=settings.host, port=settings.external_metrics_port
    )


async def _aggregator(cluster: Cluster) -> AggregatorTrust:
    return read_trust((await cluster.get(_TRUST)).get("data") or {})


async def _trust_anew(server: ExternalMetricsServer, cluster: Cluster) -> None:
    """The cluster may have rotated its authority."""
    await server.trust(await _aggregator(cluster))
