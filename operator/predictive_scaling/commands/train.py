"""`predictive-scaling train`: models from the recorded demand, judged and published."""

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
from predictive_scaling.models.promotion_history import was_rolled_back
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.models.series_key import SHARED, SeriesKey
from predictive_scaling.resources.quantities import parse_duration
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.telemetry.checks import database_check
from predictive_scaling.telemetry.logs import configure_logs
from predictive_scaling.telemetry.server import TelemetryServer
from predictive_scaling.training.backends import connected
from predictive_scaling.training.demand_history import StoredHistory
from predictive_scaling.training.reporting import Exit, Failed, as_json, as_table, exit_code, named
from predictive_scaling.training.series_filter import EVERY_SERIES, SeriesFilter
from predictive_scaling.training.trainer import Trained, Trainer

app = typer.Typer()
log = structlog.get_logger(__name__)
_MAX_THREADS = 2
_RETRY = timedelta(minutes=1)


class Output(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"


class Aggregation(StrEnum):
    """As in spec.demand.aggregation."""

    SUM = "Sum"
    MEAN = "Mean"
    MAX = "Max"


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What was asked for.

    every: go on at this interval. dask: the address of a scheduler. shared_only: no series' own models.
    """

    series_filter: SeriesFilter
    interval: timedelta | None
    output: Output
    zero_is_valid: bool
    dask: str | None
    shared_only: bool

    def shares(self, series: Sequence[SeriesKey]) -> bool:
        """Whether the model that all share is trained too: with all of them, if they are several, or by order."""
        return bool(series) and (self.shared_only or (self.series_filter == EVERY_SERIES and len(series) > 1))


@app.command()
def train(
    service: Annotated[list[str] | None, typer.Option(help="Only this service; may be given again.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    aggregation: Annotated[Aggregation | None, typer.Option(help="Over the series of a service.")] = None,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="Go on, such as every 24h.")] = None,
    zero_is_valid: Annotated[bool, typer.Option(help="Take an exact zero for demand, not for missing data.")] = False,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Spread over a Dask cluster.")] = None,
    shared_only: Annotated[
        bool, typer.Option("--shared-only", help="Only the model that all series share, from all of them.")
    ] = False,
    rollback: Annotated[
        str | None, typer.Option(metavar="SERVICE", help="Train nothing: go back to the version before.")
    ] = None,
    output: Annotated[Output, typer.Option(help="For people or for programs.")] = Output.TABLE,
) -> None:
    """Train the models of every series that a policy scales by, or of those that are named.

    With all of them the model that they share is trained too, which serves those that are young or have no model of
    their own in memory. Each is judged on its last days; a running operator takes up what was published. --dask spreads
    the series over the cluster whose scheduler is at ADDRESS, such as tcp://scheduler:8786. --rollback makes the
    operator use the version before the current one (`shared` is the name of the shared model); for a training interval
    neither it nor --every trains the service anew. Exit codes: 0 all trained, 1 some failed, 3 all trained, but a new
    version did worse than the one in use, which stays, 66 there is nothing to train or to go back to, 75 the database
    or the Dask cluster is away, 78 a setting or the schema does not fit.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    choice = SeriesFilter(frozenset(service or ()), metric, aggregation.value if aggregation else None)
    if rollback is not None:
        if service or every or dask or shared_only:
            raise SettingsError("--rollback trains nothing; leave --service, --every, --dask and --shared-only out")
        back = SeriesFilter(frozenset((rollback,)), metric, choice.aggregation)
        raise typer.Exit(_roll_back(Registry(settings.models_dir), back, clock, output))
    if shared_only and choice != EVERY_SERIES:
        raise SettingsError("--shared-only learns from every series; leave --service, --metric and --aggregation out")
    order = TrainingRequest(choice, _interval(every), output, zero_is_valid, dask, shared_only)
    raise typer.Exit(asyncio.run(_run(settings, clock, order)))


async def _run(settings: Settings, clock: Clock, order: TrainingRequest) -> Exit:
    async with AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value()
        database = await stack.enter_async_context(Database(url, purpose="train", max_size=1))
        await check_schema(database)
        registry = Registry(settings.models_dir)
        history = StoredHistory(
            Demand(database), Policies(database), BusinessEvents(database), zero_is_valid=order.zero_is_valid
        )
        cluster = await stack.enter_async_context(connected(order.dask)) if order.dask else None
        model, span = _model(settings, spread=cluster is not None), settings.training_span
        trainer = Trainer(history, registry, clock, model, span, learner=cluster)
        at_once = cluster.threads if cluster else 1

        async def once() -> Exit:
            known = {*await history.keys(clock.now() - span), *registry.keys()} - {SHARED}
            every = order.series_filter.select(sorted(known))
            keys = [*([] if order.shared_only else every), *([SHARED] if order.shares(every) else [])]
            if order.interval is not None:
                keys = [key for key in keys if not _is_held(registry, key, clock.now(), settings.training_interval)]

            async def one(key: SeriesKey) -> Trained:
                return await (trainer.train_shared(every) if key == SHARED else trainer.train(key))

            return await _train_all(one, keys, order, at_once)

        if order.interval is None:
            return await once()
        checks = [database_check(database)]
        await stack.enter_async_context(
            TelemetryServer(settings.host, settings.trainer_port, checks=checks, ready=checks)
        )
        return await _again_and_again(once, clock, order.interval)


async def _train_all(
    train_one: Callable[[SeriesKey], Awaitable[Trained]],
    keys: Sequence[SeriesKey],
    order: TrainingRequest,
    at_once: int,
) -> Exit:
    """Each in turn here: two at once would need twice the memory, and all cores are used anyway. More on a cluster."""
    done: list[Trained] = []
    failed: list[Failed] = []
    room = asyncio.Semaphore(at_once)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("Training", total=len(keys))

        async def one(key: SeriesKey) -> None:
            async with room:
                try:
                    done.append(await train_one(key))
                except NothingToLearnError as error:
                    log.warning("nothing_to_learn", series=str(key), problem=str(error))
                    if key != SHARED or order.shared_only:
                        failed.append(Failed(key, str(error)))
                progress.advance(task)

        await _all_or_the_first_problem([one(key) for key in keys])
    done.sort(key=lambda trained: trained.key)
    typer.echo(as_json(done, failed) if order.output is Output.JSON else as_table(done, failed), nl=False)
    if not keys:
        log.warning("nothing_to_train", remedy="apply a ScalingPolicy, or send samples, then train again")
        return Exit.NOTHING_TO_TRAIN
    return exit_code(done, failed)


async def _all_or_the_first_problem(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None


def _is_held(registry: Registry, key: SeriesKey, now: datetime, interval: timedelta) -> bool:
    """Whether a person went back to the version in use lately: nothing of ours undoes that."""
    version = registry.current(key.slug)
    back = was_rolled_back(registry.folder / key.slug, version) if version else None
    if back is None or now - back.at >= interval:
        return False
    log.info("training_held", series=str(key), version=version, until=(back.at + interval).isoformat())
    return True


def _roll_back(registry: Registry, choice: SeriesFilter, clock: Clock, output: Output) -> Exit:
    keys = choice.select(registry.keys())
    if not keys:
        (service,) = choice.services
        raise NoEarlierModelError(f"{service} has no model in {registry.folder}; see GET /api/v1/models for what has")
    done = [roll_back(registry, key, clock.now()) for key in keys]
    for one in done:
        log.info("model_rolled_back", series=str(one.key), version=one.version, previous=one.previous)
    if output is Output.JSON:
        rows = [{**named(o.key), "version": o.version, "previous": o.previous, "acting": o.acting} for o in done]
        typer.echo(json.dumps({"rolled_back": rows}))
    else:
        for one in done:
            typer.echo(f"{one.key}: {one.version} is in use again; {one.evidence}")
    return Exit.GOOD


async def _again_and_again(once: Callable[[], Awaitable[Exit]], clock: Clock, every: timedelta) -> Exit:
    """Train now and at each interval, until SIGTERM or Ctrl-C. A database that is away is waited for."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        work = asyncio.ensure_future(_patiently(once, clock, every))
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait((work,))
        elif (problem := work.exception()) is not None:
            stopped.cancel()
            raise problem
    return Exit.GOOD


async def _patiently(once: Callable[[], Awaitable[Exit]], clock: Clock, every: timedelta) -> None:
    try:
        await once()
    except DatabaseUnavailableError as error:
        log.warning("database_away", error=str(error))
        await clock.sleep(min(every, _RETRY))
        return
    await clock.sleep(every)


def _interval(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        interval = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--every: {error}") from None
    if interval <= timedelta():
        raise SettingsError("--every must be longer than nothing; write a duration such as 24h")
    return interval


def _model(settings: Settings, *, spread: bool) -> LightGBMQuantiles:
    """On a cluster each series has one thread: its workers take several at once."""
    threads = 1 if spread else min(_MAX_THREADS, os.cpu_count() or 1)
    return LightGBMQuantiles(feature_count=settings.feature_count, threads=threads)
