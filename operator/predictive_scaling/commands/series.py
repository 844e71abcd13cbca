"""`predictive-scaling series`: lists the recorded metrics of services, for `spec.demand` of a policy."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from predictive_scaling.clock import parse_clock
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.series_catalog import FIRST_PAGE, RecordedMetric, SeriesCatalog

app = typer.Typer()

MAX_WIDTH = 1000
"""Columns of the table, for the longest names."""


class Output(StrEnum):
    """Output format."""

    TEXT = "text"
    JSON = "json"


@app.command()
def series(
    service: Annotated[str | None, typer.Option(help="Only the metrics of this service.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only the metrics with this name.")] = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="Only metrics with a sample in the last days.")] = 7,
    output: Annotated[Output, typer.Option(help="Output format: text, or JSON for programs.")] = Output.TEXT,
) -> None:
    """List services and metrics with their labels, first and last sample and rate, read from DATABASE_URL.

    Exit codes: 0 listed, 1 nothing is recorded.
    """
    metrics = asyncio.run(_read(read_settings(), service, metric, timedelta(days=days)))
    if output is Output.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode({"series": metrics})).decode())
    elif metrics:
        console, table = Console(), _table(metrics)
        # Names are copied to manifests: lines wrap rather than cut them.
        widest = console.options.update(width=MAX_WIDTH)
        console.width = max(console.width, console.measure(table, options=widest).maximum)
        console.print(table)
    else:
        typer.echo(f"no sample of such a series was recorded in the last {days} days")
    raise typer.Exit(0 if metrics else 1)


async def _read(
    settings: Settings, service: str | None, metric: str | None, look_back: timedelta
) -> list[RecordedMetric]:
    now = parse_clock(settings.clock).now()
    metrics: list[RecordedMetric] = []
    async with Database(settings.database_url.get_secret_value(), purpose="series", max_size=1) as database:
        catalog, after = SeriesCatalog(database), FIRST_PAGE
        while page := await catalog.metrics(now, look_back, service=service, metric=metric, after=after):
            metrics += page
            after = (page[-1].service, page[-1].metric)
    return metrics


def _table(metrics: Sequence[RecordedMetric]) -> Table:
    table = Table("service", "metric", "kind", "series", "labels", "first", "last", "samples/min", box=None)
    for entry in metrics:
        times = (f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else "-" for time in (entry.first, entry.last))
        cells = (
            *(entry.service, entry.metric, entry.kind, str(entry.series), ", ".join(entry.labels) or "-"),
            *times,
            f"{entry.samples_per_minute:.3g}",
        )
        table.add_row(*(escape(cell) for cell in cells))
    return table
