"""The `predictive-scaling` program; each subcommand is a module in commands/."""

import gc
import importlib
import os
import sys
from types import MappingProxyType
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from predictive_scaling import __version__
from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.telemetry.logs import log_failure, log_uncaught_exceptions, masked

# Subcommand: module in commands/ and its help. Modules are imported on use: those of the operator take a CPU second.
COMMANDS = MappingProxyType(
    {
        "operator": ("operate", "Watch policies and raise floors ahead of demand."),
        "ingest": ("ingest", "Read samples from Kafka and pull sources into the database."),
        "api": ("api", "Serve the HTTP API."),
        "train": ("train", "Train models from the database."),
        "backtest": ("backtest", "Replay recorded demand through a policy and compare it with an HPA."),
        "generate-data": ("generate_data", "Generate synthetic demand for services with different workload profiles."),
        "migrate": ("migrate", "Apply the database migrations."),
        "restore": ("restore", "Give all targets their minimum back, before the operator is removed."),
        "series": ("series", "List the recorded services and metrics, for the demand of a policy."),
        "check": ("check", "Report the health of the installation."),
        "crds": ("crds", "Write the custom resource definitions."),
        "chart": ("chart", "Write the generated files of the Helm chart."),
        "settings": ("settings", "List all settings with their defaults and descriptions."),
        "stack": (
            "stack",
            "Run the local stack: control plane, Kafka, PostgreSQL, Redis and AWS as local processes.",
        ),
        "demo": ("demo", "Replay a match day on a local cluster, next to an HPA alone."),
    }
)


class Subcommands(TyperGroup):
    """Resolves a subcommand by its name in COMMANDS and imports only the one that runs."""

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
    """Import and return a subcommand."""
    # Imports create many objects that stay: the garbage collector would take a tenth of the start and free nothing,
    # and later each full collection would visit them.
    module_name = f"predictive_scaling.commands.{COMMANDS[name][0]}"
    is_imported = module_name in sys.modules
    gc.disable()
    try:
        module = importlib.import_module(module_name)
        if not is_imported:
            gc.freeze()
    finally:
        gc.enable()
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(cls=Subcommands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def predictive_scaling(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Scale Kubernetes workloads ahead of demand: the operator and its tools."""


def main() -> None:
    """Run a subcommand; a PredictiveScalingError sets the exit code, and is one line on stderr or of the log."""
    # Read when numpy is imported. The matrices are small: BLAS threads, one per core of the node, would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    log_uncaught_exceptions()
    try:
        app()
    except PredictiveScalingError as error:
        if not log_failure(error, reason=error.reason, exit_code=error.exit_code):
            typer.echo(f"predictive-scaling: {masked(str(error))}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if not log_failure(error, exit_code=1):
            raise
        sys.exit(1)


if __name__ == "__main__":
    main()
