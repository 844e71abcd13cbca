"""Recurrence of a BusinessEvent: an iCalendar rule in a time zone."""

import re
from datetime import time, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from predictive_scaling.resources.demand_calendar import Timezone
from predictive_scaling.resources.event_time import Date
from predictive_scaling.resources.matching import Matching
from predictive_scaling.resources.part import Part
from predictive_scaling.resources.quantities import DurationBetween
from predictive_scaling.resources.recurrence_rule import (
    COUNTED_WEEKDAY,
    COUNTED_WEEKDAY_ALLOWED,
    PARTS,
    PartSyntax,
    parse_rule,
)
from predictive_scaling.resources.rules import Rule

_PART = f"({'|'.join(part.name for part in PARTS)})=[A-Z0-9+,-]+"
_FREQUENT = "(^|;)FREQ=(HOURLY|DAILY|WEEKLY)(;|$)"
_TWICE = "|".join(f"(^|;){part.name}=.*;{part.name}=" for part in PARTS)
_HOURS_AND_MINUTES = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
_TIME_ALLOWED = "must be a time of day such as 18:00"

RuleText = Annotated[
    str, Matching(f"^{_PART}(;{_PART})*$", "must be a recurrence rule such as FREQ=WEEKLY;BYDAY=FR", max_length=256)
]


def _time_of_day(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not re.fullmatch(_HOURS_AND_MINUTES, text):
        raise ValueError(_TIME_ALLOWED)
    # Strict validation accepts no text after a custom validator.
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


def _valid_rule(text: str) -> str:
    parse_rule(text)
    return text


def _has(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _allows(part: PartSyntax) -> Rule:
    """The rule that the part has an allowed value, or is absent; FREQ is required."""
    present = f"(^|;){part.name}="
    cel, holds = f"self.rrule.matches('{part.pattern}')", f"{part.pattern}"
    if part.name == "FREQ":
        present = "^"
    else:
        cel = f"!self.rrule.matches('{present}') || {cel}"
    return Rule(
        cel=cel,
        holds=lambda recurrence: not _has(present, recurrence.rrule) or _has(holds, recurrence.rrule),
        message=f"{part.name} {part.allowed}",
        field="rrule",
    )


class Recurrence(Part):
    """A recurrence rule, and the local time of day at which each occurrence starts."""

    rrule: Annotated[RuleText, AfterValidator(_valid_rule)]
    """iCalendar recurrence rule such as FREQ=WEEKLY;BYDAY=FR. FREQ is HOURLY or slower; BYMINUTE and BYSECOND are not
    allowed, INTERVAL is at most 999, COUNT is at most 10000, UNTIL is written in UTC. The operator rejects a rule that
    never occurs with Stalled=True."""

    timezone: Timezone
    """Time zone of start and from, from the IANA database, such as Europe/Paris."""

    from_: Annotated[Date | None, Field(alias="from")] = None
    """First date of the rule, such as 2026-01-02. Defaults to the day on which the event was created."""

    start: TimeOfDay
    """Local time of day at which each occurrence starts, such as 18:00."""

    duration: Annotated[timedelta, DurationBetween("1m", "168h")]
    """Duration of each occurrence, such as 2h."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *(_allows(part) for part in PARTS),
        Rule(
            cel=f"!self.rrule.matches('{_TWICE}')",
            holds=lambda recurrence: not _has(_TWICE, recurrence.rrule),
            message="no part may occur twice",
            field="rrule",
        ),
        Rule(
            cel=f"!self.rrule.matches('{_FREQUENT}') || !self.rrule.matches('{COUNTED_WEEKDAY.pattern}')",
            holds=lambda recurrence: (
                not _has(_FREQUENT, recurrence.rrule) or not _has(COUNTED_WEEKDAY.pattern, recurrence.rrule)
            ),
            message=COUNTED_WEEKDAY_ALLOWED,
            field="rrule",
        ),
    )
