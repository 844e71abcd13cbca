"""`predictive-scaling crds`: writes the custom resource definitions, or checks that they are up to date."""

from pathlib import Path
from typing import Annotated

import typer

from predictive_scaling.resources import crd

app = typer.Typer()


@app.command()
def crds(
    output: Annotated[Path, typer.Option(file_okay=False, help="Directory to write to.")] = Path("crds"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 when a file is outdated.")] = False,
) -> None:
    """Write the custom resource definitions, one file per kind."""
    if not check:
        for path in crd.write(output):
            typer.echo(path)
        return
    stale = crd.differing(output)
    for path in stale:
        typer.echo(f"{path} differs from the typed models; run `make crds` and commit the result", err=True)
    raise typer.Exit(1 if stale else 0)
