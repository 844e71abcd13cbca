"""`predictive-scaling migrate`: applies the database migrations."""

import asyncio
import sys

import typer

from predictive_scaling.clock import parse_clock
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate as apply
from predictive_scaling.telemetry.logs import configure_logs

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Apply the pending migrations to DATABASE_URL. Safe to repeat and to run concurrently."""
    settings = read_settings()
    configure_logs(parse_clock(settings.clock), level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    applied = asyncio.run(_migrate(settings))
    for name in applied:
        typer.echo(name)
    if not applied:
        typer.echo("the schema is up to date")


async def _migrate(settings: Settings) -> list[str]:
    async with Database(settings.database_url.get_secret_value(), purpose="migrate", max_size=1) as database:
        return await apply(database, parse_clock(settings.clock))
