"""Downloads and builds the dependencies of the stack's parts, with progress."""

import sys
from collections.abc import Collection
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from predictive_scaling.clock import monotonic
from predictive_scaling.stack import kafka
from predictive_scaling.stack.binaries import build, find, usual_build
from predictive_scaling.stack.binary import CONTROL_PLANE, Binary
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.progress import Notify, to_stderr
from predictive_scaling.stack.steps import Status, Step, carry_out, in_words

_LINE_SECONDS, _BAR_SECONDS = 15.0, 0.5
_KAFKA_SECONDS = 30.0


async def prepare(parts: Collection[Part], further: Collection[Binary] = ()) -> None:
    """Get the missing programs, with a progress bar on a terminal, else a line per step and every 15 s.

    further: programs in addition to those of the parts. Raises the StackError of the first failed step; the results of
    earlier steps are kept.
    """
    steps = await missing(parts, to_stderr, further)
    if not steps:
        return
    began = monotonic()
    if sys.stderr.isatty():
        await _with_a_bar(steps)
    else:
        await carry_out(steps, lambda status: to_stderr(status.text), to_stderr, _LINE_SECONDS)
    to_stderr(f"everything is installed, after {in_words(monotonic() - began)}")


async def missing(parts: Collection[Part], notify: Notify, further: Collection[Binary] = ()) -> list[Step]:
    """Return a step for each missing program, in order of execution."""
    steps = [
        Step(f"building {binary.value}", usual_build(binary).total_seconds(), partial(build, binary))
        for binary in (*(CONTROL_PLANE if Part.KUBERNETES in parts else ()), *further)
        if await find(binary, notify) is None
    ]
    if Part.KAFKA in parts and not kafka.is_fetched():
        steps.append(Step("fetching Kafka", _KAFKA_SECONDS, kafka.prepare))
    return steps


async def _with_a_bar(steps: list[Step]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=1.0)

        def show(status: Status) -> None:
            progress.update(task, description=status.text, completed=status.share)

        def notify(message: str) -> None:
            progress.console.print(f"[stack] {message}", markup=False, highlight=False)

        await carry_out(steps, show, notify, _BAR_SECONDS)
        progress.update(task, completed=1.0)
