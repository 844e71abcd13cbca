"""`predictive-scaling stack`: the local stack, for trying things out."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.detached_stack import DetachedStack
from predictive_scaling.stack.preparation import prepare as get_what_is_missing
from predictive_scaling.stack.progress import to_stderr
from predictive_scaling.stack.signals import run
from predictive_scaling.stack.stack import Part, Stack
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate

app = typer.Typer(no_args_is_help=True)

CRDS = Path(__file__).parents[3] / "crds"

Only = Annotated[list[Part] | None, typer.Option(help="A part to start; give it again for more. Default: all.")]
Folder = Annotated[Path, typer.Option(file_okay=False, help="Holds `env` to source, the kubeconfig and the log.")]
FOLDER = Path("build/stack")


@app.command()
def up(
    only: Only = None,
    folder: Folder = FOLDER,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running; `stack down` ends it.")] = False,
    scheduler: Annotated[bool, typer.Option("--scheduler", help="With the real scheduler.")] = False,
) -> None:
    """Start the local stack with our schema and custom resources, and print what to export to use it."""
    parts = only or list(Part)
    standing = DetachedStack(folder)
    if detach:
        lines = standing.launch(parts, *(["--scheduler"] if scheduler else []), notify=to_stderr)
        typer.echo(lines, nl=False)
        to_stderr(f"it stays until `predictive-scaling stack down`; use it: . {standing.environment_file}")
        return
    with contextlib.suppress(KeyboardInterrupt), standing.held():
        run(_stand(parts, ClusterOptions(scheduler=scheduler), standing))


@app.command()
def down(folder: Folder = FOLDER) -> None:
    """End the stack that runs in a folder, and remove its data."""
    ended = DetachedStack(folder).end()
    to_stderr("stopped" if ended else f"no stack runs in {folder}")


@app.command()
def prepare(only: Only = None) -> None:
    """Find, fetch and build what the stack's parts need, without starting them."""
    run(get_what_is_missing(only or list(Part)))


async def _stand(parts: list[Part], cluster: ClusterOptions, standing: DetachedStack) -> None:
    await get_what_is_missing(parts)
    async with Stack(parts, cluster=cluster) as stack:
        await _furnish(stack, parts)
        typer.echo(standing.publish(stack), nl=False)
        to_stderr(f"ready; Ctrl-C ends it; elsewhere: . {standing.environment_file}")
        await asyncio.Event().wait()


async def _furnish(stack: Stack, parts: list[Part]) -> None:
    if Part.KUBERNETES in parts and any(CRDS.glob("*.yaml")):
        await stack.kubernetes.install_custom_resources(CRDS)
    if Part.POSTGRESQL in parts:
        async with Database(stack.database_url, purpose="stack", checkout_timeout=timedelta(seconds=30)) as database:
            await migrate(database, WallClock())
