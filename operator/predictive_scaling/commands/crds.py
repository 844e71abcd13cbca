"""`predictive-scaling crds`: the custom resource definitions as files."""

from pathlib import Path
from typing import Annotated

import typer

from predictive_scaling.resources import crd

app = typer.Typer()


@app.command()
def crds(
    output: Annotated[Path, typer.Option(file_okay=False, help="The folder to write to.")] = Path("crds"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is not up to date.")] = False,
) -> None:
    """Write the custom resource definitions, one file a kind."""
    if not check:
        for path in crd.write(output):
            typer.echo(path)
        return
    stale = crd.differing(output)
    for path in stale:
        typer.echo(f"{path} is not what the models say; run `make crds` and commit the result", err=True)
    raise typer.Exit(1 if stale else 0)
