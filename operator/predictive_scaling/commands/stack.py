"""`predictive-scaling stack`: starts and stops the local stack."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.binary import CHART_TOOLS
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.detached_stack import DetachedStack
from predictive_scaling.stack.preparation import prepare as prepare_parts
from predictive_scaling.stack.progress import to_stderr
from predictive_scaling.stack.signals import run
from predictive_scaling.stack.stack import Part, Stack
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate

app = typer.Typer(no_args_is_help=True)

_CHECKOUT = Path(__file__).parents[3]
CRDS, ADMISSION = _CHECKOUT / "crds", _CHECKOUT / "config" / "admission"
PRIORITY_CLASS = _CHECKOUT / "config" / "placeholder-priority-class.yaml"

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
    with contextlib.suppress(KeyboardInterrupt), detached.held():
        run(_run_stack(parts, ClusterOptions(scheduler=scheduler), detached, keda=keda))


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
    run(prepare_parts(only or list(Part), CHART_TOOLS if chart else ()))


async def _run_stack(parts: list[Part], cluster: ClusterOptions, detached: DetachedStack, *, keda: bool) -> None:
    await prepare_parts(parts)
    async with Stack(parts, cluster=cluster) as stack:
        await _install_schemas(stack, parts)
        if keda and Part.KUBERNETES in parts:
            await stack.kubernetes.install_keda()
        typer.echo(detached.publish(stack), nl=False)
        to_stderr(f"ready; Ctrl-C stops it; to use it in another shell: . {detached.environment_file}")
        await asyncio.Event().wait()


async def _install_schemas(stack: Stack, parts: list[Part]) -> None:
    if Part.KUBERNETES in parts and any(CRDS.glob("*.yaml")):
        await stack.kubernetes.install_custom_resources(CRDS)
        await stack.kubernetes.install_admission_policies(ADMISSION)
        await stack.kubernetes.kubectl("apply", "--server-side", "-f", str(PRIORITY_CLASS))
    if Part.POSTGRESQL in parts:
        async with Database(stack.database_url, purpose="stack", checkout_timeout=timedelta(seconds=30)) as database:
            await migrate(database, WallClock())
