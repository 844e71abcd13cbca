"""When BusinessEvents take place, and from when on each one concerns a policy."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.recurrence import Recurrence

_MOST = 10_000
"""Occurrences looked at in one span; a rule that is faster than hourly is refused by the API server."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which an event takes place: [start, end), UTC."""

    event: BusinessEvent
    start: datetime
    end: datetime

    @property
    def begins_at(self) -> datetime:
        """When its ramp up begins."""
        return self.start - self.event.spec.ramp_up

    @property
    def is_over_at(self) -> datetime:
        """When its ramp down is over."""
        return self.end + self.event.spec.ramp_down


def occurrences(event: BusinessEvent, since: datetime, until: datetime) -> list[Occurrence]:
    """Those whose ramps and core touch [since, until), by start; at most 10,000."""
    spec = event.spec
    reach = spec.ramp_up + spec.ramp_down
    if spec.recurrence is not None:
        created = event.metadata.creation_timestamp
        first = spec.recurrence.from_ or (created or since).astimezone(ZoneInfo(spec.recurrence.timezone)).date()
        starts = _starts(_Rule.of(spec.recurrence, first), spec.exclude_dates, _day(since - reach), _day(until + reach))
        spans: Iterable[tuple[datetime, datetime]] = [(start, start + spec.recurrence.duration) for start in starts]
    elif spec.start is None or spec.end is None or spec.start.date() in spec.exclude_dates:
        spans = ()
    else:
        spans = [(spec.start.astimezone(UTC), spec.end.astimezone(UTC))]
    found = [Occurrence(event, start, end) for start, end in spans]
    return [one for one in found if one.begins_at < until and one.is_over_at > since]


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class _Rule:
    """A recurrence with everything that its starts depend on, hashable."""

    rrule: str
    zone: str
    first: date
    start: time
    duration: timedelta

    @classmethod
    def of(cls, recurrence: Recurrence, first: date) -> "_Rule":
        start, duration = recurrence.start_of_day, recurrence.duration
        return cls(recurrence.rrule, recurrence.timezone, first, start, duration)

    def at(self, day: date) -> datetime:
        """The local start on a day."""
        return datetime.combine(day, self.start, ZoneInfo(self.zone))


@lru_cache(maxsize=4096)
def _starts(rule: _Rule, excluded: tuple[date, ...], since: date, until: date) -> tuple[datetime, ...]:
    """Starts in UTC, with a margin on both sides for zones and long occurrences."""
    # dateutil counts in local time when its start has a zone: 18:00 stays 18:00 across summer time.
    all_starts = rrulestr(rule.rrule, dtstart=rule.at(rule.first))
    earliest = rule.at(since) - rule.duration - timedelta(days=1)
    latest = rule.at(until) + timedelta(days=2)
    found = _between(all_starts, earliest, latest)
    return tuple(start.astimezone(UTC) for start in found if start.date() not in excluded)


def _between(rule: Iterable[datetime], earliest: datetime, latest: datetime) -> Iterator[datetime]:
    count = 0
    for start in rule:
        if start > latest or count >= _MOST:
            return
        if start >= earliest:
            count += 1
            yield start
