"""Dates and times of manifests, limited to a calendar in which arithmetic cannot overflow.

A ramp, a lead time or a duration shifts a time by days, which overflows near the limits of Python's datetime (the years
1 and 9999). All dates and times in manifests are within the calendar below, so that no sum or difference overflows.
"""

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, WithJsonSchema

FIRST_YEAR, LAST_YEAR = 1970, 2199
CALENDAR_START = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
CALENDAR_END = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
_YEARS_ALLOWED = f"must be between the years {FIRST_YEAR} and {LAST_YEAR}"
_IN_CALENDAR = {
    "rule": f"self.getFullYear() >= {FIRST_YEAR} && self.getFullYear() <= {LAST_YEAR}",
    "message": _YEARS_ALLOWED,
}


def within_calendar(moment: datetime) -> datetime:
    """Return the time, or the nearest end of the calendar if it is outside. moment: timezone-aware."""
    return min(max(moment, CALENDAR_START), CALENDAR_END)


def _moment_in_calendar(moment: datetime) -> datetime:
    if not CALENDAR_START <= moment < CALENDAR_END:
        raise ValueError(_YEARS_ALLOWED)
    return moment


def _date_in_calendar(day: date) -> date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(_YEARS_ALLOWED)
    return day


Moment = Annotated[
    AwareDatetime,
    AfterValidator(_moment_in_calendar),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "maxLength": 40, "x-kubernetes-validations": [_IN_CALENDAR]}
    ),
]
"""An RFC 3339 time with its offset."""

Date = Annotated[
    date,
    AfterValidator(_date_in_calendar),
    WithJsonSchema({"type": "string", "format": "date", "maxLength": 10, "x-kubernetes-validations": [_IN_CALENDAR]}),
]
"""A calendar date such as 2026-12-25."""
