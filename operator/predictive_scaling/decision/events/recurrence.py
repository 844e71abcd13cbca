"""Expand a recurrence rule with a limited number of steps (semantics 20).

python-dateutil implements the same rules, but has no limit: for a rule without occurrences it searches up to the year
9999 (seconds), and for some values it never ends. Here each examined period and day is a step, the number of steps is
limited, and the calendar ends, so that a walk always terminates. Where dateutil follows RFC 5545, the starts agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from predictive_scaling.resources.event_time import FIRST_YEAR, LAST_YEAR
from predictive_scaling.resources.recurrence_rule import Frequency, RecurrenceRule, WeekdayPart

MAX_STEPS = 20_000
"""Steps of one walk: 54 years of days. A step produces at most 24 starts."""
_DAY, _WEEK_DAYS, _YEAR_MONTHS = timedelta(days=1), 7, 12
_FIRST_DAY, _LAST_DAY = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)


@dataclass(slots=True)
class Steps:
    """Counter of the steps of a walk."""

    limit: int = MAX_STEPS
    taken: int = 0

    @property
    def are_used_up(self) -> bool:
        """Whether the limit is reached, which ends the walk."""
        return self.taken >= self.limit

    def take(self) -> bool:
        """Count one more step; False at the limit."""
        if self.are_used_up:
            return False
        self.taken += 1
        return True


def walk(
    rule: RecurrenceRule, first: datetime, since: datetime, steps: Steps, last_day: date = _LAST_DAY
) -> Iterator[datetime]:
    """Yield the starts of a rule that counts from `first`, between `since` and `last_day`, in ascending order.

    Ends earlier when the steps are used up. first, since: local times in one zone, which is also the zone of the
    starts. first is DTSTART, and not necessarily a start itself. The last period is complete: its starts may lie after
    `last_day`.
    """
    rule = _completed(rule, first)
    # COUNT has to be counted from the first start.
    origin = first if rule.count is not None else max(first, since)
    count = 0
    if rule.until is not None:
        # UNTIL is in UTC: one day more covers any zone.
        last_day = min(last_day, rule.until.date() + _DAY)
    for start in _candidates(rule, first, origin, last_day, steps):
        if start < first:
            continue
        count += 1
        if (rule.count is not None and count > rule.count) or (rule.until is not None and start > rule.until):
            return
        if start >= since:
            yield start


def _completed(rule: RecurrenceRule, first: datetime) -> RecurrenceRule:
    """The rule with missing parts filled from DTSTART."""
    if rule.frequency is not Frequency.HOURLY and not rule.by_hour:
        rule = replace(rule, by_hour=(first.hour,))
    rule = replace(rule, by_hour=tuple(sorted(rule.by_hour)))
    if rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day:
        return rule
    match rule.frequency:
        case Frequency.YEARLY:
            return replace(rule, by_month=rule.by_month or (first.month,), by_month_day=(first.day,))
        case Frequency.MONTHLY:
            return replace(rule, by_month_day=(first.day,))
        case Frequency.WEEKLY:
            return replace(rule, by_day=(WeekdayPart(first.weekday(), 0),))
        case _:
            return rule


def _candidates(
    rule: RecurrenceRule, first: datetime, origin: datetime, last_day: date, steps: Steps
) -> Iterator[datetime]:
    """Yield the starts of all periods from that of `origin` to that of `last_day`."""
    index = _periods_between(rule, first.date(), origin.date())
    if rule.frequency is not Frequency.HOURLY:
        # The period selected by INTERVAL at or before that of origin: earlier starts are skipped by the caller.
        index = index // rule.interval * rule.interval
    while (days := _period(rule, first.date(), index)) is not None:
        if days[0] > last_day or not steps.take():
            return
        yield from _starts_within(rule, first, *days, steps)
        index += 1 if rule.frequency is Frequency.HOURLY else rule.interval


def _periods_between(rule: RecurrenceRule, first: date, day: date) -> int:
    """The number of periods from `first` to `day`; an hourly rule is walked by days."""
    match rule.frequency:
        case Frequency.YEARLY:
            return day.year - first.year
        case Frequency.MONTHLY:
            return (day.year - first.year) * _YEAR_MONTHS + day.month - first.month
        case Frequency.WEEKLY:
            return (_week_start(day, rule.week_start) - _week_start(first, rule.week_start)).days // _WEEK_DAYS
        case _:
            return (day - first).days


def _period(rule: RecurrenceRule, first: date, index: int) -> tuple[date, date] | None:
    """First and last day of the period `index` periods after that of `first`; None after the end of the calendar."""
    match rule.frequency:
        case Frequency.YEARLY:
            year = first.year + index
            return (date(year, 1, 1), date(year, 12, 31)) if year <= LAST_YEAR else None
        case Frequency.MONTHLY:
            years, month = divmod(first.year * _YEAR_MONTHS + first.month - 1 + index, _YEAR_MONTHS)
            return _month(years, month + 1) if years <= LAST_YEAR else None
        case Frequency.WEEKLY:
            start = _week_start(first, rule.week_start) + index * _WEEK_DAYS * _DAY
            return (start, start + 6 * _DAY) if start <= _LAST_DAY - 6 * _DAY else None
        case _:
            day = first + index * _DAY
            return (day, day) if day <= _LAST_DAY else None


def _starts_within(rule: RecurrenceRule, first: datetime, begin: date, end: date, steps: Steps) -> Iterator[datetime]:
    """Yield the starts of one period in ascending order."""
    days = _days(rule, begin, end, steps) if begin < end else _single_day(rule, begin)
    starts = (
        datetime.combine(day, start, first.tzinfo)
        for day in days
        for start in _times(_hours(rule, first, day), first.minute)
    )
    if not rule.by_position:
        yield from starts
        return
    selected = _select_positions(rule, starts)
    # The positions within an incomplete period are unknown.
    yield from () if steps.are_used_up else selected


def _select_positions(rule: RecurrenceRule, starts: Iterator[datetime]) -> list[datetime]:
    """The starts at the positions of BYSETPOS; a period of an hourly rule is an hour and has at most one start."""
    if rule.frequency is Frequency.HOURLY:
        return list(starts) if {1, -1} & set(rule.by_position) else []
    candidates = list(starts)
    indexes = {position - 1 if position > 0 else len(candidates) + position for position in rule.by_position}
    return [start for index, start in enumerate(candidates) if index in indexes]


def _hours(rule: RecurrenceRule, first: datetime, day: date) -> tuple[int, ...]:
    if rule.frequency is not Frequency.HOURLY:
        return rule.by_hour
    elapsed_hours = (day - first.date()).days * 24 - first.hour
    hours = range(-elapsed_hours % rule.interval, 24, rule.interval)
    return tuple(hour for hour in hours if hour in rule.by_hour) if rule.by_hour else tuple(hours)


@lru_cache(maxsize=4096)
def _times(hours: tuple[int, ...], minute: int) -> tuple[time, ...]:
    return tuple(time(hour, minute) for hour in hours)


def _single_day(rule: RecurrenceRule, day: date) -> tuple[date, ...]:
    """The day of a period of one day, which is a step that was counted already, if the rule allows it."""
    if rule.by_month and day.month not in rule.by_month:
        return ()
    month = _month(day.year, day.month)
    if rule.by_month_day and not _days_of_month(rule, day, day, month[1].day):
        return ()
    return (day,) if _allows(rule, day, month) else ()


def _days(rule: RecurrenceRule, begin: date, end: date, steps: Steps) -> Iterator[date]:
    """Yield the days of a longer period that all parts of the rule allow, in ascending order."""
    month = _month(begin.year, begin.month)
    while True:
        if not rule.by_month or month[0].month in rule.by_month:
            for day in _days_of_month(rule, max(begin, month[0]), min(end, month[1]), month[1].day):
                if not steps.take():
                    return
                if _allows(rule, day, month):
                    yield day
        if month[1] >= end:
            return
        next_day = month[1] + _DAY
        month = _month(next_day.year, next_day.month)


def _days_of_month(rule: RecurrenceRule, begin: date, end: date, length: int) -> list[date]:
    """Days of one month within [begin, end] that BYMONTHDAY allows."""
    if not rule.by_month_day:
        return [begin + offset * _DAY for offset in range((end - begin).days + 1)]
    days = {day if day > 0 else length + 1 + day for day in rule.by_month_day}
    return [begin.replace(day=day) for day in sorted(days) if begin.day <= day <= end.day]


def _allows(rule: RecurrenceRule, day: date, month: tuple[date, date]) -> bool:
    if rule.by_year_day and not _is_year_day(rule, day):
        return False
    if rule.by_week and not _is_in_week(rule, day):
        return False
    return not rule.by_day or any(_is_weekday(rule, part, day, month) for part in rule.by_day)


def _is_year_day(rule: RecurrenceRule, day: date) -> bool:
    number, length = _year_day(day), _year_day(date(day.year, 12, 31))
    return number in rule.by_year_day or number - length - 1 in rule.by_year_day


def _is_in_week(rule: RecurrenceRule, day: date) -> bool:
    """Whether BYWEEKNO contains the week; week 1 of a year is the first with at least four days in it."""
    number = _week_number(day, rule.week_start)
    year = _middle_of_week(day, rule.week_start).year
    # 28 December is in the last week of every year.
    return number in rule.by_week or number - _week_number(date(year, 12, 28), rule.week_start) - 1 in rule.by_week


def _is_weekday(rule: RecurrenceRule, part: WeekdayPart, day: date, month: tuple[date, date]) -> bool:
    if day.weekday() != part.weekday:
        return False
    if not part.ordinal:
        return True
    counts_in_year = rule.frequency is Frequency.YEARLY and not rule.by_month
    begin, end = (date(day.year, 1, 1), date(day.year, 12, 31)) if counts_in_year else month
    if part.ordinal > 0:
        return (day - begin).days // _WEEK_DAYS + 1 == part.ordinal
    return (end - day).days // _WEEK_DAYS + 1 == -part.ordinal


def _week_number(day: date, week_start: int) -> int:
    return (_year_day(_middle_of_week(day, week_start)) - 1) // _WEEK_DAYS + 1


def _year_day(day: date) -> int:
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1


def _middle_of_week(day: date, week_start: int) -> date:
    """The fourth day of the week, which lies in the year that the week belongs to."""
    return _week_start(day, week_start) + 3 * _DAY


def _week_start(day: date, week_start: int) -> date:
    return day - (day.weekday() - week_start) % _WEEK_DAYS * _DAY


@lru_cache(maxsize=4096)
def _month(year: int, month: int) -> tuple[date, date]:
    """First and last day of the month."""
    begin = date(year, month, 1)
    return begin, (begin + 31 * _DAY).replace(day=1) - _DAY
