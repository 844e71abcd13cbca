"""`predictive-scaling api`: serves the HTTP API."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer
from redis.asyncio import Redis

from predictive_scaling.api.application import create_app
from predictive_scaling.api.cache import LIMIT_SECONDS, AnswerCache
from predictive_scaling.api.services import (
    ModelChange,
    ModelHorizon,
    ModelScore,
    Services,
    StoredModel,
    StoredModels,
    UnreadableModel,
)
from predictive_scaling.api.serving import serve
from predictive_scaling.clock import parse_clock
from predictive_scaling.errors import DatabaseUnavailableError, ModelRejectedError
from predictive_scaling.models.manifest import Manifest, read_manifest
from predictive_scaling.models.promotion_history import Entry, entries
from predictive_scaling.models.registry import Registry
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.telemetry.checks import Check, database_check, models_check, redis_check
from predictive_scaling.telemetry.kafka_check import kafka_check
from predictive_scaling.telemetry.logs import configure_logs, log_file

log = structlog.get_logger(__name__)
app = typer.Typer()

_CHANGES = 10
_CONNECTIONS = 8
_COMMAND_CONNECTIONS = 6
# A visitor gets its 503 after this; the pool goes on looking for the server.
_CHECKOUT = timedelta(seconds=1.5)
_STATEMENT = timedelta(seconds=10)


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on; by default the setting.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; by default the setting.")] = None,
    file: Annotated[bool, typer.Option("--log-file", help="Log to /var/log/predictive-scaling/api.log too.")] = False,
) -> None:
    """Serve the HTTP API. Without its database it starts, says so at /health, and serves once that is there.

    Exit codes: 0 after SIGTERM, 78 for a setting or a schema that does not fit.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, file=log_file("api") if file else None)
    address = settings.host if host is None else host
    asyncio.run(_run(settings, address, settings.api_port if port is None else port))


async def _run(settings: Settings, host: str, port: int) -> None:
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(
                url, purpose="api", max_size=_CONNECTIONS, checkout_timeout=_CHECKOUT, statement_timeout=_STATEMENT
            )
        )
        asking = await stack.enter_async_context(
            Database(url, purpose="api-commands", max_size=_COMMAND_CONNECTIONS, checkout_timeout=_CHECKOUT)
        )
        redis = _redis(settings)
        if redis is not None:
            stack.push_async_callback(redis.aclose)
        await _refuse_other_schema(database)
        await serve(create_app(_services(settings, database, asking, redis)), host, port)


async def _refuse_other_schema(database: Database) -> None:
    """A wrong schema does not mend itself; a database that is away may come."""
    try:
        await check_schema(database)
    except DatabaseUnavailableError as error:
        log.warning("database_away_at_start", error=str(error))


def _services(settings: Settings, database: Database, asking: Database, redis: Redis | None) -> Services:
    registry = Registry(settings.models_dir)

    async def schema() -> None:
        await check_schema(database)

    return Services(
        clock=parse_clock(settings.clock),
        database=database,
        commands=Commands(asking),
        stored_models=lambda: stored_models(registry),
        cache=AnswerCache(redis),
        checks=(
            database_check(database),
            redis_check(redis),
            kafka_check(settings.kafka_bootstrap_servers, settings.kafka_topic, settings.kafka_options),
            models_check(lambda: len(stored_models(registry).models)),
        ),
        ready=(Check("database", schema),),
    )


def _redis(settings: Settings) -> Redis | None:
    if settings.redis_url is None:
        return None
    url = settings.redis_url.get_secret_value()
    return Redis.from_url(url, socket_timeout=LIMIT_SECONDS, socket_connect_timeout=LIMIT_SECONDS)


def stored_models(registry: Registry) -> StoredModels:
    """The current version of each series; a version that cannot be read is named with the reason."""
    models: list[StoredModel] = []
    rejected: list[UnreadableModel] = []
    for slug in sorted(registry.pointers()):
        version = registry.current(slug)
        if version is None:
            rejected.append(UnreadableModel(slug, "its CURRENT names no version that is there; train it again"))
            continue
        try:
            manifest = read_manifest(registry.path(slug, version))
            models.append(_stored(manifest, Path(slug) / version, entries(registry.folder / slug)))
        except ModelRejectedError as error:
            rejected.append(UnreadableModel(f"{slug}/{version}", str(error)))
    return StoredModels(models, rejected)


def _stored(manifest: Manifest, folder: Path, changes: Sequence[Entry]) -> StoredModel:
    return StoredModel(
        service_name=manifest.service,
        metric_name=manifest.metric,
        version=manifest.version,
        folder=str(folder),
        trained_from=manifest.trained_from,
        trained_until=manifest.trained_until,
        acting=manifest.gate.acting,
        evidence=manifest.gate.evidence,
        scores=[ModelScore(**score.model_dump(exclude={"judged"})) for score in manifest.gate.scores],
        horizons=[
            ModelHorizon(one.horizon * manifest.resolution_seconds / 60, one.model) for one in manifest.gate.by_horizon
        ],
        history=[
            ModelChange(change.at, change.outcome.value, change.version, change.previous, change.evidence)
            for change in reversed(changes[-_CHANGES:])
        ],
    )
