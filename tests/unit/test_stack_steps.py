"""The progress that the set-up of the local stack shows."""

import asyncio
import contextlib
import io
from collections.abc import Collection

import pytest

from predictive_scaling.errors import StackError
from predictive_scaling.stack import preparation
from predictive_scaling.stack.binary import Binary
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.progress import Notify, ignore
from predictive_scaling.stack.steps import Status, Step, carry_out
from tests.support.virtual_time import in_virtual_time


async def do_nothing(notify: Notify) -> None:
    pass


@in_virtual_time
async def test_each_step_is_shown_at_its_start_with_its_number_and_usual_duration() -> None:
    statuses: list[Status] = []
    steps = [Step("building etcd", 45, do_nothing), Step("building kubectl", 75, do_nothing)]
    await carry_out(steps, statuses.append, ignore, interval_seconds=3600)
    assert [(status.number, status.title) for status in statuses] == [(1, "building etcd"), (2, "building kubectl")]
    assert statuses[0].text == "step 1 of 2, building etcd: 0 s of about 45 s; in all 0 s of about 2 min"
    assert [status.share for status in statuses] == [0, 45 / 120]


@in_virtual_time
async def test_a_long_step_is_shown_again_at_each_interval_with_its_elapsed_time() -> None:
    statuses: list[Status] = []
    shown_often = asyncio.Event()

    def show(status: Status) -> None:
        statuses.append(status)
        if len(statuses) == 4:
            shown_often.set()

    async def wait(notify: Notify) -> None:
        await shown_often.wait()

    await carry_out([Step("building kube-apiserver", 0.001, wait)], show, ignore, interval_seconds=0.01)
    assert [status.number for status in statuses] == [1] * 4
    elapsed = [status.elapsed for status in statuses]
    assert elapsed == pytest.approx([0, 0.01, 0.02, 0.03])
    # A step that takes longer than usual is not complete.
    assert statuses[-1].share < 1


@in_virtual_time
async def test_a_failure_reports_the_failed_step_and_where_the_next_run_continues() -> None:
    async def fail(notify: Notify) -> None:
        raise StackError("the disk is full")

    async def never(notify: Notify) -> None:
        pytest.fail("a step ran after a failed step")

    steps = [Step("first", 1, do_nothing), Step("two", 1, fail), Step("three", 1, never)]
    with pytest.raises(StackError) as failed:
        await carry_out(steps, lambda status: None, ignore, 3600)
    message = str(failed.value)
    assert message.startswith("the disk is full\nstep 2 of 3 failed")
    assert message.endswith(": two"), "the step with which the next run continues"


@in_virtual_time
async def test_a_cancelled_step_shows_no_further_progress() -> None:
    statuses: list[Status] = []
    begun = asyncio.Event()

    async def hang(notify: Notify) -> None:
        begun.set()
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    task = asyncio.create_task(carry_out([Step("first", 1, hang)], statuses.append, ignore, 0.001))
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() <= before


class Screen(io.StringIO):
    """Standard error, as a terminal or a file."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


async def prepared_on(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the output of a set-up with two missing parts."""

    async def notify_waiting(notify: Notify) -> None:
        notify("waiting for another build of [etcd]")

    async def two_steps(parts: Collection[Part], notify: Notify, further: Collection[Binary]) -> list[Step]:
        return [Step("building etcd", 45, notify_waiting), Step("fetching Kafka", 30, do_nothing)]

    monkeypatch.setattr(preparation, "missing", two_steps)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    await preparation.prepare([Part.KAFKA])
    return screen.getvalue()


@in_virtual_time
async def test_a_log_has_a_line_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await prepared_on(Screen(terminal=False), monkeypatch)).splitlines() == [
        "[stack] step 1 of 2, building etcd: 0 s of about 45 s; in all 0 s of about 1 min 15 s",
        "[stack] waiting for another build of [etcd]",
        "[stack] step 2 of 2, fetching Kafka: 0 s of about 30 s; in all 0 s of about 1 min 15 s",
        "[stack] everything is installed, after 0 s",
    ]


@in_virtual_time
async def test_a_terminal_has_a_progress_bar_with_the_same_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = await prepared_on(Screen(terminal=True), monkeypatch)
    assert "\x1b[" in shown
    for fragment in (
        "step 2 of 2, fetching Kafka",
        "100 %",
        "waiting for another build of [etcd]",
        "everything is installed",
    ):
        assert fragment in shown


@in_virtual_time
async def test_nothing_is_shown_if_everything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_steps(parts: Collection[Part], notify: Notify, further: Collection[Binary]) -> list[Step]:
        return []

    screen = Screen(terminal=True)
    monkeypatch.setattr(preparation, "missing", no_steps)
    monkeypatch.setattr("sys.stderr", screen)
    await preparation.prepare(list(Part))
    assert screen.getvalue() == ""
