"""`predictive-scaling`: one program, one file a subcommand in commands/."""

import importlib
import sys
from types import MappingProxyType
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from predictive_scaling import __version__
from predictive_scaling.errors import PredictiveScalingError

# Subcommand: module in commands/ and what it does. Modules are imported when called for: LightGBM alone takes a second.
COMMANDS = MappingProxyType(
    {
        "operator": ("operate", "Watch policies and raise floors ahead of demand."),
        "ingest": ("ingest", "Read samples from Kafka into the database."),
        "api": ("api", "Serve the HTTP API."),
        "train": ("train", "Train models from the database."),
        "backtest": ("backtest", "Replay recorded demand through a policy, beside an HPA alone."),
        "generate-data": ("generate_data", "Make up demand of services of different characters."),
        "migrate": ("migrate", "Bring the database's schema up to date."),
        "check": ("check", "The morning health check."),
        "crds": ("crds", "Write the custom resource definitions."),
        "settings": ("settings", "Show every setting, its default and what it is for."),
        "stack": (
            "stack",
            "Run the local stack: control plane, Kafka, PostgreSQL, Redis and AWS as processes.",
        ),
        "demo": ("demo", "Replay a day of the 1998 World Cup beside an HPA alone."),
    }
)


class Subcommands(TyperGroup):
    """Finds a subcommand by its name in COMMANDS; only the one that is called is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, name and command and load(name), rest


def load(name: str) -> Any:
    """The subcommand itself, from its module."""
    module = importlib.import_module(f"predictive_scaling.commands.{COMMANDS[name][0]}")
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(cls=Subcommands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def predictive_scaling(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Scale ahead of demand: a Kubernetes operator and what belongs to it."""


def main() -> None:
    """Run a subcommand; an error of ours is one line on stderr and an exit code that means something."""
    try:
        app()
    except PredictiveScalingError as error:
        typer.echo(f"predictive-scaling: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
