"""`predictive-scaling demo`: replays a match day against the local stack."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from predictive_scaling.stack.demo.commands import inspection_commands
from predictive_scaling.stack.demo.replay_record import ReplayRecord
from predictive_scaling.stack.demo.report import write_report
from predictive_scaling.stack.demo.run import Options, run_demo
from predictive_scaling.stack.demo.summary import summary
from predictive_scaling.stack.demo.workload import GENERATED_DAY, RECORDED_DAY
from predictive_scaling.stack.signals import run
from predictive_scaling.stack.stack import Stack

app = typer.Typer()

BELOW_BAR = 1
DEFAULT_RATE = 100.0
_INSPECTION_HINT = {
    True: "\nTo inspect it, in another terminal:",
    False: "\nTo inspect it, run the demo with --keep (make demo KEEP=1), and then:",
}


@app.command()
def demo(
    day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help=f"Match day to replay. Only the default has criteria: {GENERATED_DAY}; with --trace the last day with "
            f"the most matches, or {RECORDED_DAY} if it has matches.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=100, help="Speed relative to real time.")] = DEFAULT_RATE,
    trace: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="CSV file of recorded demand, one value a minute; may be gzipped; needs --events; default: generated.",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV file of the matches of --trace: name,type,start,end."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Directory of the report, the result, the models and the logs.")] = Path(
        "build/demo"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the stack running at the end, until Ctrl-C.")] = False,
) -> None:
    """Replay a match day of a sports site next to an HPA alone; write report.html and result.json."""
    console = Console()
    options = Options(day.date() if day else None, rate, _recorded(trace, events), output, keep)

    async def show_result(record: ReplayRecord, stack: Stack) -> None:
        record.result.write(output / "result.json")
        write_report(record, output / "report.html")
        console.print(summary(record))
        cluster = stack.kubernetes
        environment = (
            [f"export KUBECONFIG={cluster.kubeconfig}", f"alias kubectl={cluster.kubectl_program}"] if keep else []
        )
        console.print(
            "\n".join([_INSPECTION_HINT[keep], *environment, *inspection_commands()]), highlight=False, soft_wrap=True
        )
        if keep:
            console.print("The stack keeps running until Ctrl-C.")
            await asyncio.Event().wait()

    try:
        record = run(run_demo(options, console, _notify, show_result))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    console.print(f"\nThe report is in {output / 'report.html'}, the numbers are in {output / 'result.json'}.")
    if record.scenario.has_verdict and record.result.shortcomings():
        raise typer.Exit(BELOW_BAR)


def _recorded(trace: Path | None, events: Path | None) -> tuple[Path, Path] | None:
    if trace is not None and events is not None:
        return trace, events
    if trace is not None or events is not None:
        raise typer.BadParameter("--trace and --events must be set together")
    return None


def _notify(message: str) -> None:
    print(f"[demo] {message}", file=sys.stderr, flush=True)
