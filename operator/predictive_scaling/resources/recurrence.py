"""When a recurring BusinessEvent comes back: an iCalendar rule in a time zone."""

import difflib
import re
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, ClassVar

from dateutil.rrule import rrulestr
from pydantic import AfterValidator, Field, PlainSerializer, WithJsonSchema

from predictive_scaling.resources.part import Part
from predictive_scaling.resources.quantities import DurationBetween
from predictive_scaling.resources.rules import Rule

_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"
# Without BYSECOND and BYMINUTE, which would make an hourly rule faster than hourly: the minute comes from `start`.
_PART = r"(FREQ|UNTIL|COUNT|INTERVAL|BYDAY|BYMONTHDAY|BYYEARDAY|BYWEEKNO|BYMONTH|BYSETPOS|BYHOUR|WKST)=[A-Z0-9+,-]+"
_RRULE = rf"^{_PART}(;{_PART})*$"
_SLOW = "(^|;)FREQ=(HOURLY|DAILY|WEEKLY|MONTHLY|YEARLY)(;|$)"
_COUNTED = "(^|;)COUNT=([1-9][0-9]{0,3}|10000)(;|$)"
_TIME_OF_DAY = {"type": "string", "maxLength": 5, "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
_DATE = {"type": "string", "format": "date", "maxLength": 10, "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}

Date = Annotated[date, WithJsonSchema(_DATE)]
"""A calendar date such as 2026-12-25."""


def _known_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {close[0]}?" if close else "write one such as Europe/Paris"
        raise ValueError(f"is no time zone of the IANA database; {hint}") from None
    return name


def _whole_minute(moment: time) -> time:
    if moment.second or moment.microsecond or moment.tzinfo:
        raise ValueError("write hours and minutes only, such as 18:00; the zone stands in timezone")
    return moment


def _readable_rule(rule: str) -> str:
    try:
        # UNTIL has a zone where DTSTART has one (RFC 5545), so the rule is tried as it will be used.
        rrulestr(rule, dtstart=datetime(2000, 1, 1, tzinfo=UTC))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"is no recurrence rule ({error}); write one such as FREQ=WEEKLY;BYDAY=FR") from None
    return rule


class Recurrence(Part):
    """A rule, and the local time of day at which each occurrence starts."""

    rrule: Annotated[str, Field(min_length=1, max_length=256, pattern=_RRULE), AfterValidator(_readable_rule)]
    """iCalendar recurrence rule such as FREQ=WEEKLY;BYDAY=FR. FREQ is HOURLY or slower; BYMINUTE and BYSECOND are not
    allowed, COUNT is at most 10000, UNTIL is written in UTC."""

    timezone: Annotated[str, Field(min_length=1, max_length=64, pattern=_ZONE), AfterValidator(_known_zone)]
    """IANA time zone such as Europe/Paris, in which start and from are read, across changes to summer time."""

    from_: Annotated[Date | None, Field(alias="from")] = None
    """Date that the rule counts from, such as 2026-01-02. Default: the day on which the event was created."""

    start: Annotated[
        time, AfterValidator(_whole_minute), PlainSerializer(lambda it: f"{it:%H:%M}"), WithJsonSchema(_TIME_OF_DAY)
    ]
    """Local time of day at which each occurrence starts, such as 18:00."""

    duration: Annotated[timedelta, DurationBetween("1m", "168h")]
    """How long each occurrence lasts, such as 2h."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.rrule.matches('{_SLOW}')",
            holds=lambda recurrence: _matches(_SLOW, recurrence.rrule),
            message="FREQ must be HOURLY, DAILY, WEEKLY, MONTHLY or YEARLY",
            field="rrule",
        ),
        Rule(
            cel=f"!self.rrule.contains('COUNT=') || self.rrule.matches('{_COUNTED}')",
            holds=lambda recurrence: "COUNT=" not in recurrence.rrule or _matches(_COUNTED, recurrence.rrule),
            message="COUNT must be between 1 and 10000",
            field="rrule",
        ),
    )


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None
