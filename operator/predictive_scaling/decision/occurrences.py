"""When an event takes place: half-open windows, across changes to summer time and midnight (semantics 20)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import cast
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

from predictive_scaling.decision.recurrence_limits import parts_of, problem_of
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.recurrence import Recurrence

MOST_OCCURRENCES = 1000
_UNDATED = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands in for the day of creation of a manifest that was never in a cluster."""
_STRIDES = {"HOURLY": timedelta(hours=1), "DAILY": timedelta(days=1), "WEEKLY": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class Occurrence:
    """[start, end) of an event, in UTC."""

    start: datetime
    end: datetime


def occurrences(
    event: BusinessEvent, since: datetime, until: datetime, limit: int = MOST_OCCURRENCES
) -> tuple[Occurrence, ...]:
    """Those whose influence, ramps included, meets [since, until), oldest first; at most `limit`.

    A start at a time of day that a change to summer time skips moves forward by the hour that is skipped; one that
    comes twice is the first (all of them where the rule is HOURLY). `duration` is time that passes, not clock hands.
    """
    spec = event.spec
    over = since - spec.ramp_down
    found = takewhile(lambda it: it.start - spec.ramp_up < until, _from(event, over))
    return tuple(islice(found, limit))


def next_start(event: BusinessEvent, now: datetime) -> datetime | None:
    """The first start after now; None where there is none."""
    return next((it.start for it in islice(_from(event, now), MOST_OCCURRENCES) if it.start > now), None)


def influence_start(event: BusinessEvent, occurrence: Occurrence, lead_time: timedelta) -> datetime:
    """When an occurrence begins to move the floor; a base forecast must not have seen anything later."""
    return occurrence.start - event.spec.ramp_up - lead_time


def _from(event: BusinessEvent, over: datetime) -> Iterator[Occurrence]:
    """Occurrences that end after `over`, oldest first."""
    spec, excluded = event.spec, frozenset(event.spec.exclude_dates)
    if spec.recurrence is not None:
        created = event.metadata.creation_timestamp or _UNDATED
        yield from _recurring(spec.recurrence, _anchor(spec.recurrence, created), over, excluded)
    elif spec.start and spec.end and spec.end > over and spec.start.date() not in excluded:
        yield Occurrence(spec.start.astimezone(UTC), spec.end.astimezone(UTC))


def _anchor(recurrence: Recurrence, created: datetime) -> datetime:
    """DTSTART: `from`, or the day of creation, at the local time of day of `start`."""
    zone = ZoneInfo(recurrence.timezone)
    day = recurrence.from_ or created.astimezone(zone).date()
    return datetime.combine(day, recurrence.start, zone)


def _recurring(
    recurrence: Recurrence, anchor: datetime, over: datetime, excluded: frozenset[date]
) -> Iterator[Occurrence]:
    if problem_of(recurrence):
        return
    # Some grace, as the second of two equal local times is found by way of the first.
    first = over - recurrence.duration - timedelta(hours=2)
    last = datetime.min.replace(tzinfo=UTC)
    hourly = parts_of(recurrence.rrule).get("FREQ") == "HOURLY"
    rule = _rule(
        recurrence.rrule, anchor, first.astimezone(anchor.tzinfo).replace(hour=0, minute=0, second=0, microsecond=0)
    )
    for local in rule.xafter(first, inc=True):
        if local.date() in excluded:
            continue
        for start in _instants(local, twice=hourly):
            # Two local times can be one instant where an hour is skipped.
            if start > last and start + recurrence.duration > over:
                last = start
                yield Occurrence(start, start + recurrence.duration)


def _instants(local: datetime, *, twice: bool) -> tuple[datetime, ...]:
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return (first, second) if twice and second > first else (first,)


@lru_cache(maxsize=4096)
def _rule(text: str, anchor: datetime, near: datetime) -> rrule:
    """The rule, counted from shortly before `near`: dateutil walks through every period since DTSTART."""
    parts = parts_of(text)
    stride = _STRIDES.get(parts["FREQ"])
    if stride is not None and "COUNT" not in parts:
        stride *= int(parts.get("INTERVAL", "1"))
        # Wall clock arithmetic, as the rule's own.
        passed = (near.replace(tzinfo=None) - anchor.replace(tzinfo=None)) // stride - 1
        anchor += stride * max(0, passed)
    rule = rrulestr(text, dtstart=anchor, cache=True)
    return cast(rrule, rule)  # a set of rules comes of more than one line only
