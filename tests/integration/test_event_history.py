"""The table business_events keeps past and planned occurrences when BusinessEvents are edited or deleted."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.control.jobs.event_history import MAX_AHEAD, MAX_PAST
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.database import Database
from tests.support.builders import NOON, an_event
from tests.support.control import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEDNESDAY = NOON
"""17 June 2026."""


class Shop:
    """The controller of events with its table; `restart` drops the state in memory."""

    def __init__(self, database: Database) -> None:
        self.world, self.table = World(), BusinessEvents(database)
        self.restart()

    def restart(self) -> None:
        self.job = BusinessEventController(
            self.world.cluster, self.world.informer_cache, self.table, self.world.clock, lambda: True
        )

    async def apply(self, name: str = "sale", generation: int = 1, **spec: Any) -> None:
        """Add or change an event, and run the controller."""
        self.put(name, generation, **spec)
        await self.job.run()

    def put(self, name: str = "sale", generation: int = 1, **spec: Any) -> None:
        event = named(an_event(**spec), name)
        path = f"/apis/predictive-scaling.io/v1alpha1/namespaces/shop/businessevents/{name}"
        self.world.cluster.objects.setdefault(path, {"metadata": {"name": name, "uid": f"{name}-uid"}})
        record = EventRecord("shop", name, f"{name}-uid", generation, generation, NOON, {}, event)
        self.world.event_records["shop", name] = [record]

    async def delete(self, name: str = "sale") -> None:
        del self.world.event_records["shop", name]
        await self.job.run()

    async def wait(self, duration: timedelta) -> None:
        self.world.clock.advance(duration)
        await self.job.run()

    async def starts(self, since: timedelta = -600 * DAY, until: timedelta = 600 * DAY) -> list[str]:
        rows = await self.table.between(NOON + since, NOON + until)
        return [f"{row.start_time:%m-%d %H:%M}" for row in rows]


def named(event: BusinessEvent, name: str) -> BusinessEvent:
    return event.model_copy(update={"metadata": event.metadata.model_copy(update={"name": name})})


def at(start: datetime, duration: timedelta = HOUR, **spec: Any) -> dict[str, Any]:
    return {"type": "flash-sale", "start": start, "end": start + duration, **spec}


def recurring(rrule: str, since: str = "2026-01-02", **spec: Any) -> dict[str, Any]:
    rule = {"rrule": rrule, "timezone": "UTC", "from": since, "start": "18:00", "duration": "1h"}
    return {"type": "flash-sale", "recurrence": rule, **spec}


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_event_moved_before_its_start_has_one_occurrence(shop: Shop, restarts: bool) -> None:
    await shop.apply(**at(NOON + HOUR))
    if restarts:
        shop.restart()
    await shop.apply(generation=2, **at(NOON + DAY))
    assert await shop.starts() == ["06-18 12:00"]
    await shop.wait(3 * DAY)
    assert await shop.starts() == ["06-18 12:00"]


async def test_an_event_moved_while_the_operator_was_down_has_no_occurrence_at_its_old_time(shop: Shop) -> None:
    await shop.apply(**at(NOON + HOUR))
    shop.restart()
    shop.world.clock.advance(3 * DAY)
    await shop.apply(generation=2, **at(NOON + DAY))
    assert await shop.starts() == ["06-18 12:00"]


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_event_deleted_before_its_start_has_no_occurrence(shop: Shop, restarts: bool) -> None:
    await shop.apply(**at(NOON + HOUR))
    if restarts:
        # It is deleted while the operator is down; the operator starts again after the time of the sale.
        shop.restart()
        shop.world.clock.advance(DAY)
    await shop.delete()
    assert await shop.starts() == []
    await shop.wait(DAY)
    assert await shop.starts() == []


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_event_deleted_after_its_end_keeps_its_occurrence(shop: Shop, restarts: bool) -> None:
    await shop.apply(**at(NOON + HOUR))
    await shop.wait(3 * HOUR)
    if restarts:
        shop.restart()
    await shop.delete()
    assert await shop.starts() == ["06-17 13:00"]


async def test_an_event_reused_for_the_next_sale_keeps_the_past_occurrence(shop: Shop) -> None:
    await shop.apply(**at(NOON + HOUR))
    await shop.wait(3 * HOUR)
    await shop.apply(generation=2, **at(NOON + 90 * DAY))
    assert await shop.starts() == ["06-17 13:00"], "the next occurrence is beyond the recorded time range"
    await shop.wait(100 * DAY)
    assert await shop.starts() == ["06-17 13:00", "09-15 12:00"]


async def test_a_correction_of_a_past_event_replaces_its_occurrence(shop: Shop) -> None:
    await shop.apply("other", **at(NOON - 5 * HOUR))
    await shop.apply(**at(NOON - 3 * HOUR))
    await shop.apply(generation=2, **at(NOON - 2 * HOUR))
    assert await shop.starts() == ["06-17 07:00", "06-17 10:00"]


async def test_an_edited_rule_changes_future_occurrences_only(shop: Shop) -> None:
    await shop.apply(**recurring("FREQ=WEEKLY;BYDAY=FR", since="2026-06-01"))
    await shop.wait(15 * DAY)  # Thursday, 2 July
    before = await shop.starts()
    assert before == ["06-05 18:00", "06-12 18:00", "06-19 18:00", "06-26 18:00", *before[4:]]
    for _ in range(2):
        await shop.apply(generation=2, **recurring("FREQ=WEEKLY;BYDAY=SA", since="2026-06-01"))
        starts = await shop.starts()
        assert starts[:6] == ["06-05 18:00", "06-12 18:00", "06-19 18:00", "06-26 18:00", "07-04 18:00", "07-11 18:00"]
        shop.restart()


async def test_a_new_rule_that_starts_in_the_past_has_past_occurrences(shop: Shop) -> None:
    await shop.apply(**recurring("FREQ=MONTHLY;BYMONTHDAY=1", since="2026-03-01"))
    assert (await shop.starts())[:4] == ["03-01 18:00", "04-01 18:00", "05-01 18:00", "06-01 18:00"]


async def test_a_date_excluded_later_has_no_occurrence(shop: Shop) -> None:
    await shop.apply(**recurring("FREQ=DAILY", since="2026-06-14"))
    await shop.apply(
        generation=2, **recurring("FREQ=DAILY", since="2026-06-14", excludeDates=["2026-06-15", "2026-06-18"])
    )
    assert (await shop.starts())[:4] == ["06-14 18:00", "06-16 18:00", "06-17 18:00", "06-19 18:00"]


async def test_the_last_and_the_next_occurrences_of_an_hourly_event_are_recorded(shop: Shop) -> None:
    rule = recurring("FREQ=HOURLY", since="2025-01-01")
    rule["recurrence"] |= {"duration": "5m"}
    await shop.apply(**rule)
    occurrences = await shop.table.between(NOON - 600 * DAY, NOON + 600 * DAY)
    assert len(occurrences) == MAX_PAST + MAX_AHEAD
    assert sum(row.confirmed_at is not None for row in occurrences) == MAX_PAST + 12, (
        "and the occurrences of today until noon"
    )
    await shop.wait(3 * DAY)
    later = await shop.table.between(NOON - 600 * DAY, NOON + 600 * DAY)
    assert len(later) == MAX_PAST + MAX_AHEAD + 72, "past occurrences are kept"
    assert all((row.confirmed_at is not None) == (row.end_time <= NOON + 3 * DAY) for row in later)


async def test_rows_of_deleted_events_from_an_older_release_are_removed(shop: Shop) -> None:
    await shop.apply(**at(NOON + HOUR))
    (planned,) = await shop.table.between(NOON, NOON + DAY)
    await shop.table.record([replace(planned, name="gone")])
    shop.restart()
    await shop.job.run()
    assert [row.name for row in await shop.table.between(NOON, NOON + DAY)] == ["sale"]


async def test_events_of_unwatched_namespaces_are_kept(shop: Shop) -> None:
    await shop.apply(**at(NOON + HOUR))
    shop.restart()
    shop.job.namespaces = ("another",)
    await shop.delete()
    assert await shop.starts() == ["06-17 13:00"]


async def test_an_event_that_cannot_be_recorded_does_not_affect_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put("aaa", **at(NOON + HOUR))
    shop.put("bad", **at(NOON + HOUR))
    shop.put("zzz", **at(NOON + HOUR))
    replace_rows = shop.table.replace

    async def failing(name: Any, *rest: Any) -> None:
        if name.name == "bad":
            raise ZeroDivisionError
        await replace_rows(name, *rest)

    monkeypatch.setattr(shop.table, "replace", failing)
    with capture_logs() as logs:
        await shop.job.run()
    assert [row.name for row in await shop.table.between(NOON, NOON + DAY)] == ["aaa", "zzz"]
    assert [log["event_name"] for log in logs if log["event"] == "event_not_recorded"] == ["shop/bad"]
