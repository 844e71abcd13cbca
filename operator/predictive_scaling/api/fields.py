"""Types of what goes in and out: times in UTC, numbers that are numbers, durations as people write them."""

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from predictive_scaling.resources.event_time import CALENDAR_END, CALENDAR_START, FIRST_YEAR, LAST_YEAR
from predictive_scaling.resources.quantities import format_duration, parse_duration

MAX_NAME_LENGTH = 253
_CONTROL = {*range(0x20), 0x7F}


class ResponseModel(BaseModel):
    """What goes out. Made from rows of storage by their field names."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class QueryModel(BaseModel):
    """QueryModel parameters. An unknown one is refused: a misspelt filter would answer another question."""

    model_config = ConfigDict(extra="forbid", frozen=True)


MAX_CURSOR = 1024


class PageQuery(QueryModel):
    """Of a list that is read in pages."""

    limit: Annotated[int, Field(ge=1, le=500, description="How many at most.")] = 100
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=MAX_CURSOR, description="`next_cursor` of the page before.")
    ] = None


NextCursor = Annotated[str | None, Field(description="Asks for what follows; null at the end.")]


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _rfc3339(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise ValueError("write an RFC 3339 time with its offset, such as 2026-11-27T08:00:00Z")
    if not CALENDAR_START <= read < CALENDAR_END:
        raise ValueError(f"the time must be between the years {FIRST_YEAR} and {LAST_YEAR}")
    return read


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
        raise ValueError("is longer than any time that this knows") from None


def _within(shortest: timedelta, longest: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not shortest <= value <= longest:
            raise ValueError(f"must be between {format_duration(shortest)} and {format_duration(longest)}")
        return value

    return AfterValidator(check)


def _text(value: datetime) -> str:
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds").replace("+00:00", "Z")


Time = Annotated[datetime, AfterValidator(_utc), PlainSerializer(_text, return_type=str)]
"""RFC 3339, UTC, with Z."""

TimeGiven = Annotated[datetime, BeforeValidator(_rfc3339), AfterValidator(_utc)]
"""A time as a parameter; one without a zone is refused, and one at whose distance from now arithmetic overflows."""

Number = Annotated[float | None, BeforeValidator(_finite)]
"""Not a number reads as null."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(_name)]
"""Of a service."""

Window = Annotated[
    timedelta,
    BeforeValidator(_duration),
    _within(timedelta(minutes=1), timedelta(days=400)),
    PlainSerializer(format_duration, return_type=str),
    Field(json_schema_extra={"type": "string", "format": None, "example": "24h"}),
]
"""A span before now, such as 24h."""
