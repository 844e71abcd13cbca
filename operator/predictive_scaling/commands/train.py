"""`predictive-scaling train`: models from the recorded demand, judged and published."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from predictive_scaling.clock import Clock, parse_clock
from predictive_scaling.errors import DatabaseUnavailableError, NothingToLearnError, SettingsError
from predictive_scaling.resources.quantities import parse_duration
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.telemetry.checks import database_check
from predictive_scaling.telemetry.logs import configure_logs
from predictive_scaling.telemetry.server import TelemetryServer
from predictive_scaling.training.history import StoredHistory
from predictive_scaling.training.manifest import GateRecord
from predictive_scaling.training.registry import Registry
from predictive_scaling.training.series_keys import SeriesKey
from predictive_scaling.training.trainer import Trained, Trainer

app = typer.Typer()
log = structlog.get_logger(__name__)
_MOST_THREADS = 2
_RETRY = timedelta(minutes=1)
_WIDE = 240


class Output(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"


class Exit(IntEnum):
    """What the exit code means."""

    GOOD = 0
    SOME_FAILED = 1
    NOTHING_TO_TRAIN = 66


class Aggregation(StrEnum):
    """As in spec.demand.aggregation."""

    SUM = "Sum"
    MEAN = "Mean"
    MAX = "Max"


@dataclass(frozen=True, slots=True)
class Failed:
    """A series that could not be trained."""

    key: SeriesKey
    problem: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which series to train; none named: all."""

    services: frozenset[str]
    metric: str | None
    aggregation: str | None

    def narrow(self, keys: Sequence[SeriesKey]) -> list[SeriesKey]:
        """Those of `keys` that were chosen. A series that is named in full is trained even if it is not among them."""
        if self.services and self.metric:
            return [SeriesKey(service, self.metric, self.aggregation or "Sum") for service in sorted(self.services)]
        return [key for key in keys if self._has(key)]

    def _has(self, key: SeriesKey) -> bool:
        return (
            (not self.services or key.service in self.services)
            and self.metric in (None, key.metric)
            and self.aggregation in (None, key.aggregation)
        )


@app.command()
def train(
    service: Annotated[list[str] | None, typer.Option(help="Only this service; may be given again.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    aggregation: Annotated[Aggregation | None, typer.Option(help="Over the series of a service.")] = None,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="Go on, such as every 24h.")] = None,
    zero_is_valid: Annotated[bool, typer.Option(help="Take an exact zero for demand, not for missing data.")] = False,
    output: Annotated[Output, typer.Option(help="For people or for programs.")] = Output.TABLE,
) -> None:
    """Train the models of every series that a policy scales by, or of those that are named.

    Each is judged on its last days; a running operator takes up what was published. Exit codes: 0 all trained,
    1 some failed, 66 there is nothing to train, 75 the database is away, 78 a setting or the schema does not fit.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    choice = Choice(frozenset(service or ()), metric, aggregation.value if aggregation else None)
    interval = _interval(every)
    raise typer.Exit(asyncio.run(_run(settings, clock, choice, interval, output, zero_is_valid)))


async def _run(
    settings: Settings, clock: Clock, choice: Choice, every: timedelta | None, output: Output, zero_is_valid: bool
) -> Exit:
    async with AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value()
        database = await stack.enter_async_context(Database(url, purpose="train", max_size=1))
        await check_schema(database)
        registry = Registry(settings.models_dir)
        history = StoredHistory(Demand(database), Policies(database), zero_is_valid=zero_is_valid)
        trainer = Trainer(history, registry, clock, _model(settings), settings.training_span)

        async def once() -> Exit:
            known = [*await history.keys(clock.now() - settings.training_span), *registry.keys()]
            return await _train_all(trainer, choice.narrow(sorted(set(known))), output)

        if every is None:
            return await once()
        checks = [database_check(database)]
        await stack.enter_async_context(
            TelemetryServer(settings.host, settings.trainer_port, checks=checks, ready=checks)
        )
        return await _again_and_again(once, clock, every)


async def _train_all(trainer: Trainer, keys: Sequence[SeriesKey], output: Output) -> Exit:
    """Each in turn: two at once would need twice the memory, and LightGBM uses all cores anyway."""
    done: list[Trained] = []
    failed: list[Failed] = []
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        for key in progress.track(keys, description="Training"):
            try:
                done.append(await trainer.train(key))
            except NothingToLearnError as error:
                log.warning("nothing_to_learn", series=str(key), problem=str(error))
                failed.append(Failed(key, str(error)))
    typer.echo(_as_json(done, failed) if output is Output.JSON else _as_table(done, failed), nl=False)
    if not keys:
        log.warning("nothing_to_train", remedy="apply a ScalingPolicy, or send samples, then train again")
        return Exit.NOTHING_TO_TRAIN
    return Exit.SOME_FAILED if failed else Exit.GOOD


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


def _model(settings: Settings) -> LightGBMQuantiles:
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    return LightGBMQuantiles(feature_count=settings.feature_count, threads=threads)


def _as_json(done: Sequence[Trained], failed: Sequence[Failed]) -> str:
    trained = [
        {
            **_named(one.key),
            "version": one.version,
            "passed": one.gate.passed,
            "acting": one.gate.acting,
            "evidence": one.gate.evidence,
            "scores": [score.model_dump() for score in one.gate.scores],
            "bins": one.bins,
            "seconds": round(one.seconds, 3),
        }
        for one in done
    ]
    return json.dumps({"trained": trained, "failed": [{**_named(f.key), "problem": f.problem} for f in failed]}) + "\n"


def _named(key: SeriesKey) -> dict[str, str]:
    return {"service": key.service, "metric": key.metric, "aggregation": key.aggregation}


def _as_table(done: Sequence[Trained], failed: Sequence[Failed]) -> str:
    table = Table("SERIES", "ACTS", "WAPE", "NAIVE", "COVERAGE", "BINS", "SECONDS", "WHY", box=None, pad_edge=False)
    for one in done:
        wape, naive, coverage = _numbers(one.gate)
        table.add_row(
            str(one.key), one.gate.acting, wape, naive, coverage, str(one.bins), f"{one.seconds:.1f}", one.gate.evidence
        )
    for one in failed:
        table.add_row(str(one.key), "-", "-", "-", "-", "-", "-", one.problem)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _numbers(gate: GateRecord) -> tuple[str, str, str]:
    """WAPE of the model that acts and of the best other one, and the coverage of its 0.9 quantile."""
    own = next((score for score in gate.scores if score.model == gate.acting), None)
    others = [score.wape for score in gate.scores if score is not own and score.wape is not None]
    wape = "-" if own is None or own.wape is None else f"{own.wape:.3f}"
    coverage = "-" if own is None or own.coverage is None else f"{own.coverage:.1%}"
    return wape, f"{min(others):.3f}" if others else "-", coverage
