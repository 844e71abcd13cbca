"""`predictive-scaling generate-data`: synthetic demand for services with different workload profiles."""

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
from predictive_scaling.synthesis.services import INSTANCES, PROFILES, Plan, Service, services
from predictive_scaling.synthesis.timeline import DAY
from predictive_scaling.telemetry.logs import configure_logs

app = typer.Typer()
_WIDE = 160
_MAX_STEP = timedelta(hours=1)


class To(StrEnum):
    """Destination of the samples."""

    KAFKA = "kafka"
    DATABASE = "database"
    CSV = "csv"


class Output(StrEnum):
    """Output format."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class GeneratedService:
    """The summary of a generated service. new: rows that did not exist before, where that is known."""

    service: str
    metric: str
    profile: str
    rows: int
    new: int
    mean: float
    peak: float
    incidents: int
    events: int
    policy: str


@app.command("generate-data")
def generate_data(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Number of days.")] = 60,
    services: Annotated[int, typer.Option(min=1, max=1000, help="Number of services.")] = len(PROFILES),
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the random numbers; equal seeds produce equal data.")
    ] = 1,
    to: Annotated[
        To, typer.Option(help="Destination: Kafka (read by `ingest`), the database or CSV files.")
    ] = To.DATABASE,
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="Directory of the policies, events and CSV files.")
    ] = Path("build/generated"),
    resolution: Annotated[str, typer.Option(metavar="DURATION", help="Interval between two samples.")] = "1m",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End of the data as an RFC 3339 time; default: now.")
    ] = None,
    output: Annotated[Output, typer.Option(help="Output format: a table, or JSON for programs.")] = Output.TABLE,
) -> None:
    """Generate demand: a shop, an API, batch jobs, a feed, an internal tool, a checkout and a sports site.

    The same seed and time always produce the same values: a later run adds the days in between. The command also writes
    a ScalingPolicy and the BusinessEvents of each service, including those of the next two weeks. Exit codes: 0 all
    written, 2 invalid option, 75 Kafka or the database is unreachable, 78 invalid value, setting or database schema.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    now = clock.now()
    plan = Plan(_parse_time(until) if until else now, days, services, seed, _parse_step(resolution))
    _check_accepted(plan, to, settings, now)
    folder.mkdir(parents=True, exist_ok=True)
    generated = asyncio.run(_write(plan, to, folder, settings))
    show = _as_json if output is Output.JSON else _as_text
    typer.echo(show(plan, to, folder, generated), nl=False)


async def _write(plan: Plan, to: To, folder: Path, settings: Settings) -> list[GeneratedService]:
    generated: list[GeneratedService] = []
    async with _destination(to, folder, settings) as destination:
        with _progress() as progress:
            task = progress.add_task("", total=plan.rows)
            for service in services(plan):
                progress.update(task, description=service.name)
                new = await destination.write(service, lambda rows: progress.advance(task, rows))
                generated.append(_write_manifests(service, new if to is To.CSV else service.rows, new, folder))
            progress.update(task, description="flushing")
            await destination.finish()
    return generated


@asynccontextmanager
async def _destination(to: To, folder: Path, settings: Settings) -> AsyncGenerator[Destination]:
    match to:
        case To.CSV:
            yield Files(folder)
        case To.KAFKA:
            if not settings.kafka_bootstrap_servers:
                raise SettingsError("--to kafka needs KAFKA_BOOTSTRAP_SERVERS; set it, or write with --to database")
            yield Topic(settings.kafka_bootstrap_servers, settings.kafka_options, settings.kafka_topic)
        case To.DATABASE:
            url = settings.database_url.get_secret_value()
            async with Database(url, purpose="generate-data", max_size=1) as database:
                await check_schema(database)
                yield Rollups(Samples(database))


def _write_manifests(service: Service, rows: int, new: int, folder: Path) -> GeneratedService:
    """Write the policy and the events of a service; return the summary of the service."""
    manifest = as_yaml([policy(service)])
    (folder / f"{service.name}-policy.yaml").write_text(manifest)
    business_events = events(service)
    if business_events:
        (folder / f"{service.name}-events.yaml").write_text(as_yaml(business_events))
    demand = service.demand
    return GeneratedService(
        service=service.name,
        metric=service.profile.metric,
        profile=service.profile.about,
        rows=rows,
        new=new,
        mean=round(float(np.nanmean(demand)), 3),
        peak=round(float(np.nanmax(demand)), 3),
        incidents=len(service.incidents),
        events=len(business_events),
        policy=manifest,
    )


def _check_accepted(plan: Plan, to: To, settings: Settings, now: datetime) -> None:
    """Raises SettingsError for samples that ingest would reject or retention would delete."""
    timeline = plan.timeline
    if timeline.bins < 1:
        raise SettingsError("--days and --resolution produce no sample; use more days")
    if to is To.CSV:
        return
    kept = settings.retention_rollups if to is To.DATABASE else min(settings.retention_rollups, settings.sample_max_age)
    if timeline.start < now - kept - plan.step:
        raise SettingsError(
            f"--days {plan.days} would start on {rfc3339(timeline.start)}, before the {kept / DAY:g} days that rollups "
            "and ingest keep; use fewer days or a later --until, or raise PREDICTIVE_SCALING_RETENTION_ROLLUPS and "
            "PREDICTIVE_SCALING_SAMPLE_MAX_AGE"
        )
    if timeline.end > now + settings.sample_max_ahead:
        raise SettingsError(f"--until {rfc3339(timeline.end)} is in the future; ingest rejects future samples")


def _parse_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise SettingsError(f"--until is {text!r}; write an RFC 3339 time with a zone, such as 2026-11-27T08:00:00Z")
    return time


def _parse_step(text: str) -> timedelta:
    try:
        step = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--resolution: {error}") from None
    has_full_seconds = step >= timedelta(seconds=1) and step.microseconds == 0
    if not has_full_seconds or step > _MAX_STEP or DAY % step:
        raise SettingsError(f"--resolution {text}: use a divisor of a day between 1s and 1h")
    return step


def _progress() -> Progress:
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


def _as_json(plan: Plan, to: To, folder: Path, generated: Sequence[GeneratedService]) -> str:
    timeline = plan.timeline
    document: dict[str, Any] = {
        "to": str(to),
        "folder": str(folder),
        "seed": plan.seed,
        "start": rfc3339(timeline.start),
        "end": rfc3339(timeline.end),
        "resolution_seconds": round(plan.step.total_seconds()),
        "series_per_service": INSTANCES,
        "rows": sum(service.rows for service in generated),
        "new_rows": sum(service.new for service in generated),
        "services": [{name: getattr(service, name) for name in GeneratedService.__slots__} for service in generated],
    }
    return json.dumps(document) + "\n"


def _as_text(plan: Plan, to: To, folder: Path, generated: Sequence[GeneratedService]) -> str:
    timeline, rows = plan.timeline, sum(service.rows for service in generated)
    table = Table("SERVICE", "METRIC", "MEAN", "PEAK", "ROWS", "NEW", "EVENTS", "PROFILE", box=None, pad_edge=False)
    for service in generated:
        numbers = (
            f"{service.mean:.4g}",
            f"{service.peak:.4g}",
            f"{service.rows:,}",
            f"{service.new:,}",
            str(service.events),
        )
        table.add_row(service.service, service.metric, *numbers, service.profile)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as capture:
        console.print(table)
    first = generated[0]
    return (
        f"{capture.get()}\n{rows:,} rows from {rfc3339(timeline.start)} to {rfc3339(timeline.end)}, to {to}; "
        f"seed {plan.seed}\nPolicies and events are in {folder}: kubectl apply -f {folder}\n"
        f"{_next_step(to, folder, first)}\n"
        f"A policy for {first.service}:\n\n{first.policy}"
    )


def _next_step(to: To, folder: Path, first: GeneratedService) -> str:
    """Return the command to run next."""
    if to is To.CSV:
        events = f" --events {folder}/{first.service}-events.csv" if first.events else ""
        trace = f"--trace {folder}/{first.service}.csv --policy {folder}/{first.service}-policy.yaml"
        return f"Backtest: predictive-scaling backtest {trace}{events}\n"
    ingestion = "wait until `ingest` has read the samples, then " if to is To.KAFKA else ""
    return f"Train models: {ingestion}predictive-scaling train\n"
