"""The calendar of current events: each is expanded once a day, and a failing event affects no other."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.typing import EventDict

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control import event_calendar as module
from predictive_scaling.control.event_calendar import EventCalendar
from predictive_scaling.decision.events.occurrences import Expansion, expand
from predictive_scaling.resources.business_event import BusinessEvent
from tests.support.builders import NOON, an_event

pytestmark = pytest.mark.usefixtures("logs")

DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(seconds=15)


@pytest.fixture
def expanded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the expanded events, in order."""
    names: list[str] = []

    def recording_expand(event: BusinessEvent, since: datetime, until: datetime) -> Expansion:
        names.append(event.metadata.name)
        if event.metadata.name == "broken":
            raise OverflowError("date value out of range")
        return expand(event, since, until)

    monkeypatch.setattr(module, "expand", recording_expand)
    return names


def a_record(name: str, generation: int = 1, **spec: Any) -> EventRecord:
    event = an_event(name, **spec)
    return EventRecord("shop", name, f"{name}-uid", generation, generation, NOON, {}, event)


def hourly(name: str = "hourly", **more: Any) -> EventRecord:
    rule = {"rrule": "FREQ=HOURLY", "timezone": "UTC", "from": "2020-01-01", "start": "00:00", "duration": "5m"}
    return a_record(name, type="batch", recurrence=rule, **more)


async def test_only_a_failing_event_is_left_out_and_reported(logs: list[EventDict], expanded: list[str]) -> None:
    calendar = EventCalendar()
    records = [a_record("first", type="sale"), a_record("broken", type="sale"), a_record("last", type="sale")]
    await calendar.around(records, NOON)
    around = await calendar.around(records, NOON)
    assert [window.event.metadata.name for window in around.upcoming] == ["first", "last"]
    assert [known.event.metadata.name for known in around.known] == ["first", "last"]
    problem = calendar.problem_of("broken-uid")
    assert problem is not None
    assert problem.reason == "InternalError"
    assert "OverflowError: date value out of range" in problem.message
    assert calendar.problem_of("first-uid") is None
    assert [log["event_name"] for log in logs if log["event"] == "event_left_out"] == ["shop/broken"], "logged once"


async def test_a_failed_event_is_included_again_once_it_is_valid(expanded: list[str]) -> None:
    calendar = EventCalendar()
    await calendar.around([a_record("broken")], NOON)
    valid = a_record("valid")
    record = EventRecord("shop", "broken", "broken-uid", 2, 2, NOON, {}, valid.event)
    around = await calendar.around([record], NOON)
    assert len(around.upcoming) == 1
    assert calendar.problem_of("broken-uid") is None


async def test_an_event_is_expanded_once_a_day_regardless_of_ticks(expanded: list[str]) -> None:
    calendar, records = EventCalendar(), [hourly()]
    for tick in range(4 * 60 * 2):
        now = NOON + tick * TICK
        around = await calendar.around(records, now)
        assert around.upcoming[0].occurrence.end > now
        assert 25 <= len(around.upcoming) <= 26
    assert len(expanded) <= 2
    await calendar.around(records, NOON + DAY)
    assert len(expanded) == 2


async def test_an_edit_expands_the_event_at_once_and_a_status_change_does_not(expanded: list[str]) -> None:
    calendar = EventCalendar()
    await calendar.around([a_record("sale")], NOON)
    await calendar.around([a_record("sale", generation=2)], NOON)
    assert len(expanded) == 1
    around = await calendar.around([a_record("sale", generation=3, start=NOON + HOUR, end=NOON + 2 * HOUR)], NOON)
    assert around.upcoming[0].occurrence.start == NOON + HOUR
    assert len(expanded) == 2


async def test_deleted_events_are_forgotten(expanded: list[str]) -> None:
    calendar = EventCalendar()
    await calendar.around([a_record("sale"), a_record("broken")], NOON)
    await calendar.around([], NOON)
    assert calendar.expansion("sale-uid") is None
    assert calendar.problem_of("broken-uid") is None


async def test_known_events_are_reused_until_they_change() -> None:
    calendar, records = EventCalendar(), [hourly()]
    (first,), (second,) = [(await calendar.around(records, NOON + tick * TICK)).known for tick in (1, 2)]
    assert first is second
    (later,) = (await calendar.around(records, NOON + HOUR + TICK)).known
    assert later.known[:-1] == first.known[1:]


async def test_other_tasks_run_between_two_expansions() -> None:
    calendar, records = EventCalendar(), [hourly(f"hourly-{number}") for number in range(20)]
    turns = 0

    async def probe() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    probing = asyncio.create_task(probe())
    await calendar.around(records, NOON)
    probing.cancel()
    assert turns >= len(records)


async def test_a_counted_rule_that_began_too_long_ago_is_left_out_with_a_remedy() -> None:
    rule = {
        "rrule": "FREQ=DAILY;BYMONTH=6;COUNT=10000",
        "timezone": "UTC",
        "from": "1970-01-01",
        "start": "18:00",
        "duration": "1h",
    }
    calendar = EventCalendar()
    around = await calendar.around([a_record("old", recurrence=rule), a_record("sale")], NOON)
    assert [window.event.metadata.name for window in around.upcoming] == ["sale"]
    problem = calendar.problem_of("old-uid")
    assert problem is not None
    assert problem.reason == "InvalidRecurrence"
    assert "set a later recurrence.from" in problem.message
