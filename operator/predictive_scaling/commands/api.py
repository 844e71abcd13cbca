"""`predictive-scaling api`: serves the HTTP API."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Annotated

import structlog
import typer
from redis.asyncio import Redis

from predictive_scaling.access.serving_certificate import serving_certificate
from predictive_scaling.api.application import create_app
from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.api.quality_metrics import quality_task
from predictive_scaling.api.services import Services
from predictive_scaling.api.serving import HTTP_API, serve
from predictive_scaling.api.stored_models import stored_models
from predictive_scaling.clock import parse_clock
from predictive_scaling.commands.api_access import access_policy
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.models.registry import Registry
from predictive_scaling.periodic_task import running
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.redis_circuit import connect_redis
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.storage.source_positions import SourcePositions
from predictive_scaling.telemetry.checks import Check, database_check, models_check, redis_check, sources_check
from predictive_scaling.telemetry.kafka_check import kafka_check
from predictive_scaling.telemetry.logs import LOG_FOLDER, configure_logs, log_file
from predictive_scaling.telemetry.tracing import sent_traces

log = structlog.get_logger(__name__)
app = typer.Typer()

_CONNECTIONS = 8
_COMMAND_CONNECTIONS = 6
# A client receives a 503 after this; the pool continues to reconnect.
_CHECKOUT_TIMEOUT = timedelta(seconds=1.5)
_STATEMENT_TIMEOUT = timedelta(seconds=10)


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Listen address; default: PREDICTIVE_SCALING_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen port; default: PREDICTIVE_SCALING_API_PORT.")] = None,
    file: Annotated[bool, typer.Option("--log-file", help="Also log to /var/log/predictive-scaling/api.log.")] = False,
) -> None:
    """Serve the HTTP API. It also starts without the database, reports that at /health and serves once it is reachable.

    Exit codes: 0 stopped by SIGTERM, 78 invalid setting or database schema.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    folder = settings.log_dir or (LOG_FOLDER if file else None)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, file=log_file("api", folder))
    address = settings.host if host is None else host
    with sent_traces("api", enabled=settings.traces):
        asyncio.run(_run(settings, address, settings.api_port if port is None else port))


async def _run(settings: Settings, host: str, port: int) -> None:
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(
                url,
                purpose="api",
                max_size=_CONNECTIONS,
                checkout_timeout=_CHECKOUT_TIMEOUT,
                statement_timeout=_STATEMENT_TIMEOUT,
            )
        )
        command_database = await stack.enter_async_context(
            Database(url, purpose="api-commands", max_size=_COMMAND_CONNECTIONS, checkout_timeout=_CHECKOUT_TIMEOUT)
        )
        redis = _redis(settings)
        if redis is not None:
            stack.push_async_callback(redis.aclose)
        access = await stack.enter_async_context(access_policy(settings, host))
        certificate = serving_certificate(settings.api_certificate, settings.api_key, HTTP_API)
        await _refuse_other_schema(database)
        services = _services(settings, database, command_database, redis)
        application = create_app(services, access)
        await stack.enter_async_context(running(quality_task(services)))
        await serve(application, host, port, certificate, on_stop=application.state.changes.close)


async def _refuse_other_schema(database: Database) -> None:
    """Raise SchemaError for a wrong schema; a database that is unreachable may become reachable."""
    try:
        await check_schema(database)
    except DatabaseUnavailableError as error:
        log.warning("database_unreachable_at_start", error=str(error))


def _services(settings: Settings, database: Database, command_database: Database, redis: Redis | None) -> Services:
    registry = Registry(settings.models_dir)

    async def schema() -> None:
        await check_schema(database)

    clock, positions = parse_clock(settings.clock), SourcePositions(database)

    async def source_problems() -> list[str]:
        return await positions.problems(clock.now())

    return Services(
        clock=clock,
        database=database,
        commands=Commands(command_database),
        stored_models=lambda: stored_models(registry),
        cache=ResponseCache(redis, database.where),
        checks=(
            database_check(database),
            redis_check(redis),
            *_kafka_checks(settings),
            sources_check(source_problems),
            models_check(lambda: len(stored_models(registry).models)),
        ),
        ready=(Check("database", schema),),
        recent_factor=1.0,
    )


def _kafka_checks(settings: Settings) -> list[Check]:
    """Return the check of Kafka; none where all demand comes from pull sources."""
    if not settings.kafka_bootstrap_servers:
        return []
    return [kafka_check(settings.kafka_bootstrap_servers, settings.kafka_topic, settings.kafka_options)]


def _redis(settings: Settings) -> Redis | None:
    if settings.redis_url is None:
        return None
    return connect_redis(settings.redis_url.get_secret_value())
