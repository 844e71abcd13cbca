"""When a recurring BusinessEvent comes back: an iCalendar rule in a time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, ClassVar

from dateutil.rrule import rrulestr
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from predictive_scaling.resources.matching import Matching
from predictive_scaling.resources.part import Part
from predictive_scaling.resources.place import Timezone
from predictive_scaling.resources.quantities import DurationBetween
from predictive_scaling.resources.rules import Rule

# Without BYSECOND and BYMINUTE, which would make an hourly rule faster than hourly: the minute comes from `start`.
_PART = r"(FREQ|UNTIL|COUNT|INTERVAL|BYDAY|BYMONTHDAY|BYYEARDAY|BYWEEKNO|BYMONTH|BYSETPOS|BYHOUR|WKST)=[A-Z0-9+,-]+"
_SLOW = "(^|;)FREQ=(HOURLY|DAILY|WEEKLY|MONTHLY|YEARLY)(;|$)"
_COUNTED = "(^|;)COUNT=([1-9][0-9]{0,3}|10000)(;|$)"
_HOURS_AND_MINUTES = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
_TIME_ALLOWED = "must be a time of day such as 18:00"
_DATE = {"type": "string", "format": "date", "maxLength": 10}

Date = Annotated[date, WithJsonSchema(_DATE)]
"""A calendar date such as 2026-12-25."""

RuleText = Annotated[
    str, Matching(rf"^{_PART}(;{_PART})*$", "must be a recurrence rule such as FREQ=WEEKLY;BYDAY=FR", longest=256)
]


def _time_of_day(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not re.fullmatch(_HOURS_AND_MINUTES, text):
        raise ValueError(_TIME_ALLOWED)
    # Strict validation takes no text after a validator of our own has seen it.
    return time.fromisoformat(text)


TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda moment: f"{moment:%H:%M}", return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 5,
            "pattern": _HOURS_AND_MINUTES,
            "x-kubernetes-validations": [
                {"rule": f"self.matches(r'{_HOURS_AND_MINUTES}')", "message": _TIME_ALLOWED},
            ],
        }
    ),
]
"""A local time such as 18:00."""


def _readable_rule(rule: str) -> str:
    try:
        # UNTIL has a zone where DTSTART has one (RFC 5545), so the rule is tried as it will be used.
        rrulestr(rule, dtstart=datetime(2000, 1, 1, tzinfo=UTC))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"is no recurrence rule ({error}); write one such as FREQ=WEEKLY;BYDAY=FR") from None
    return rule


class Recurrence(Part):
    """A rule, and the local time of day at which each occurrence starts."""

    rrule: Annotated[RuleText, AfterValidator(_readable_rule)]
    """iCalendar recurrence rule such as FREQ=WEEKLY;BYDAY=FR. FREQ is HOURLY or slower; BYMINUTE and BYSECOND are not
    allowed, COUNT is at most 10000, UNTIL is written in UTC."""

    timezone: Timezone
    """IANA time zone such as Europe/Paris, in which start and from are read, across changes to summer time."""

    from_: Annotated[Date | None, Field(alias="from")] = None
    """Date that the rule counts from, such as 2026-01-02. Default: the day on which the event was created."""

    start: TimeOfDay
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
