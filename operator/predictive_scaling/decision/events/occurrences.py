"""When an event takes place: half-open spans, correct across daylight saving time and midnight (semantics 20)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from forecasting.context import KnownEvent
from predictive_scaling.decision.events.recurrence import MAX_STEPS, Steps, walk
from predictive_scaling.decision.spans import Span
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import CALENDAR_END, within_calendar
from predictive_scaling.resources.recurrence import Recurrence
from predictive_scaling.resources.recurrence_rule import Frequency, parse_rule

_DEFAULT_CREATION = datetime(2000, 1, 1, tzinfo=UTC)
"""Creation time of a manifest that was never in a cluster."""
_MAX_ZONE_OFFSET = timedelta(days=1)
"""More than the difference between any two time zones."""
_SEARCH_SPANS = (timedelta(days=2), timedelta(days=20), timedelta(days=120))
"""How far back the latest occurrences are searched, before the full span is searched."""
_REPEATED_HOUR = timedelta(hours=2)
"""The walk starts this much earlier: the second of two equal local times is derived from the first."""


def occurrences(
    event: BusinessEvent, since: datetime, until: datetime, limit: int | None = None, steps: Steps | None = None
) -> tuple[Span, ...]:
    """The occurrences whose influence, ramps included, overlaps [since, until), oldest first; at most `limit`.

    A start at a local time that daylight saving time skips moves forward by the skipped hour; a local time that exists
    twice means the first (both where the rule is HOURLY). `duration` is elapsed time, not a difference of local times.
    The result is incomplete when `steps` are used up, which the caller can check.
    """
    spec = event.spec
    ended_by = within_calendar(since) - spec.ramp_down
    last = within_calendar(until)
    following = _occurrences_after(event, ended_by, steps or Steps(), last + spec.ramp_up)
    return tuple(islice(takewhile(lambda occurrence: occurrence.start - spec.ramp_up < last, following), limit))


def latest_occurrences(event: BusinessEvent, since: datetime, until: datetime, limit: int) -> tuple[Span, ...]:
    """The last `limit` occurrences that end after `since` and by `until`, oldest first."""
    until = within_calendar(until)
    since = min(max(since, within_calendar(since)), until)
    for width in (*(min(width, until - since) for width in _SEARCH_SPANS), until - since):
        begin = until - width
        past = [occurrence for occurrence in occurrences(event, begin, until) if begin < occurrence.end <= until]
        if len(past) >= limit or begin == since:
            return tuple(past[-limit:])
    return ()


def next_start(event: BusinessEvent, now: datetime, steps: Steps | None = None) -> datetime | None:
    """The first start after now; None where the walk finds none within its steps."""
    following = _occurrences_after(event, within_calendar(now), steps or Steps())
    return next((occurrence.start for occurrence in following if occurrence.start > now), None)


def _occurrences_after(
    event: BusinessEvent, moment: datetime, steps: Steps, last_start: datetime = CALENDAR_END
) -> Iterator[Span]:
    """Occurrences that end after `moment`, oldest first; all that start by `last_start`, and possibly a few more."""
    spec, excluded = event.spec, frozenset(event.spec.exclude_dates)
    if spec.recurrence is not None:
        yield from _recurring(spec.recurrence, first_start(event), moment, excluded, steps, last_start)
    elif spec.start and spec.end and spec.end > moment and spec.start.date() not in excluded:
        yield Span(spec.start.astimezone(UTC), spec.end.astimezone(UTC))


def first_start(event: BusinessEvent) -> datetime:
    """DTSTART of the event's rule: `from`, or the day of creation, at the local time of day of `start`."""
    recurrence = event.spec.recurrence
    if recurrence is None:
        raise ValueError("the event has no recurrence")
    zone = ZoneInfo(recurrence.timezone)
    created = event.metadata.creation_timestamp or _DEFAULT_CREATION
    day = (
        recurrence.from_
        or within_calendar(created if created.tzinfo else created.replace(tzinfo=UTC)).astimezone(zone).date()
    )
    return datetime.combine(day, recurrence.start, zone)


def _recurring(
    recurrence: Recurrence,
    first: datetime,
    ended_by: datetime,
    excluded: frozenset[date],
    steps: Steps,
    last_start: datetime,
) -> Iterator[Span]:
    rule = parse_rule(recurrence.rrule)
    previous = ended_by - recurrence.duration
    since = (previous - _REPEATED_HOUR).astimezone(first.tzinfo)
    for local in walk(rule, first, since, steps, (last_start + _MAX_ZONE_OFFSET).date()):
        if local.date() in excluded:
            continue
        for start in _instants(local, both=rule.frequency is Frequency.HOURLY):
            # Two local times are the same instant where an hour is skipped.
            if start > previous:
                previous = start
                yield Span(start, start + recurrence.duration)


def _instants(local: datetime, *, both: bool) -> tuple[datetime, ...]:
    """The instants of a local time, in UTC: the first, or both where it exists twice."""
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return (first, second) if both and second > first else (first,)


@dataclass(frozen=True, slots=True)
class Expansion:
    """An event with all occurrences whose influence overlaps a span, oldest first."""

    event: BusinessEvent
    occurrences: tuple[Span, ...]
    next_after: datetime | None
    """The first start after the span."""
    problem: str | None = None
    """Why the occurrences are incomplete, and what to do; None where they are complete."""

    def overlapping(self, since: datetime, until: datetime) -> tuple[Span, ...]:
        """The occurrences whose influence, ramps included, overlaps [since, until), which lies within the span."""
        spec = self.event.spec
        # All occurrences of an event have the same duration, so their ends are sorted like their starts.
        first = bisect_right(self.occurrences, since, key=lambda occurrence: occurrence.end + spec.ramp_down)
        past_last = bisect_left(self.occurrences, until, key=lambda occurrence: occurrence.start - spec.ramp_up)
        return self.occurrences[first:past_last]

    def next_start(self, now: datetime) -> datetime | None:
        """The first start after now, which lies within the span; None where there is none."""
        index = bisect_right(self.occurrences, now, key=lambda occurrence: occurrence.start)
        return self.occurrences[index].start if index < len(self.occurrences) else self.next_after


def expand(event: BusinessEvent, since: datetime, until: datetime) -> Expansion:
    """The occurrences of [since, until). Never raises, and ends within the steps of two walks."""
    steps = Steps()
    expanded = occurrences(event, since, until, steps=steps)
    problem = None
    if steps.are_used_up:
        problem = (
            f"recurrence.rrule needs more than {MAX_STEPS} steps (days and periods) to reach the year {until:%Y}; "
            "set a later recurrence.from, or remove COUNT"
        )
    return Expansion(event, expanded, next_start(event, until), problem)


def known_event(event: BusinessEvent, occurrence: Span) -> KnownEvent:
    """Return an occurrence in the form that forecasts use."""
    return KnownEvent(event.spec.type or "", occurrence.start, occurrence.end, event.spec.expect.multiplier)


def known_events(events: Iterable[BusinessEvent], since: datetime, until: datetime) -> tuple[KnownEvent, ...]:
    """The occurrences that overlap [since, until). Raises InvalidManifestError for an event that cannot be expanded."""
    known: list[KnownEvent] = []
    for event in events:
        expansion = expand(event, since, until)
        if expansion.problem is not None:
            raise InvalidManifestError(f"BusinessEvent {event.key}: {expansion.problem}")
        known += [known_event(event, occurrence) for occurrence in expansion.occurrences]
    return tuple(known)
