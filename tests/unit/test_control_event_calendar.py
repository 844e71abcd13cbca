"""Events around now: each is expanded once a day, and none stops the others."""

import asyncio
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control import event_calendar as module
from predictive_scaling.control.event_calendar import EventCalendar
from predictive_scaling.decision.events.occurrences import Expansion, expand
from predictive_scaling.resources.business_event import BusinessEvent
from tests.support.builders import NOON, an_event

DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(seconds=15)


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    with capture_logs() as found:
        yield found


@pytest.fixture
def expanded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the events that were expanded, in order."""
    names: list[str] = []

    def counted(event: BusinessEvent, since: datetime, until: datetime) -> Expansion:
        names.append(event.metadata.name)
        if event.metadata.name == "broken":
            raise OverflowError("date value out of range")
        return expand(event, since, until)

    monkeypatch.setattr(module, "expand", counted)
    return names


def a_record(name: str, generation: int = 1, **spec: Any) -> EventRecord:
    event = an_event(name, **spec)
    return EventRecord("shop", name, f"{name}-uid", generation, generation, NOON, {}, event)


def hourly(name: str = "hourly", **more: Any) -> EventRecord:
    rule = {"rrule": "FREQ=HOURLY", "timezone": "UTC", "from": "2020-01-01", "start": "00:00", "duration": "5m"}
    return a_record(name, type="batch", recurrence=rule, **more)


async def test_an_event_that_fails_is_left_out_alone_and_says_why(logs: list[EventDict], expanded: list[str]) -> None:
    calendar = EventCalendar()
    records = [a_record("first", type="sale"), a_record("broken", type="sale"), a_record("last", type="sale")]
    await calendar.around(records, NOON)
    around = await calendar.around(records, NOON)
    assert [one.event.metadata.name for one in around.upcoming] == ["first", "last"]
    assert [one.event.metadata.name for one in around.known] == ["first", "last"]
    problem = calendar.problem_of("broken-uid")
    assert problem is not None
    assert problem.reason == "InternalError"
    assert "OverflowError: date value out of range" in problem.message
    assert calendar.problem_of("first-uid") is None
    assert [log["event_name"] for log in logs if log["event"] == "event_left_out"] == ["shop/broken"], "once"


async def test_an_event_that_failed_is_there_again_once_it_is_mended(expanded: list[str]) -> None:
    calendar = EventCalendar()
    await calendar.around([a_record("broken")], NOON)
    mended = a_record("mended")
    record = EventRecord("shop", "broken", "broken-uid", 2, 2, NOON, {}, mended.event)
    around = await calendar.around([record], NOON)
    assert len(around.upcoming) == 1
    assert calendar.problem_of("broken-uid") is None


async def test_an_event_is_expanded_once_a_day_however_many_ticks_there_are(expanded: list[str]) -> None:
    calendar, records = EventCalendar(), [hourly()]
    for tick in range(4 * 60 * 2):
        now = NOON + tick * TICK
        around = await calendar.around(records, now)
        assert around.upcoming[0].occurrence.end > now
        assert 25 <= len(around.upcoming) <= 26
    assert len(expanded) <= 2
    await calendar.around(records, NOON + DAY)
    assert len(expanded) == 2


async def test_an_edit_is_seen_at_once_and_a_change_of_the_status_is_none(expanded: list[str]) -> None:
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


async def test_what_forecasts_know_is_made_once_until_it_changes() -> None:
    calendar, records = EventCalendar(), [hourly()]
    (first,), (second,) = [(await calendar.around(records, NOON + tick * TICK)).known for tick in (1, 2)]
    assert first is second
    (later,) = (await calendar.around(records, NOON + HOUR + TICK)).known
    assert later.known[:-1] == first.known[1:]


async def test_other_tasks_have_their_turn_between_two_expansions() -> None:
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


async def test_a_counted_rule_that_began_too_long_ago_is_left_out_with_what_to_do() -> None:
    rule = {
        "rrule": "FREQ=DAILY;BYMONTH=6;COUNT=10000",
        "timezone": "UTC",
        "from": "1970-01-01",
        "start": "18:00",
        "duration": "1h",
    }
    calendar = EventCalendar()
    around = await calendar.around([a_record("old", recurrence=rule), a_record("sale")], NOON)
    assert [one.event.metadata.name for one in around.upcoming] == ["sale"]
    problem = calendar.problem_of("old-uid")
    assert problem is not None
    assert problem.reason == "InvalidRecurrence"
    assert "set a later recurrence.from" in problem.message
