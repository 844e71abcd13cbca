"""Runs steps that take minutes, one after the other, and reports their progress."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.progress import Notify


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work. usual_seconds: its duration on two cores with empty caches."""

    title: str
    usual_seconds: float
    work: Callable[[Notify], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of the steps. number: of the current step, starting at 1. All times are in seconds."""

    number: int
    count: int
    title: str
    elapsed: float
    usual: float
    elapsed_in_all: float
    usual_in_all: float
    usual_before: float
    """Usual time of the completed steps."""

    @property
    def share(self) -> float:
        """The completed share of all steps by their usual times; below 1 until the last step ends."""
        if not self.usual_in_all:
            return 0.0
        return (self.usual_before + min(self.elapsed, 0.99 * self.usual)) / self.usual_in_all

    @property
    def text(self) -> str:
        """The progress as a line of text."""
        return (
            f"step {self.number} of {self.count}, {self.title}: {in_words(self.elapsed)} of about "
            f"{in_words(self.usual)}; in all {in_words(self.elapsed_in_all)} of about {in_words(self.usual_in_all)}"
        )


async def carry_out(
    steps: Sequence[Step], show: Callable[[Status], None], notify: Notify, interval_seconds: float
) -> None:
    """Run each step; show the progress at its start and after each interval.

    Raises the StackError of the first failed step, with the step at which the next run continues.
    """
    began, in_all = monotonic(), sum(step.usual_seconds for step in steps)
    before = 0.0
    for number, step in enumerate(steps, start=1):
        progress = _Progress(number, len(steps), step, began, in_all, before, monotonic())
        show(progress.status())
        display = asyncio.create_task(_show_periodically(interval_seconds, show, progress))
        try:
            await step.work(notify)
        except StackError as error:
            raise StackError(f"{error}\n{_failure_note(number, len(steps), step.title)}") from error
        finally:
            display.cancel()
            await asyncio.gather(display, return_exceptions=True)
        before += step.usual_seconds


def in_words(seconds: float) -> str:
    """Return a duration in words.

    >>> in_words(45), in_words(200), in_words(600)
    ('45 s', '3 min 20 s', '10 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


@dataclass(frozen=True, slots=True)
class _Progress:
    number: int
    count: int
    step: Step
    began: float
    in_all: float
    before: float
    step_began: float

    def status(self) -> Status:
        now = monotonic()
        return Status(
            number=self.number,
            count=self.count,
            title=self.step.title,
            elapsed=now - self.step_began,
            usual=self.step.usual_seconds,
            elapsed_in_all=now - self.began,
            usual_in_all=self.in_all,
            usual_before=self.before,
        )


async def _show_periodically(interval_seconds: float, show: Callable[[Status], None], progress: _Progress) -> None:
    while True:
        await asyncio.sleep(interval_seconds)
        show(progress.status())


def _failure_note(number: int, count: int, title: str) -> str:
    kept = "" if number == 1 else f"the result of steps 1 to {number - 1} is kept; "
    return f"step {number} of {count} failed; {kept}the next run continues with: {title}"
