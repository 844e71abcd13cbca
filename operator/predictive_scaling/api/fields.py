"""Types of parameters and responses: times in UTC, finite numbers, durations such as 24h."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from predictive_scaling.resources.event_time import CALENDAR_END, CALENDAR_START, FIRST_YEAR, LAST_YEAR
from predictive_scaling.resources.quantities import format_duration, parse_duration

MAX_NAME_LENGTH = 253
_CONTROL = {*range(0x20), 0x7F}
_NAME_PATTERN = r"^[^\u0000-\u001f\u007f]+$"
_TIME = (
    r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_RFC3339 = re.compile(f"[0-9]{{4}}{_TIME}")
_YEAR = "(19[7-9][0-9]|2[01][0-9]{2})"
"""From FIRST_YEAR to LAST_YEAR."""
_DURATION_PATTERN = r"^(?!$)([0-9]{1,12}d)?([0-9]{1,12}h)?([0-9]{1,12}m)?([0-9]{1,12}s)?([0-9]{1,12}ms)?$"


class ResponseModel(BaseModel):
    """Base of responses; built from rows of storage by field name."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class QueryModel(BaseModel):
    """Base of query parameters. An unknown parameter is an error: a misspelt filter would return wrong results."""

    model_config = ConfigDict(extra="forbid", frozen=True)


MAX_CURSOR = 1024


NextCursor = Annotated[str | None, Field(description="Cursor of the next page; null on the last page.")]


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _rfc3339(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        time = datetime.fromisoformat(value.upper()) if _RFC3339.fullmatch(value) else None
    except ValueError:
        time = None  # a day that its month does not have
    if time is None:
        raise ValueError("write an RFC 3339 time with its offset, such as 2026-11-27T08:00:00Z")
    if not CALENDAR_START <= time < CALENDAR_END:
        raise ValueError(f"the time must be between the years {FIRST_YEAR} and {LAST_YEAR}")
    return time


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name(value: str) -> str:
    if any(ord(character) in _CONTROL for character in value):
        raise ValueError("control characters are not allowed")
    return value


def _duration(value: Any) -> Any:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except OverflowError:
        raise ValueError("is longer than the longest supported duration") from None


def _within(minimum: timedelta, maximum: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not minimum <= value <= maximum:
            raise ValueError(f"must be between {format_duration(minimum)} and {format_duration(maximum)}")
        return value

    return AfterValidator(check)


def _text(value: datetime) -> str:
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds").replace("+00:00", "Z")


Time = Annotated[datetime, AfterValidator(_utc), PlainSerializer(_text, return_type=str)]
"""RFC 3339, UTC, with Z."""

TimeParameter = Annotated[
    datetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_YEAR}{_TIME}$"}),
]
"""A time parameter; times without a zone, and times so far away that arithmetic overflows, are rejected."""

Number = Annotated[float | None, BeforeValidator(_finite)]
"""NaN and infinities become null."""

Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_LENGTH, json_schema_extra={"pattern": _NAME_PATTERN}),
    AfterValidator(_name),
]
"""Name of a service, policy or namespace."""

Window = Annotated[
    timedelta,
    BeforeValidator(_duration),
    _within(timedelta(minutes=1), timedelta(days=400)),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN}),
]
"""Length of a time range before now, such as 24h."""

DEFAULT_WINDOW = timedelta(hours=24)


class NamespaceQuery(QueryModel):
    """Parameters of a list over namespaces."""

    namespace: Annotated[
        Name | None, Field(description="Only this namespace; default: all that the caller may see.")
    ] = None


class PageQuery(NamespaceQuery):
    """Parameters of a paginated list."""

    limit: Annotated[int, Field(ge=1, le=500, description="Maximum number of items.")] = 100
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=MAX_CURSOR, description="`next_cursor` of the previous page.")
    ] = None
