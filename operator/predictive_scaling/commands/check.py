"""`predictive-scaling check`: reports the health of the installation through the HTTP API."""

import asyncio
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from predictive_scaling.access.bearer_token import TOKEN
from predictive_scaling.commands.health_report import HealthReport, fetch_report, render
from predictive_scaling.errors import SettingsError
from predictive_scaling.settings import read_settings


class Output(StrEnum):
    """Output format."""

    TEXT = "text"
    JSON = "json"


class Exit(IntEnum):
    """Exit codes."""

    GOOD = 0
    ATTENTION = 1
    UNHEALTHY = 2
    UNREACHABLE = 69


app = typer.Typer()


@app.command()
def check(
    api_url: Annotated[str | None, typer.Option(help="URL of the HTTP API; default: the local one.")] = None,
    ingest_url: Annotated[
        str | None, typer.Option(help="URL of the metrics of `ingest`, for the consumer lag; default: the local one.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token for an HTTP API that authenticates its callers.")
    ] = None,
    limit_seconds: Annotated[float, typer.Option(min=0.1, help="Timeout of the requests in seconds.")] = 10.0,
    output: Annotated[Output, typer.Option(help="Output format: text, or JSON for programs.")] = Output.TEXT,
) -> None:
    """Report health, policies, stuck decisions, forecast accuracy and consumer lag.

    Exit codes: 0 healthy, 1 attention needed, 2 unhealthy, 69 the API is unreachable, 78 it refuses the token.
    """
    settings = read_settings()
    report = asyncio.run(
        fetch_report(
            api_url or f"http://127.0.0.1:{settings.api_port}",
            ingest_url or f"http://127.0.0.1:{settings.ingest_port}",
            limit_seconds,
            None if token_file is None else read_token(token_file),
        )
    )
    if output is Output.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        render(report, Console())
    raise typer.Exit(exit_code(report))


def read_token(file: Path) -> str:
    """Return the token in a file. Raises SettingsError if the file cannot be read, or holds no token."""
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read a token from {file}: {error}") from None
    if not TOKEN.fullmatch(token):
        raise SettingsError(f"{file} holds no bearer token")
    return token


def exit_code(report: HealthReport) -> Exit:
    """Return the exit code of a report."""
    if not report.reachable:
        return Exit.UNREACHABLE
    if report.health == "unhealthy":
        return Exit.UNHEALTHY
    return Exit.ATTENTION if report.attention else Exit.GOOD
