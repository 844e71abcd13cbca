"""Walk through the periods of a recurrence rule, every step counted (semantics 20).

python-dateutil has the same rules, but walks inside of itself: while a rule does not come true it looks on, up to the
year 9999 (seconds), and for some values without an end, and no argument of it bounds that. Here each period and each
day of it that is looked at is a step, steps are limited, and the calendar ends: a walk always does. Where dateutil
follows RFC 5545 both give the same starts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from predictive_scaling.resources.event_time import FIRST_YEAR, LAST_YEAR
from predictive_scaling.resources.recurrence_rule import Frequency, RecurrenceRule, WeekdayPart

MAX_STEPS = 20_000
"""Of one walk: 54 years of days. A step gives 24 starts at the most."""
_DAY, _WEEK_DAYS, _YEAR_MONTHS = timedelta(days=1), 7, 12
_FIRST_DAY, _LAST_DAY = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)


@dataclass(slots=True)
class Steps:
    """How many steps a walk has taken, and may take."""

    limit: int = MAX_STEPS
    taken: int = 0

    @property
    def are_used_up(self) -> bool:
        """Whether the walk has ended for this reason."""
        return self.taken >= self.limit

    def take(self) -> bool:
        """Take one more; False where there is none left."""
        if self.are_used_up:
            return False
        self.taken += 1
        return True


def walk(
    rule: RecurrenceRule, first: datetime, since: datetime, steps: Steps, last_day: date = _LAST_DAY
) -> Iterator[datetime]:
    """Starts of a rule that counts from `first`, from `since` to `last_day`, ascending.

    It ends earlier when the steps are used up. first, since: local times of one zone, which the starts have too. first,
    DTSTART, need not be a start itself. Of the period in which `last_day` lies all starts are given.
    """
    rule = _completed(rule, first)
    # What COUNT leaves is known only to who has counted from the first one.
    origin = first if rule.count is not None else max(first, since)
    found = 0
    if rule.until is not None:
        # In whatever zone: UNTIL is written in UTC.
        last_day = min(last_day, rule.until.date() + _DAY)
    for start in _candidates(rule, first, origin, last_day, steps):
        if start < first:
            continue
        found += 1
        if (rule.count is not None and found > rule.count) or (rule.until is not None and start > rule.until):
            return
        if start >= since:
            yield start


def _completed(rule: RecurrenceRule, first: datetime) -> RecurrenceRule:
    """The rule with the parts that DTSTART stands for where they are not written."""
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
    """Starts of all periods from that of `origin` to that of `last_day`."""
    index = _periods_between(rule, first.date(), origin.date())
    if rule.frequency is not Frequency.HOURLY:
        # The first one at or after the period of origin that INTERVAL does not pass over; one before it cannot hurt.
        index = index // rule.interval * rule.interval
    while (days := _period(rule, first.date(), index)) is not None:
        if days[0] > last_day or not steps.take():
            return
        yield from _starts_within(rule, first, *days, steps)
        index += 1 if rule.frequency is Frequency.HOURLY else rule.interval


def _periods_between(rule: RecurrenceRule, first: date, day: date) -> int:
    """How many periods `day` lies after `first`; an hourly rule is walked through by days."""
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
    """First and last day of the period `index` periods after that of `first`; None where the calendar has ended."""
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
    """Starts of one period, ascending."""
    starts = (
        datetime.combine(day, time(hour, first.minute), first.tzinfo)
        for day in _days(rule, begin, end, steps)
        for hour in _hours(rule, first, day)
    )
    if not rule.by_position:
        yield from starts
        return
    picked = _picked(rule, starts)
    # Of a period that was not walked to its end, nobody knows the positions.
    yield from () if steps.are_used_up else picked


def _picked(rule: RecurrenceRule, starts: Iterator[datetime]) -> list[datetime]:
    """Those at the positions of BYSETPOS; a period of an hourly rule is an hour and has one start at the most."""
    if rule.frequency is Frequency.HOURLY:
        return list(starts) if {1, -1} & set(rule.by_position) else []
    every = list(starts)
    positions = {at - 1 if at > 0 else len(every) + at for at in rule.by_position}
    return [start for position, start in enumerate(every) if position in positions]


def _hours(rule: RecurrenceRule, first: datetime, day: date) -> tuple[int, ...]:
    if rule.frequency is not Frequency.HOURLY:
        return rule.by_hour
    since = (day - first.date()).days * 24 - first.hour
    begin = -since % rule.interval
    return tuple(hour for hour in range(begin, 24, rule.interval) if not rule.by_hour or hour in rule.by_hour)


def _days(rule: RecurrenceRule, begin: date, end: date, steps: Steps) -> Iterator[date]:
    """Days of a period that all parts of the rule allow, ascending."""
    month = _month(begin.year, begin.month)
    while True:
        if not rule.by_month or month[0].month in rule.by_month:
            for day in _days_of_month(rule, max(begin, month[0]), min(end, month[1]), month[1].day):
                # The one day of a period is counted with it.
                if begin < end and not steps.take():
                    return
                if _allows(rule, day, month):
                    yield day
        if month[1] >= end:
            return
        after = month[1] + _DAY
        month = _month(after.year, after.month)


def _days_of_month(rule: RecurrenceRule, begin: date, end: date, length: int) -> list[date]:
    """Days of one month within [begin, end] that BYMONTHDAY allows."""
    if not rule.by_month_day:
        return [begin + passed * _DAY for passed in range((end - begin).days + 1)]
    days = {day if day > 0 else length + 1 + day for day in rule.by_month_day}
    return [begin.replace(day=day) for day in sorted(days) if begin.day <= day <= end.day]


def _allows(rule: RecurrenceRule, day: date, month: tuple[date, date]) -> bool:
    if rule.by_year_day and not _is_year_day(rule, day):
        return False
    if rule.by_week and not _is_of_week(rule, day):
        return False
    return not rule.by_day or any(_is_weekday(rule, part, day, month) for part in rule.by_day)


def _is_year_day(rule: RecurrenceRule, day: date) -> bool:
    number, length = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
    return number in rule.by_year_day or number - length - 1 in rule.by_year_day


def _is_of_week(rule: RecurrenceRule, day: date) -> bool:
    """Whether BYWEEKNO names the week: the year's first has at least four of its days."""
    number = _week_number(day, rule.week_start)
    year = _middle_of_week(day, rule.week_start).year
    # 28 December is in the last week of every year.
    return number in rule.by_week or number - _week_number(date(year, 12, 28), rule.week_start) - 1 in rule.by_week


def _is_weekday(rule: RecurrenceRule, part: WeekdayPart, day: date, month: tuple[date, date]) -> bool:
    if day.weekday() != part.weekday:
        return False
    if not part.ordinal:
        return True
    whole_year = rule.frequency is Frequency.YEARLY and not rule.by_month
    begin, end = (date(day.year, 1, 1), date(day.year, 12, 31)) if whole_year else month
    if part.ordinal > 0:
        return (day - begin).days // _WEEK_DAYS + 1 == part.ordinal
    return (end - day).days // _WEEK_DAYS + 1 == -part.ordinal


def _week_number(day: date, week_start: int) -> int:
    return (_middle_of_week(day, week_start).timetuple().tm_yday - 1) // _WEEK_DAYS + 1


def _middle_of_week(day: date, week_start: int) -> date:
    """The week's fourth day: it lies in the year that the week belongs to."""
    return _week_start(day, week_start) + 3 * _DAY


def _week_start(day: date, week_start: int) -> date:
    return day - (day.weekday() - week_start) % _WEEK_DAYS * _DAY


@lru_cache(maxsize=4096)
def _month(year: int, month: int) -> tuple[date, date]:
    """First and last day."""
    begin = date(year, month, 1)
    return begin, (begin + 31 * _DAY).replace(day=1) - _DAY
