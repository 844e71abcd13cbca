"""For any rule and time, the review refuses it with a reason, or its expansion ends within its steps."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, cast

from dateutil.rrule import rrule, rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from predictive_scaling.decision.events.active_occurrences import (
    LOOK_AHEAD,
    LOOK_BACK,
    event_progress,
    known_occurrences,
    upcoming_occurrences,
)
from predictive_scaling.decision.events.occurrences import expand, latest_occurrences, occurrences
from predictive_scaling.decision.events.recurrence import Steps, walk
from predictive_scaling.decision.events.windows import effective_spans, event_window
from predictive_scaling.decision.review import Problem, review_event
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import CALENDAR_END, CALENDAR_START, within_calendar
from predictive_scaling.resources.recurrence_rule import parse_rule

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
EDGES = (
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    CALENDAR_START,
    CALENDAR_END,
    datetime(1969, 12, 31, 23, 59, tzinfo=UTC),
    datetime(2199, 12, 31, 23, 59, tzinfo=UTC),
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 6, 17, 12, tzinfo=UTC),
)
ZONES = (
    "UTC",
    "Europe/Paris",
    "America/Los_Angeles",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Niue",
    "Etc/GMT+12",
)
ODD_ZONES = ("Factory", "localtime", "posixrules", "right/Europe/Paris", "Mars/Olympus", "Europe", "utc ", "")


def numbers(low: int, high: int, *odd: int) -> st.SearchStrategy[str]:
    """A list of numbers as in BYHOUR; most are valid."""
    number = st.integers(low, high) | st.sampled_from(odd or (low,))
    return st.lists(number, min_size=1, max_size=5).map(lambda values: ",".join(map(str, values)))


def weekdays(*counts: str) -> st.SearchStrategy[str]:
    weekday = st.tuples(st.sampled_from(counts), st.sampled_from(WEEKDAYS)).map("".join)
    return st.lists(weekday, min_size=1, max_size=4).map(",".join)


# All strategies are constructed once: Hypothesis validates a new one at its first draw, which takes longer than the
# draw.
PARTS: dict[str, st.SearchStrategy[str]] = {
    "INTERVAL": st.sampled_from(["1", "2", "3", "7", "12", "24", "100", "999", "0", "-1", "1000", "99999999999"]),
    "COUNT": st.sampled_from(["1", "3", "500", "10000", "0", "-1", "10001", "9" * 30]),
    "UNTIL": st.sampled_from(
        ["20261231T235959Z", "21991231T000000Z", "19700101T000000Z", "20260230T000000Z", "20261231", "99991231T235959Z"]
    ),
    "BYDAY": weekdays("", "", "", "1", "-1", "5", "-53", "20", "60", "0"),
    "BYMONTHDAY": numbers(1, 31, 0, -1, -31, 32),
    "BYYEARDAY": numbers(1, 366, 0, -1, -366, 367),
    "BYWEEKNO": numbers(1, 53, 0, -1, -53, 54),
    "BYMONTH": numbers(1, 12, 0, 13, -1),
    "BYHOUR": numbers(0, 23, 24, 99, -1),
    "BYSETPOS": numbers(1, 5, 0, -1, -2, 366, 400),
    "WKST": st.sampled_from([*WEEKDAYS, "XX"]),
}
FREQUENCIES = st.sampled_from(["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY", "MINUTELY"])


names_of_parts = st.lists(st.sampled_from(sorted(PARTS)), max_size=4, unique=True)


@st.composite
def rules(draw: st.DrawFn) -> str:
    parts = [f"FREQ={draw(FREQUENCIES)}", *(f"{name}={draw(PARTS[name])}" for name in draw(names_of_parts))]
    return ";".join(draw(st.permutations(parts)))


any_rules = rules()
dates = st.sampled_from(
    ["1970-01-01", "2199-12-31", "2026-02-28", "2024-02-29", "1969-12-31", "9999-12-31", "0001-01-01"]
)
times = st.sampled_from(EDGES) | st.datetimes(timezones=st.just(UTC))
ramps_up = st.sampled_from(["0s", "15m", "24h", "25h"])
ramps_down = st.sampled_from(["0s", "15m", "24h"])
excluded_dates = st.lists(dates, max_size=2, unique=True)
zones = st.sampled_from(ZONES) | st.sampled_from(ODD_ZONES)
durations = st.sampled_from(["1m", "2h", "168h"])
creations = st.sampled_from(["2026-01-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "policies": {"all": True},
        "type": "flash-sale",
        "rampUp": draw(ramps_up),
        "rampDown": draw(ramps_down),
        "excludeDates": draw(excluded_dates),
    }
    if draw(st.booleans()):
        spec["recurrence"] = {
            "rrule": draw(any_rules),
            "timezone": draw(zones),
            "start": f"{draw(st.integers(0, 23)):02}:{draw(st.integers(0, 59)):02}",
            "duration": draw(durations),
        }
        if draw(st.booleans()):
            spec["recurrence"]["from"] = draw(dates)
    else:
        spec["start"], spec["end"] = draw(times).isoformat(), draw(times).isoformat()
    created = draw(creations)
    return {"metadata": {"name": "sale", "namespace": "shop", "creationTimestamp": created}, "spec": spec}


def check_expansion(event: BusinessEvent, now: datetime) -> None:
    """Everything computed from an event for a time raises nothing and takes a bounded number of steps."""
    for since, until in ((now, now), (now, CALENDAR_END), (datetime.min.replace(tzinfo=UTC), now)):
        steps = Steps()
        expanded = occurrences(event, since, until, limit=50, steps=steps)
        assert steps.taken <= 20_000
        assert len(expanded) <= 50
        assert list(expanded) == sorted(expanded, key=lambda occurrence: occurrence.start)
    near = within_calendar(now)
    around = expand(event, near - LOOK_BACK, near + LOOK_AHEAD)
    upcoming_occurrences(around, near)
    known_occurrences(around, near)
    event_progress(around, now)
    latest = latest_occurrences(event, near - timedelta(days=30), near, 10)
    assert all(occurrence.end <= near for occurrence in latest)
    for occurrence in around.occurrences[:3]:
        lead_time = timedelta(hours=25)
        window = event_window(event, occurrence)
        assert window.acts_from(lead_time) <= occurrence.start < occurrence.end <= window.span.end
        for span in effective_spans(window, (window,), Span(near - lead_time, near + lead_time)):
            assert 0 <= window.lowest_share(span) <= window.highest_share(span) <= 1


@settings(max_examples=1000)
@given(manifests(), times)
def test_review_refuses_with_a_reason_or_the_expansion_ends_within_its_steps(
    body: dict[str, Any], now: datetime
) -> None:
    verdict = review_event(body)
    if isinstance(verdict, Problem):
        assert verdict.reason in ("InvalidRecurrence", "InvalidTimezone", "Invalid"), verdict
        assert "shop/sale" in verdict.message
    else:
        check_expansion(verdict, now)


@settings(max_examples=1000)
@given(rules(), st.sampled_from(ZONES), st.integers(0, 23), st.dates(date(1970, 1, 1), date(2199, 12, 31)), times)
def test_a_rule_is_refused_or_expanded_within_its_steps(
    rule: str, zone: str, hour: int, day: date, now: datetime
) -> None:
    recurrence = {"rrule": rule, "timezone": zone, "start": f"{hour:02}:30", "duration": "2h", "from": day.isoformat()}
    spec = {"policies": {"all": True}, "type": "flash-sale", "recurrence": recurrence}
    verdict = review_event({"metadata": {"name": "sale", "namespace": "shop"}, "spec": spec})
    if isinstance(verdict, Problem):
        assert verdict.reason == "InvalidRecurrence"
        assert "recurrence.rrule" in verdict.message
    else:
        check_expansion(verdict, now)


# dateutil shortens the week of DTSTART, numbers weeks that do not start on Monday differently from RFC 5545, and
# searches up to the year 9999 for a day that a month does not have.
AS_IN_DATEUTIL = {
    "INTERVAL": st.sampled_from(["1", "2", "3", "7", "12"]),
    "COUNT": st.sampled_from(["1", "3", "500"]),
    "UNTIL": st.just("20281231T235959Z"),
    "BYDAY": weekdays(""),
    "BYMONTHDAY": numbers(1, 31, -1, -5),
    "BYMONTH": numbers(1, 12),
    "BYHOUR": numbers(0, 23),
}
names_as_in_dateutil = st.lists(st.sampled_from(sorted(AS_IN_DATEUTIL)), max_size=3, unique=True)
frequencies_as_in_dateutil = st.sampled_from(["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"])


@settings(max_examples=300)
@given(st.data(), st.dates(date(2024, 1, 1), date(2026, 12, 31)), st.integers(0, 23))
def test_the_starts_agree_with_dateutil(data: st.DataObject, day: date, hour: int) -> None:
    first = datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC)
    names = data.draw(names_as_in_dateutil)
    assume(not {"COUNT", "UNTIL"} <= set(names))  # dateutil warns about both
    frequency = data.draw(frequencies_as_in_dateutil)
    text = ";".join([f"FREQ={frequency}", *(f"{name}={data.draw(AS_IN_DATEUTIL[name])}" for name in names)])
    steps = Steps()
    last_day = date(2032, 12, 31)
    starts = [start for start in walk(parse_rule(text), first, first, steps, last_day) if start.date() <= last_day][:60]
    assert not steps.are_used_up
    # Without a start, dateutil would search for seconds.
    assume(starts)
    reference = cast(rrule, rrulestr(text, dtstart=first))
    assert starts == list(islice(reference, len(starts)))
