"""The RRULE of RFC 5545 as far as events use it: the supported parts and their allowed values."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar

from predictive_scaling.resources.event_time import CALENDAR_END, CALENDAR_START, FIRST_YEAR, LAST_YEAR

Item = TypeVar("Item")

MAX_INTERVAL, MAX_COUNT = 999, 10_000
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class Frequency(StrEnum):
    """Length of a period of the rule."""

    HOURLY = "HOURLY"
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


class PartSyntax(NamedTuple):
    """A part of the rule. value: regular expression of its values, valid in Go, Python and CEL. allowed: in words."""

    name: str
    value: str
    allowed: str

    @property
    def pattern(self) -> str:
        """Matches a rule in which this part has an allowed value."""
        return f"(^|;){self.name}=({self.value})(;|$)"


_DAY = "(MO|TU|WE|TH|FR|SA|SU)"
_ORDINAL_DAY = f"([+-]?([1-9]|[1-4][0-9]|5[0-3]))?{_DAY}"
_HOUR = "([0-9]|[01][0-9]|2[0-3])"
_MONTH = "(0?[1-9]|1[0-2])"
_MONTH_DAY = "[+-]?(0?[1-9]|[12][0-9]|3[01])"
_WEEK = "[+-]?(0?[1-9]|[1-4][0-9]|5[0-3])"
_YEAR_DAY = "[+-]?(0{0,2}[1-9]|0?[1-9][0-9]|[12][0-9]{2}|3[0-5][0-9]|36[0-6])"
_UNTIL = "(19[7-9][0-9]|2[01][0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z"


def _list_of(item: str) -> str:
    return f"{item}(,{item})*"


PARTS = (
    PartSyntax("FREQ", "|".join(Frequency), "must be HOURLY, DAILY, WEEKLY, MONTHLY or YEARLY"),
    PartSyntax("INTERVAL", "[1-9][0-9]{0,2}", f"must be between 1 and {MAX_INTERVAL}"),
    PartSyntax("COUNT", "[1-9][0-9]{0,3}|10000", f"must be between 1 and {MAX_COUNT}"),
    PartSyntax("UNTIL", _UNTIL, f"must be a time in UTC between {FIRST_YEAR} and {LAST_YEAR} such as 20271231T235959Z"),
    PartSyntax("BYDAY", _list_of(_ORDINAL_DAY), "must list weekdays such as MO,FR or -1FR, with ordinals up to 53"),
    PartSyntax("BYMONTHDAY", _list_of(_MONTH_DAY), "must list days between 1 and 31 or between -31 and -1"),
    PartSyntax("BYYEARDAY", _list_of(_YEAR_DAY), "must list days between 1 and 366 or between -366 and -1"),
    PartSyntax("BYWEEKNO", _list_of(_WEEK), "must list weeks between 1 and 53 or between -53 and -1"),
    PartSyntax("BYMONTH", _list_of(_MONTH), "must list months between 1 and 12"),
    PartSyntax("BYHOUR", _list_of(_HOUR), "must list hours between 0 and 23"),
    PartSyntax("BYSETPOS", _list_of(_YEAR_DAY), "must list positions between 1 and 366 or between -366 and -1"),
    PartSyntax("WKST", _DAY, "must be a weekday such as MO"),
)
"""Without BYSECOND and BYMINUTE, which would make an hourly rule more frequent than hourly: `start` sets the minute."""


COUNTED_WEEKDAY = re.compile(r"(^|;)BYDAY=[A-Z,]*[+-]?[0-9]")
COUNTED_WEEKDAY_ALLOWED = "BYDAY may have ordinals, such as 2MO, only with FREQ=MONTHLY or FREQ=YEARLY"


class WeekdayPart(NamedTuple):
    """A weekday of BYDAY, Monday 0. ordinal: the nth of the month or year, negative from its end, 0 for every one."""

    weekday: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class RecurrenceRule:
    """A parsed rule. An empty tuple means that the part is absent."""

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    week_start: int = 0
    """Weekday on which a week begins, Monday 0."""
    by_day: tuple[WeekdayPart, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_week: tuple[int, ...] = ()
    by_month: tuple[int, ...] = ()
    by_hour: tuple[int, ...] = ()
    by_position: tuple[int, ...] = ()


@lru_cache(maxsize=4096)
def parse_rule(text: str) -> RecurrenceRule:
    """Parse a rule such as FREQ=WEEKLY;BYDAY=FR.

    Raises ValueError with the invalid part and what is allowed.
    """
    parts = _parts_of(text)
    rule = RecurrenceRule(
        frequency=Frequency(parts["FREQ"]),
        interval=int(parts.get("INTERVAL", "1")),
        count=int(parts["COUNT"]) if "COUNT" in parts else None,
        until=_until(parts["UNTIL"]) if "UNTIL" in parts else None,
        week_start=WEEKDAYS.index(parts.get("WKST", "MO")),
        by_day=_listed(parts, "BYDAY", _weekday),
        by_month_day=_listed(parts, "BYMONTHDAY", int),
        by_year_day=_listed(parts, "BYYEARDAY", int),
        by_week=_listed(parts, "BYWEEKNO", int),
        by_month=_listed(parts, "BYMONTH", int),
        by_hour=_listed(parts, "BYHOUR", int),
        by_position=_listed(parts, "BYSETPOS", int),
    )
    if COUNTED_WEEKDAY.search(text) and rule.frequency not in (Frequency.MONTHLY, Frequency.YEARLY):
        raise ValueError(COUNTED_WEEKDAY_ALLOWED)
    return rule


def _parts_of(text: str) -> dict[str, str]:
    syntax = {part.name: part for part in PARTS}
    parts: dict[str, str] = {}
    for name, _, value in (part.partition("=") for part in text.split(";")):
        if name not in syntax:
            raise ValueError(f"the part {name} is unknown; the parts are {', '.join(syntax)}")
        if name in parts:
            raise ValueError(f"the part {name} must not occur twice")
        if not re.fullmatch(syntax[name].value, value):
            raise ValueError(f"{name} {syntax[name].allowed}")
        parts[name] = value
    if "FREQ" not in parts:
        raise ValueError(f"FREQ {syntax['FREQ'].allowed}")
    return parts


def _until(text: str) -> datetime:
    try:
        until = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"UNTIL {text} is not a date of the calendar") from None
    return min(max(until, CALENDAR_START), CALENDAR_END)


def _weekday(text: str) -> WeekdayPart:
    return WeekdayPart(WEEKDAYS.index(text[-2:]), int(text[:-2] or "0"))


def _listed(parts: dict[str, str], name: str, read: Callable[[str], Item]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(read(item) for item in parts[name].split(","))) if name in parts else ()
