"""`predictive-scaling generate-data`: demand of services of different characters, to try everything else on."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from predictive_scaling.clock import parse_clock
from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.quantities import parse_duration
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.samples import Samples
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.synthesis.destinations import Destination, Files, Rollups, Topic
from predictive_scaling.synthesis.manifests import as_yaml, events, policy, rfc3339
from predictive_scaling.synthesis.services import INSTANCES, Plan, Service, services
from predictive_scaling.synthesis.timeline import DAY
from predictive_scaling.synthesis.workload_profiles import WORKLOAD_PROFILES
from predictive_scaling.telemetry.logs import configure_logs

app = typer.Typer()
_WIDE = 160
_MAX_STEP = timedelta(hours=1)


class To(StrEnum):
    """Where samples go."""

    KAFKA = "kafka"
    DATABASE = "database"
    CSV = "csv"


class Output(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Made:
    """What was written of one service. new: rows that were not there before, as far as can be told."""

    service: str
    metric: str
    character: str
    rows: int
    new: int
    mean: float
    peak: float
    happenings: int
    events: int
    policy: str


@app.command("generate-data")
def generate_data(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How many days.")] = 60,
    services: Annotated[int, typer.Option(min=1, max=1000, help="How many services.")] = len(WORKLOAD_PROFILES),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same numbers.")] = 1,
    to: Annotated[To, typer.Option(help="Kafka, for ingest to read; the database; or CSV files.")] = To.DATABASE,
    folder: Annotated[Path, typer.Option(file_okay=False, help="For policies, events and CSV files.")] = Path(
        "build/generated"
    ),
    resolution: Annotated[str, typer.Option(metavar="DURATION", help="Time between two samples.")] = "1m",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The end, RFC 3339; default: now.")] = None,
    output: Annotated[Output, typer.Option(help="For people or for programs.")] = Output.TABLE,
) -> None:
    """Make up demand: a web shop, an API, batch jobs, a social feed, an internal tool and a much-released checkout.

    The same seed and moment always give the same numbers: run it again later and the days between are added. Beside
    the data it writes a ScalingPolicy and the BusinessEvents of each service, those of the coming two weeks too. Exit
    codes: 0 all written, 2 an argument cannot be read, 75 Kafka or the database is away, 78 an argument, a setting or
    the schema does not fit.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    now = clock.now()
    plan = Plan(_moment(until) if until else now, days, services, seed, _step(resolution))
    _refuse_what_would_not_last(plan, to, settings, now)
    folder.mkdir(parents=True, exist_ok=True)
    made = asyncio.run(_write(plan, to, folder, settings))
    show = _as_json if output is Output.JSON else _as_text
    typer.echo(show(plan, to, folder, made), nl=False)


async def _write(plan: Plan, to: To, folder: Path, settings: Settings) -> list[Made]:
    made: list[Made] = []
    async with _destination(to, folder, settings) as destination:
        with _progress() as progress:
            task = progress.add_task("", total=plan.rows)
            for service in services(plan):
                progress.update(task, description=service.name)
                new = await destination.write(service, lambda rows: progress.advance(task, rows))
                made.append(_made(service, new if to is To.CSV else service.rows, new, folder))
            progress.update(task, description="waiting for the last")
            await destination.finish()
    return made


@asynccontextmanager
async def _destination(to: To, folder: Path, settings: Settings) -> AsyncGenerator[Destination]:
    match to:
        case To.CSV:
            yield Files(folder)
        case To.KAFKA:
            yield Topic(settings.kafka_bootstrap_servers, settings.kafka_options, settings.kafka_topic)
        case To.DATABASE:
            url = settings.database_url.get_secret_value()
            async with Database(url, purpose="generate-data", max_size=1) as database:
                await check_schema(database)
                yield Rollups(Samples(database))


def _made(service: Service, rows: int, new: int, folder: Path) -> Made:
    """What was written of it, after its policy and events were written too."""
    wanted = as_yaml([policy(service)])
    (folder / f"{service.name}-policy.yaml").write_text(wanted)
    announced = events(service)
    if announced:
        (folder / f"{service.name}-events.yaml").write_text(as_yaml(announced))
    demand = service.demand
    return Made(
        service=service.name,
        metric=service.profile.metric,
        character=service.profile.about,
        rows=rows,
        new=new,
        mean=round(float(np.nanmean(demand)), 3),
        peak=round(float(np.nanmax(demand)), 3),
        happenings=len(service.incidents),
        events=len(announced),
        policy=wanted,
    )


def _refuse_what_would_not_last(plan: Plan, to: To, settings: Settings, now: datetime) -> None:
    """Raises SettingsError for samples that ingest would refuse, or retention remove."""
    timeline = plan.timeline
    if timeline.bins < 1:
        raise SettingsError("--days and --resolution leave no sample at all; choose more days")
    if to is To.CSV:
        return
    kept = settings.retention_rollups if to is To.DATABASE else min(settings.retention_rollups, settings.sample_max_age)
    if timeline.start < now - kept - plan.step:
        raise SettingsError(
            f"--days {plan.days} would begin on {rfc3339(timeline.start)}, before the {kept / DAY:g} days that rollups "
            "and ingest keep; choose fewer days or a later --until, or raise PREDICTIVE_SCALING_RETENTION_ROLLUPS and "
            "PREDICTIVE_SCALING_SAMPLE_MAX_AGE"
        )
    if timeline.end > now + settings.sample_max_ahead:
        raise SettingsError(f"--until {rfc3339(timeline.end)} lies ahead; samples of the future are refused")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SettingsError(f"--until {text!r} is no time with a zone; write one such as 2026-11-27T08:00:00Z")
    return moment


def _step(text: str) -> timedelta:
    try:
        step = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--resolution: {error}") from None
    whole = step >= timedelta(seconds=1) and step.microseconds == 0
    if not whole or step > _MAX_STEP or DAY % step:
        raise SettingsError(f"--resolution {text}: choose 1s to 1h, such that a day is a whole number of them")
    return step


def _progress() -> Progress:
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


def _as_json(plan: Plan, to: To, folder: Path, made: Sequence[Made]) -> str:
    timeline = plan.timeline
    found: dict[str, Any] = {
        "to": str(to),
        "folder": str(folder),
        "seed": plan.seed,
        "start": rfc3339(timeline.start),
        "end": rfc3339(timeline.end),
        "resolution_seconds": round(plan.step.total_seconds()),
        "series_per_service": INSTANCES,
        "rows": sum(one.rows for one in made),
        "new_rows": sum(one.new for one in made),
        "services": [{name: getattr(one, name) for name in Made.__slots__} for one in made],
    }
    return json.dumps(found) + "\n"


def _as_text(plan: Plan, to: To, folder: Path, made: Sequence[Made]) -> str:
    timeline, rows = plan.timeline, sum(one.rows for one in made)
    table = Table("SERVICE", "METRIC", "MEAN", "PEAK", "ROWS", "NEW", "EVENTS", "CHARACTER", box=None, pad_edge=False)
    for one in made:
        numbers = (f"{one.mean:.4g}", f"{one.peak:.4g}", f"{one.rows:,}", f"{one.new:,}", str(one.events))
        table.add_row(one.service, one.metric, *numbers, one.character)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as capture:
        console.print(table)
    first = made[0]
    return (
        f"{capture.get()}\n{rows:,} rows from {rfc3339(timeline.start)} to {rfc3339(timeline.end)}, to {to}; "
        f"seed {plan.seed}\nPolicies and events are in {folder}: kubectl apply -f {folder}\n"
        f"{_next(to, folder, first)}\n"
        f"A policy for {first.service}:\n\n{first.policy}"
    )


def _next(to: To, folder: Path, first: Made) -> str:
    """What to do with it now."""
    if to is To.CSV:
        events = f" --events {folder}/{first.service}-events.csv" if first.events else ""
        trace = f"--trace {folder}/{first.service}.csv --policy {folder}/{first.service}-policy.yaml"
        return f"Try it: predictive-scaling backtest {trace}{events}\n"
    waits = "ingest reads them now; then " if to is To.KAFKA else ""
    return f"Models: {waits}predictive-scaling train\n"
