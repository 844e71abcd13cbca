"""`predictive-scaling train`: trains, evaluates and publishes models from the recorded demand."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.progress import Progress

from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from predictive_scaling.clock import Clock, parse_clock
from predictive_scaling.errors import (
    DatabaseUnavailableError,
    NoEarlierModelError,
    NothingToLearnError,
    SettingsError,
)
from predictive_scaling.models.promotion_history import rollback_entry
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.resources.quantities import parse_duration
from predictive_scaling.resources.series_key import EVERY_SERIES, SHARED, SeriesFilter, SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.telemetry.checks import database_check
from predictive_scaling.telemetry.logs import configure_logs, log_file
from predictive_scaling.telemetry.server import TelemetryServer
from predictive_scaling.training.backends import connected
from predictive_scaling.training.demand_history import StoredHistory
from predictive_scaling.training.reporting import Exit, Failed, as_json, as_table, exit_code, key_fields
from predictive_scaling.training.trainer import Trained, Trainer

app = typer.Typer()
log = structlog.get_logger(__name__)
_MAX_THREADS = 2
_RETRY_INTERVAL = timedelta(minutes=1)


class Output(StrEnum):
    """Output format."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The options of a training.

    interval: repeat at this interval. dask: address of a scheduler. shared_only: train no per-series models.
    """

    series_filter: SeriesFilter
    interval: timedelta | None
    output: Output
    zero_is_valid: bool
    dask: str | None
    shared_only: bool

    def trains_shared_model(self, series: Sequence[SeriesKey]) -> bool:
        """Whether to train the shared model: with several series and no filter, or when only it is requested."""
        return bool(series) and (self.shared_only or (self.series_filter == EVERY_SERIES and len(series) > 1))


@app.command()
def train(
    service: Annotated[list[str] | None, typer.Option(help="Train only this service; may be repeated.")] = None,
    metric: Annotated[str | None, typer.Option(help="Train only this metric.")] = None,
    aggregation: Annotated[
        Aggregation | None, typer.Option(help="Train only this aggregation over the series of a service.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Repeat the training at this interval, such as 24h.")
    ] = None,
    zero_is_valid: Annotated[bool, typer.Option(help="Treat an exact zero as demand, not as missing data.")] = False,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Distribute the training over a Dask cluster.")
    ] = None,
    shared_only: Annotated[
        bool, typer.Option("--shared-only", help="Train only the shared model, from all series.")
    ] = False,
    rollback: Annotated[
        str | None,
        typer.Option(metavar="SERVICE", help="Roll this service back to its previous model version; trains nothing."),
    ] = None,
    output: Annotated[Output, typer.Option(help="Output format: a table, or JSON for programs.")] = Output.TABLE,
) -> None:
    """Train the models of all series that policies scale by, or of the selected series.

    Without a selection the shared model is trained too; it serves series with little history and series without a model
    in memory. Each model is evaluated on its last days; a running operator loads the published models. --dask
    distributes the series over the cluster with its scheduler at ADDRESS, such as tcp://scheduler:8786. --rollback
    activates the previous version (`shared` is the name of the shared model); for one training interval neither the
    operator nor --every trains that service. Exit codes: 0 all trained, 1 some failed, 3 all trained, but a new version
    scored worse than the current one, which stays in use, 66 nothing to train or to roll back to, 75 the database or
    the Dask cluster is unreachable, 78 invalid setting or database schema.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    file = log_file("trainer", settings.log_dir if every else None)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr, file=file)
    series_filter = SeriesFilter(frozenset(service or ()), metric, aggregation.value if aggregation else None)
    if rollback is not None:
        if service or every or dask or shared_only:
            raise SettingsError("--rollback trains nothing; remove --service, --every, --dask and --shared-only")
        rollback_filter = SeriesFilter(frozenset((rollback,)), metric, series_filter.aggregation)
        raise typer.Exit(_roll_back(Registry(settings.models_dir), rollback_filter, clock, output))
    if shared_only and series_filter != EVERY_SERIES:
        raise SettingsError("--shared-only trains on all series; remove --service, --metric and --aggregation")
    request = TrainingRequest(series_filter, _parse_interval(every), output, zero_is_valid, dask, shared_only)
    raise typer.Exit(asyncio.run(_run(settings, clock, request)))


async def _run(settings: Settings, clock: Clock, request: TrainingRequest) -> Exit:
    async with AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value()
        database = await stack.enter_async_context(Database(url, purpose="train", max_size=1))
        await check_schema(database)
        registry = Registry(settings.models_dir)
        history = StoredHistory(
            Demand(database), Policies(database), BusinessEvents(database), zero_is_valid=request.zero_is_valid
        )
        cluster = await stack.enter_async_context(connected(request.dask)) if request.dask else None
        model, span = _model(settings, spread=cluster is not None), settings.training_span
        trainer = Trainer(history, registry, clock, model, span, backend=cluster)
        concurrency = cluster.threads if cluster else 1

        async def train_once() -> Exit:
            known = {*await history.keys(clock.now() - span), *registry.keys()} - {SHARED}
            selected = request.series_filter.select(sorted(known))
            keys = [
                *([] if request.shared_only else selected),
                *([SHARED] if request.trains_shared_model(selected) else []),
            ]
            if request.interval is not None:
                keys = [key for key in keys if not _is_held(registry, key, clock.now(), settings.training_interval)]

            async def train_series(key: SeriesKey) -> Trained:
                return await (trainer.train_shared(selected) if key == SHARED else trainer.train(key))

            return await _train_all(train_series, keys, request, concurrency)

        if request.interval is None:
            return await train_once()
        checks = [database_check(database)]
        await stack.enter_async_context(
            TelemetryServer(settings.host, settings.trainer_port, checks=checks, ready=checks)
        )
        return await _train_periodically(train_once, clock, request.interval)


async def _train_all(
    train_one: Callable[[SeriesKey], Awaitable[Trained]],
    keys: Sequence[SeriesKey],
    request: TrainingRequest,
    concurrency: int,
) -> Exit:
    """Train one series after another locally, as a model uses all cores and much memory; concurrently on a cluster."""
    done: list[Trained] = []
    failed: list[Failed] = []
    semaphore = asyncio.Semaphore(concurrency)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("Training", total=len(keys))

        async def train_and_record(key: SeriesKey) -> None:
            async with semaphore:
                try:
                    done.append(await train_one(key))
                except NothingToLearnError as error:
                    log.warning("nothing_to_learn", series=str(key), problem=str(error))
                    if key != SHARED or request.shared_only:
                        failed.append(Failed(key, str(error)))
                progress.advance(task)

        await _run_all([train_and_record(key) for key in keys])
    done.sort(key=lambda trained: trained.key)
    typer.echo(as_json(done, failed) if request.output is Output.JSON else as_table(done, failed), nl=False)
    if not keys:
        log.warning("nothing_to_train", remedy="apply a ScalingPolicy, or send samples, then train again")
        return Exit.NOTHING_TO_TRAIN
    return exit_code(done, failed)


async def _run_all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None


def _is_held(registry: Registry, key: SeriesKey, now: datetime, interval: timedelta) -> bool:
    """Whether a user rolled back to the current version within the last interval, which automation must not undo."""
    version = registry.current(key.slug)
    rollback = rollback_entry(registry.folder / key.slug, version) if version else None
    if rollback is None or now - rollback.at >= interval:
        return False
    log.info("training_held", series=str(key), version=version, until=(rollback.at + interval).isoformat())
    return True


def _roll_back(registry: Registry, series_filter: SeriesFilter, clock: Clock, output: Output) -> Exit:
    keys = series_filter.select(registry.keys())
    if not keys:
        (service,) = series_filter.services
        raise NoEarlierModelError(f"{service} has no model in {registry.folder}; GET /api/v1/models lists the models")
    done = [roll_back(registry, key, clock.now()) for key in keys]
    for rollback in done:
        log.info("model_rolled_back", series=str(rollback.key), version=rollback.version, previous=rollback.previous)
    if output is Output.JSON:
        rows = [
            {
                **key_fields(rollback.key),
                "version": rollback.version,
                "previous": rollback.previous,
                "acting": rollback.acting,
            }
            for rollback in done
        ]
        typer.echo(json.dumps({"rolled_back": rows}))
    else:
        for rollback in done:
            typer.echo(f"{rollback.key}: rolled back to {rollback.version}; {rollback.evidence}")
    return Exit.GOOD


async def _train_periodically(train_once: Callable[[], Awaitable[Exit]], clock: Clock, interval: timedelta) -> Exit:
    """Train now and at each interval, until SIGTERM or Ctrl-C; retry while the database is unreachable."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        work = asyncio.ensure_future(_train_and_sleep(train_once, clock, interval))
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait((work,))
        elif (problem := work.exception()) is not None:
            stopped.cancel()
            raise problem
    return Exit.GOOD


async def _train_and_sleep(train_once: Callable[[], Awaitable[Exit]], clock: Clock, interval: timedelta) -> None:
    try:
        await train_once()
    except DatabaseUnavailableError as error:
        log.warning("database_unreachable", error=str(error))
        await clock.sleep(min(interval, _RETRY_INTERVAL))
        return
    await clock.sleep(interval)


def _parse_interval(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        interval = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--every: {error}") from None
    if interval <= timedelta():
        raise SettingsError("--every must be positive; write a duration such as 24h")
    return interval


def _model(settings: Settings, *, spread: bool) -> LightGBMQuantiles:
    """Return the model to train; with one thread on a cluster, whose workers train several series concurrently."""
    threads = 1 if spread else min(_MAX_THREADS, os.cpu_count() or 1)
    return LightGBMQuantiles(feature_count=settings.feature_count, threads=threads)
