"""What people see who wait for set-up."""

import asyncio
import contextlib
import io
from collections.abc import Collection

import pytest

from predictive_scaling.errors import StackError
from predictive_scaling.stack import preparation
from predictive_scaling.stack.progress import Notify, ignore
from predictive_scaling.stack.stack import Part
from predictive_scaling.stack.steps import Status, Step, carry_out


async def nothing(notify: Notify) -> None:
    pass


async def test_each_step_is_shown_when_it_begins_with_its_number_and_usual_time() -> None:
    shown: list[Status] = []
    steps = [Step("building etcd", 45, nothing), Step("building kubectl", 75, nothing)]
    await carry_out(steps, shown.append, ignore, interval_seconds=3600)
    assert [(status.number, status.title) for status in shown] == [(1, "building etcd"), (2, "building kubectl")]
    assert shown[0].text == "step 1 of 2, building etcd: 0 s of about 45 s; in all 0 s of about 2 min"
    assert [status.share for status in shown] == [pytest.approx(0, abs=0.01), pytest.approx(45 / 120, abs=0.01)]


async def test_a_long_step_is_shown_again_after_each_interval_with_the_time_that_passed() -> None:
    shown: list[Status] = []
    enough = asyncio.Event()

    def show(status: Status) -> None:
        shown.append(status)
        if len(shown) == 4:
            enough.set()

    async def long(notify: Notify) -> None:
        await enough.wait()

    await carry_out([Step("building kube-apiserver", 0.001, long)], show, ignore, interval_seconds=0.01)
    assert [status.number for status in shown] == [1] * 4
    elapsed = [status.elapsed for status in shown]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] > elapsed[0]
    # Longer than usual is not done.
    assert shown[-1].share < 1


async def test_after_a_failure_it_is_said_what_stays_and_what_comes_next() -> None:
    async def fail(notify: Notify) -> None:
        raise StackError("the disk is full")

    async def never(notify: Notify) -> None:
        pytest.fail("a step ran after one that failed")

    steps = [Step("one", 1, nothing), Step("two", 1, fail), Step("three", 1, never)]
    with pytest.raises(StackError) as failed:
        await carry_out(steps, lambda status: None, ignore, 3600)
    assert str(failed.value) == (
        "the disk is full\nstep 2 of 3 failed; the result of steps 1 to 1 is kept; the next run continues with: two"
    )


async def test_nothing_is_shown_any_more_once_a_step_was_broken_off() -> None:
    shown: list[Status] = []
    begun = asyncio.Event()

    async def hang(notify: Notify) -> None:
        begun.set()
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    task = asyncio.create_task(carry_out([Step("one", 1, hang)], shown.append, ignore, 0.001))
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() <= before


class Screen(io.StringIO):
    """Standard error."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


async def prepared_on(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> str:
    """What set-up with two missing things shows there."""

    async def tell(notify: Notify) -> None:
        notify("waiting for another build of [etcd]")

    async def two(parts: Collection[Part], notify: Notify) -> list[Step]:
        return [Step("building etcd", 45, tell), Step("fetching Kafka", 30, nothing)]

    monkeypatch.setattr(preparation, "missing", two)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    await preparation.prepare([Part.KAFKA])
    return screen.getvalue()


async def test_a_log_gets_a_line_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await prepared_on(Screen(terminal=False), monkeypatch)).splitlines() == [
        "[stack] step 1 of 2, building etcd: 0 s of about 45 s; in all 0 s of about 1 min 15 s",
        "[stack] waiting for another build of [etcd]",
        "[stack] step 2 of 2, fetching Kafka: 0 s of about 30 s; in all 0 s of about 1 min 15 s",
        "[stack] everything is installed, after 0 s",
    ]


async def test_a_terminal_gets_a_bar_with_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = await prepared_on(Screen(terminal=True), monkeypatch)
    assert "\x1b[" in shown
    for fragment in (
        "step 2 of 2, fetching Kafka",
        "100 %",
        "waiting for another build of [etcd]",
        "everything is installed",
    ):
        assert fragment in shown


async def test_nothing_is_shown_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(parts: Collection[Part], notify: Notify) -> list[Step]:
        return []

    screen = Screen(terminal=True)
    monkeypatch.setattr(preparation, "missing", none)
    monkeypatch.setattr("sys.stderr", screen)
    await preparation.prepare(list(Part))
    assert screen.getvalue() == ""
