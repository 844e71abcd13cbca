"""`predictive-scaling check`: the morning health check, over the HTTP API."""

import asyncio
from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from predictive_scaling.commands.health_report import DailyReport, ask_api, render
from predictive_scaling.settings import read_settings


class Output(StrEnum):
    """For people or for programs."""

    TEXT = "text"
    JSON = "json"


class Exit(IntEnum):
    """What the exit code says."""

    GOOD = 0
    ATTENTION = 1
    UNHEALTHY = 2
    UNREACHABLE = 69


app = typer.Typer()


@app.command()
def check(
    api_url: Annotated[str | None, typer.Option(help="The HTTP API; by default this machine's.")] = None,
    ingest_url: Annotated[
        str | None, typer.Option(help="Metrics of `ingest`, for the lag; by default this machine's.")
    ] = None,
    limit_seconds: Annotated[float, typer.Option(min=0.1, help="Longest wait for an answer.")] = 10.0,
    output: Annotated[Output, typer.Option(help="For people or for programs.")] = Output.TEXT,
) -> None:
    """Show health, policies, stuck decisions, accuracy and lag at a glance.

    Exit codes: 0 all well, 1 something needs attention, 2 unhealthy, 69 the API cannot be reached.
    """
    settings = read_settings()
    report = asyncio.run(
        ask_api(
            api_url or f"http://127.0.0.1:{settings.api_port}",
            ingest_url or f"http://127.0.0.1:{settings.ingest_port}",
            limit_seconds,
        )
    )
    if output is Output.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        render(report, Console())
    raise typer.Exit(verdict(report))


def verdict(report: DailyReport) -> Exit:
    """The exit code."""
    if not report.reachable:
        return Exit.UNREACHABLE
    if report.health == "unhealthy":
        return Exit.UNHEALTHY
    return Exit.ATTENTION if report.attention else Exit.GOOD
