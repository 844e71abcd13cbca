"""When an event takes place: half-open windows, across changes to summer time and midnight (semantics 20)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from forecasting.context import KnownEvent
from predictive_scaling.decision.events.recurrence import MAX_STEPS, Steps, walk
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import CALENDAR_END, within_calendar
from predictive_scaling.resources.recurrence import Recurrence
from predictive_scaling.resources.recurrence_rule import Frequency, parse_rule

_UNDATED = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands in for the day of creation of a manifest that was never in a cluster."""
_DAY = timedelta(days=1)
"""More than any two zones differ by."""
_WIDENED = (timedelta(days=2), timedelta(days=20), timedelta(days=120))
"""How far back is looked for the latest occurrences, before all of the span is."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """[start, end) of an event, in UTC."""

    start: datetime
    end: datetime


def occurrences(
    event: BusinessEvent, since: datetime, until: datetime, limit: int | None = None, steps: Steps | None = None
) -> tuple[Occurrence, ...]:
    """Those whose influence, ramps included, meets [since, until), oldest first; at most the first `limit`.

    A start at a time of day that a change to summer time skips moves forward by the hour that is skipped; one that
    comes twice is the first (all of them where the rule is HOURLY). `duration` is time that passes, not clock hands.
    The result is cut where `steps` are used up, which the caller can see from them.
    """
    spec = event.spec
    over = within_calendar(since) - spec.ramp_down
    last = within_calendar(until)
    upcoming = _from(event, over, steps or Steps(), last + spec.ramp_up)
    found = takewhile(lambda it: it.start - spec.ramp_up < last, upcoming)
    return tuple(islice(found, limit))


def latest_occurrences(event: BusinessEvent, since: datetime, until: datetime, limit: int) -> tuple[Occurrence, ...]:
    """The last `limit` of those that are over by `until` and end after `since`, oldest first."""
    until = within_calendar(until)
    since = min(max(since, within_calendar(since)), until)
    for span in (*(min(width, until - since) for width in _WIDENED), until - since):
        begin = until - span
        found = [occurrence for occurrence in occurrences(event, begin, until) if begin < occurrence.end <= until]
        if len(found) >= limit or begin == since:
            return tuple(found[-limit:])
    return ()


def next_start(event: BusinessEvent, now: datetime, steps: Steps | None = None) -> datetime | None:
    """The first start after now; None where there is none within the steps."""
    upcoming = _from(event, within_calendar(now), steps or Steps())
    return next((it.start for it in upcoming if it.start > now), None)


def influence_start(event: BusinessEvent, occurrence: Occurrence, lead_time: timedelta) -> datetime:
    """When an occurrence begins to move the floor; a base forecast must not have seen anything later."""
    return occurrence.start - event.spec.ramp_up - lead_time


def _from(
    event: BusinessEvent, over: datetime, steps: Steps, last_start: datetime = CALENDAR_END
) -> Iterator[Occurrence]:
    """Occurrences that end after `over`, oldest first; with all that start by `last_start`, and a few more."""
    spec, excluded = event.spec, frozenset(event.spec.exclude_dates)
    if spec.recurrence is not None:
        yield from _recurring(spec.recurrence, first_start(event), over, excluded, steps, last_start)
    elif spec.start and spec.end and spec.end > over and spec.start.date() not in excluded:
        yield Occurrence(spec.start.astimezone(UTC), spec.end.astimezone(UTC))


def first_start(event: BusinessEvent) -> datetime:
    """DTSTART of its rule: `from`, or the day of creation, at the local time of day of `start`."""
    recurrence = event.spec.recurrence
    if recurrence is None:
        raise ValueError("the event has no recurrence")
    zone = ZoneInfo(recurrence.timezone)
    created = event.metadata.creation_timestamp or _UNDATED
    day = (
        recurrence.from_
        or within_calendar(created if created.tzinfo else created.replace(tzinfo=UTC)).astimezone(zone).date()
    )
    return datetime.combine(day, recurrence.start, zone)


def _recurring(
    recurrence: Recurrence,
    first: datetime,
    over: datetime,
    excluded: frozenset[date],
    steps: Steps,
    last_start: datetime,
) -> Iterator[Occurrence]:
    rule = parse_rule(recurrence.rrule)
    # Some grace, as the second of two equal local times is found by way of the first.
    since = (over - recurrence.duration - timedelta(hours=2)).astimezone(first.tzinfo)
    last = over - recurrence.duration
    for local in walk(rule, first, since, steps, (last_start + _DAY).date()):
        if local.date() in excluded:
            continue
        for start in _instants(local, twice=rule.frequency is Frequency.HOURLY):
            # Two local times can be one instant where an hour is skipped.
            if start > last:
                last = start
                yield Occurrence(start, start + recurrence.duration)


def _instants(local: datetime, *, twice: bool) -> tuple[datetime, ...]:
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return (first, second) if twice and second > first else (first,)


@dataclass(frozen=True, slots=True)
class Expansion:
    """An event with all of its occurrences whose influence meets a span, oldest first."""

    event: BusinessEvent
    occurrences: tuple[Occurrence, ...]
    next_after: datetime | None
    """The first start after the span."""
    problem: str | None = None
    """Why the occurrences are not complete, and what to do; None where they are."""

    def meeting(self, since: datetime, until: datetime) -> tuple[Occurrence, ...]:
        """Those whose influence, ramps included, meets [since, until), which lies within the span."""
        spec = self.event.spec
        # An event has one duration, so its ends are in the order of its starts.
        first = bisect_right(self.occurrences, since, key=lambda it: it.end + spec.ramp_down)
        return self.occurrences[first : bisect_left(self.occurrences, until, key=lambda it: it.start - spec.ramp_up)]

    def next_start(self, now: datetime) -> datetime | None:
        """The first start after now, which lies within the span; None where there is none."""
        at = bisect_right(self.occurrences, now, key=lambda it: it.start)
        return self.occurrences[at].start if at < len(self.occurrences) else self.next_after


def expand(event: BusinessEvent, since: datetime, until: datetime) -> Expansion:
    """The occurrences of [since, until). Never raises, and ends within the steps of two walks."""
    steps = Steps()
    found = occurrences(event, since, until, steps=steps)
    problem = None
    if steps.are_used_up:
        problem = (
            f"recurrence.rrule takes more than {MAX_STEPS} days and periods to walk up to {until:%Y}; "
            "set a later recurrence.from, or leave COUNT out"
        )
    return Expansion(event, found, next_start(event, until), problem)


def known_event(event: BusinessEvent, start: datetime, end: datetime) -> KnownEvent:
    """One occurrence."""
    return KnownEvent(event.spec.type or "", start, end, event.spec.expect.multiplier)


def known_events(events: Iterable[BusinessEvent], since: datetime, until: datetime) -> tuple[KnownEvent, ...]:
    """The occurrences that meet [since, until). Raises InvalidManifestError where one cannot be expanded as far."""
    found: list[KnownEvent] = []
    for event in events:
        expansion = expand(event, since, until)
        if expansion.problem is not None:
            raise InvalidManifestError(f"BusinessEvent {event.key}: {expansion.problem}")
        found += [known_event(event, occurrence.start, occurrence.end) for occurrence in expansion.occurrences]
    return tuple(found)
