"""Semantics 20: when an event takes place, across daylight saving time and midnight."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.decision.events.active_occurrences import EventProgress, event_progress
from predictive_scaling.decision.events.occurrences import expand, next_start, occurrences
from predictive_scaling.decision.events.windows import event_window
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.vocabulary import EventPhase
from tests.support.builders import NOON, an_event

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def recurring(rrule: str, start: str = "18:00", duration: str = "2h", **more: Any) -> BusinessEvent:
    zone, since = more.pop("timezone", "Europe/Paris"), more.pop("since", "2026-01-02")
    recurrence = {"rrule": rrule, "timezone": zone, "from": since, "start": start, "duration": duration}
    return an_event(recurrence=recurrence, **more)


def starts(event: BusinessEvent, since: datetime, days: float, limit: int = 1000) -> list[str]:
    expanded = occurrences(event, since, since + days * DAY, limit)
    return [f"{occurrence.start:%m-%d %H:%M}" for occurrence in expanded]


def progress(event: BusinessEvent, now: datetime) -> EventProgress:
    return event_progress(expand(event, now - DAY, now + DAY), now)


def test_an_event_with_a_start_and_an_end_takes_place_once() -> None:
    event = an_event(start=NOON, end=NOON + HOUR)
    assert occurrences(event, NOON - DAY, NOON + DAY) == (Span(NOON, NOON + HOUR),)


def test_windows_are_half_open() -> None:
    event = an_event(start=NOON, end=NOON + HOUR)
    assert occurrences(event, NOON + HOUR, NOON + DAY) == ()
    assert occurrences(event, NOON - HOUR, NOON) == ()
    instant = timedelta(microseconds=1)
    assert len(occurrences(event, NOON + HOUR - instant, NOON + DAY)) == 1
    assert len(occurrences(event, NOON - HOUR, NOON + instant)) == 1


def test_ramps_are_part_of_the_influence() -> None:
    event = an_event(start=NOON, end=NOON + HOUR, rampUp="15m", rampDown="30m")
    assert len(occurrences(event, NOON - HOUR, NOON - timedelta(minutes=14))) == 1
    assert len(occurrences(event, NOON - HOUR, NOON - timedelta(minutes=15))) == 0
    assert len(occurrences(event, NOON + HOUR + timedelta(minutes=29), NOON + DAY)) == 1
    assert len(occurrences(event, NOON + HOUR + timedelta(minutes=30), NOON + DAY)) == 0


def test_a_weekly_event_keeps_its_local_time_when_daylight_saving_time_starts() -> None:
    fridays = recurring("FREQ=WEEKLY;BYDAY=FR")
    assert starts(fridays, datetime(2026, 3, 26, tzinfo=UTC), 10) == ["03-27 17:00", "04-03 16:00"]


def test_a_start_that_daylight_saving_time_skips_moves_forward() -> None:
    nightly = recurring("FREQ=DAILY", start="02:30")
    assert starts(nightly, datetime(2026, 3, 28, tzinfo=UTC), 3) == ["03-28 01:30", "03-29 01:30", "03-30 00:30"]


def test_a_start_at_a_repeated_local_time_is_the_first() -> None:
    nightly = recurring("FREQ=DAILY", start="02:30", duration="30m")
    assert starts(nightly, datetime(2026, 10, 24, 3, tzinfo=UTC), 2) == ["10-25 00:30", "10-26 01:30"]


def test_an_hourly_event_has_one_start_in_each_hour_of_a_long_and_a_short_day() -> None:
    hourly = recurring("FREQ=HOURLY", start="00:15", duration="10m")
    for night in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        assert starts(hourly, night, 0.25) == [f"{night:%m-%d} 0{hour}:15" for hour in range(6)]


def test_the_second_of_two_equal_local_times_is_an_occurrence() -> None:
    hourly = recurring("FREQ=HOURLY", start="00:15", duration="10m")
    second = datetime(2026, 10, 25, 1, 16, tzinfo=UTC)
    assert starts(hourly, second, 1 / 1440) == ["10-25 01:15"]


def test_a_duration_is_elapsed_time() -> None:
    over_the_change = recurring("FREQ=DAILY", start="01:00", duration="3h")
    (occurrence,) = occurrences(
        over_the_change, datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 29, 2, tzinfo=UTC)
    )
    assert occurrence.end - occurrence.start == 3 * HOUR


def test_an_event_across_midnight_is_active_after_it() -> None:
    late = recurring("FREQ=DAILY", start="23:00", timezone="UTC")
    (occurrence,) = occurrences(
        late, datetime(2026, 6, 18, 0, 30, tzinfo=UTC), datetime(2026, 6, 18, 0, 31, tzinfo=UTC)
    )
    assert occurrence.start == datetime(2026, 6, 17, 23, tzinfo=UTC)


def test_excluded_dates_are_local_dates() -> None:
    evenings = recurring("FREQ=DAILY", start="20:00", timezone="America/Los_Angeles", excludeDates=["2026-12-25"])
    dates = starts(evenings, datetime(2026, 12, 25, 12, tzinfo=UTC), 2)
    assert dates == ["12-27 04:00"], "the evening of the 25th would be the 26th in UTC"


def test_an_excluded_date_cancels_an_event_with_a_start_and_an_end() -> None:
    event = an_event(start=NOON, end=NOON + HOUR, excludeDates=[f"{NOON:%Y-%m-%d}"])
    assert occurrences(event, NOON - DAY, NOON + DAY) == ()


@pytest.mark.parametrize(
    ("rrule", "since", "expected"),
    [
        ("FREQ=DAILY;INTERVAL=3", "2026-01-02", ["06-19 16:00", "06-22 16:00", "06-25 16:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR", "2026-01-02", ["06-19 16:00", "06-29 16:00"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", "2026-01-02", ["06-26 16:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "2026-01-02", ["06-30 16:00"]),
        ("FREQ=YEARLY", "2020-06-20", ["06-20 16:00"]),
        ("FREQ=DAILY;COUNT=3", "2026-06-17", ["06-17 16:00", "06-18 16:00", "06-19 16:00"]),
        ("FREQ=DAILY;UNTIL=20260618T235959Z", "2026-01-02", ["06-17 16:00", "06-18 16:00"]),
        ("FREQ=DAILY;COUNT=3", "2026-01-02", []),
    ],
)
def test_rules_of_all_kinds_count_from_their_date(rrule: str, since: str, expected: list[str]) -> None:
    assert starts(recurring(rrule, since=since), NOON, 14)[:3] == expected[:3]
    assert len(starts(recurring(rrule, since=since), NOON, 14)) >= len(expected)


def test_a_rule_counts_from_the_day_of_creation_by_default() -> None:
    recurrence = {"rrule": "FREQ=DAILY;COUNT=1", "timezone": "UTC", "start": "18:00", "duration": "1h"}
    assert starts(an_event(recurrence=recurrence), datetime(2025, 1, 1, tzinfo=UTC), 1000) == ["01-01 18:00"]


def test_the_number_of_occurrences_is_limited() -> None:
    assert len(starts(recurring("FREQ=HOURLY", duration="5m"), NOON, 365, limit=10)) == 10


def test_an_event_acts_from_a_ramp_and_a_lead_time_before_the_start() -> None:
    event = an_event(start=NOON, end=NOON + HOUR, rampUp="15m")
    window = event_window(event, Span(NOON, NOON + HOUR))
    assert window.acts_from(timedelta(minutes=3)) == NOON - timedelta(minutes=18)


@pytest.mark.parametrize(
    ("minutes", "phase"),
    [
        (-16, EventPhase.SCHEDULED),
        (-15, EventPhase.RAMPING_UP),
        (0, EventPhase.ACTIVE),
        (59, EventPhase.ACTIVE),
        (60, EventPhase.RAMPING_DOWN),
        (89, EventPhase.RAMPING_DOWN),
        (90, EventPhase.FINISHED),
    ],
)
def test_the_phases_of_an_event(minutes: int, phase: EventPhase) -> None:
    event = an_event(start=NOON, end=NOON + HOUR, rampUp="15m", rampDown="30m")
    current = progress(event, NOON + timedelta(minutes=minutes))
    assert current.phase is phase
    assert current.next_start == (NOON if minutes < 0 else None)


def test_a_recurring_event_is_scheduled_again_after_each_occurrence() -> None:
    fridays = recurring("FREQ=WEEKLY;BYDAY=FR")
    before = progress(fridays, NOON)
    assert (before.phase, before.next_start) == (EventPhase.SCHEDULED, datetime(2026, 6, 19, 16, tzinfo=UTC))
    during = progress(fridays, datetime(2026, 6, 19, 17, tzinfo=UTC))
    assert (during.phase, during.next_start) == (EventPhase.ACTIVE, datetime(2026, 6, 26, 16, tzinfo=UTC))


def test_the_next_start_skips_excluded_dates() -> None:
    daily = recurring("FREQ=DAILY", excludeDates=["2026-06-17", "2026-06-18"])
    assert next_start(daily, NOON) == datetime(2026, 6, 19, 16, tzinfo=UTC)


def test_a_rule_that_never_occurs_has_no_occurrences() -> None:
    event = recurring("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")
    assert starts(event, NOON, 10000) == []
    assert progress(event, NOON).phase is EventPhase.FINISHED
