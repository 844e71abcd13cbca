"""`predictive-scaling stack`: starts and stops the local stack."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from predictive_scaling.stack.binary import CHART_TOOLS
from predictive_scaling.stack.detached_stack import DetachedStack
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.progress import to_stderr
from predictive_scaling.stack.signals import run

app = typer.Typer(no_args_is_help=True)

Only = Annotated[list[Part] | None, typer.Option(help="Part to start; may be repeated. Default: all.")]
Folder = Annotated[Path, typer.Option(file_okay=False, help="Directory of the `env` file, the kubeconfig and the log.")]
FOLDER = Path("build/stack")


@app.command()
def up(
    only: Only = None,
    folder: Folder = FOLDER,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background until `stack down`.")] = False,
    scheduler: Annotated[bool, typer.Option("--scheduler", help="Also start kube-scheduler.")] = False,
    keda: Annotated[bool, typer.Option("--keda", help="Also install the CRD of KEDA's ScaledObjects.")] = False,
) -> None:
    """Start the local stack with the database schema and the custom resources; print the variables to export."""
    parts = only or list(Part)
    detached = DetachedStack(folder)
    if detach:
        options = [name for name, is_set in (("--scheduler", scheduler), ("--keda", keda)) if is_set]
        lines = detached.launch(parts, *options, notify=to_stderr)
        typer.echo(lines, nl=False)
        to_stderr(f"running until `predictive-scaling stack down`; to use it: . {detached.environment_file}")
        return
    # The clients of all servers take half a second to import, which `down` and `--detach` need not.
    from predictive_scaling.stack.foreground import run_stack

    with contextlib.suppress(KeyboardInterrupt), detached.held():
        run(run_stack(parts, detached, scheduler=scheduler, keda=keda))


@app.command()
def down(folder: Folder = FOLDER) -> None:
    """Stop the stack of a directory and remove its data."""
    was_running = DetachedStack(folder).end()
    to_stderr("stopped" if was_running else f"no stack runs in {folder}")


@app.command()
def prepare(
    only: Only = None,
    chart: Annotated[bool, typer.Option("--chart", help="Also build Helm and helm-docs.")] = False,
) -> None:
    """Download and build the dependencies of the stack's parts without starting them."""
    from predictive_scaling.stack.preparation import prepare as prepare_parts

    run(prepare_parts(only or list(Part), CHART_TOOLS if chart else ()))
