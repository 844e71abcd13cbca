"""Durations and decimals as people write them in manifests and settings: `90s`, `1h30m`, `"0.9"`."""

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

AUTO = "Auto"
"""The value in a manifest that the operator determines itself; None in the models."""

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
# CEL's duration() has no unit for days; at most five digits, so that it cannot overflow.
_HMS = r"[0-9]{1,5}h([0-9]{1,5}m)?([0-9]{1,5}s)?|[0-9]{1,5}m([0-9]{1,5}s)?|[0-9]{1,5}s"
HMS_PATTERN = f"^({_HMS})$"
"""The pattern of a duration in a custom resource, for rules that compare two durations."""
_MIN_DIGITS, _PLACES = 12, 6


# Thousands of policies are parsed repeatedly and contain the same few durations.
@lru_cache(maxsize=1024)
def parse_duration(text: str) -> timedelta:
    """Parse a duration such as 90s, 15m, 1h30m, 14d or 500ms.

    Raises ValueError with the text and what is allowed.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    match = _DURATION.fullmatch(text.strip()) if len(text) <= 40 else None
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is not a duration; write it as 90s, 15m or 1h30m")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def format_duration(duration: timedelta) -> str:
    """Return the shortest form of a duration.

    >>> format_duration(timedelta(seconds=5400)), format_duration(timedelta())
    ('1h30m', '0s')
    """
    return _format(duration, (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)))


def _full_seconds(duration: timedelta) -> timedelta:
    return timedelta(seconds=round(duration.total_seconds() * 1000) // 1000)


def format_hms(duration: timedelta) -> str:
    """Return the shortest form in hours, minutes and full seconds, as in the custom resources.

    >>> format_hms(timedelta(days=2, minutes=5))
    '48h5m'
    """
    return _format(duration, (("h", 3_600_000), ("m", 60_000), ("s", 1000)))


def _format(duration: timedelta, units: tuple[tuple[str, int], ...]) -> str:
    rest = round(duration.total_seconds() * 1000)
    parts: list[str] = []
    for unit, size in units:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_decimal(value: float) -> str:
    """Return a decimal as written in manifests: plain, at most six places, no trailing zeros.

    Raises ValueError if it is not finite.

    >>> format_decimal(0.9), format_decimal(1200.0), format_decimal(1e-9)
    ('0.9', '1200', '0')
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite; decimals of a manifest must be finite")
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _read(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) and not value.startswith("P") else value


Duration = Annotated[timedelta, BeforeValidator(_read), PlainSerializer(format_duration, return_type=str)]
"""A timedelta that is written as in settings; ISO 8601 is also accepted."""


@dataclass(frozen=True, slots=True)
class DurationBetween:
    """Annotates a timedelta (or None, where Auto is allowed) that a manifest writes in hours, minutes and seconds."""

    low: str
    high: str
    auto: bool = False
    optional: bool = False
    """It may be absent, and is None then."""

    clamps: bool = False
    """Limit values that our own code records to the bounds, so that no record fails because of its range, and to full
    seconds, as a manifest does: a value equals the value that is read back."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        write = core_schema.plain_serializer_function_ser_schema(self._write)
        return core_schema.no_info_plain_validator_function(self._read, serialization=write)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del schema, handler
        bounds = f"duration(self) >= duration('{self.low}') && duration(self) <= duration('{self.high}')"
        return _text_schema(_HMS, bounds, self._allowed(), auto=self.auto)

    def _allowed(self) -> str:
        auto = ", or Auto" if self.auto else ""
        return f"must be a duration such as 15m or 1h30m, between {self.low} and {self.high}{auto}"

    def _read(self, value: Any) -> timedelta | None:
        if (self.auto and value in (None, AUTO)) or (self.optional and value is None):
            return None
        if isinstance(value, str) and re.fullmatch(_HMS, value):
            value = parse_duration(value)
        elif self.clamps and isinstance(value, timedelta):
            value = min(max(_full_seconds(value), parse_duration(self.low)), parse_duration(self.high))
        if not isinstance(value, timedelta) or not parse_duration(self.low) <= value <= parse_duration(self.high):
            raise ValueError(self._allowed())
        return value

    def _write(self, value: timedelta | None) -> str | None:
        if value is None:
            return AUTO if self.auto else None
        return format_hms(value)


@dataclass(frozen=True, slots=True)
class DecimalBetween:
    """Annotates a float (or None, where Auto is allowed) that a manifest writes as a string."""

    low: str
    high: str
    auto: bool = False
    positive: bool = False
    """Messages say "positive" if the only purpose of the lower bound is to exclude zero."""

    optional: bool = False
    """It may be absent, and is None then."""

    clamps: bool = False
    """Limit values that our own code records to the bounds, so that no record fails because of its range, and round
    them as a manifest does: a value equals the value that is read back. NaN becomes None in an optional field."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        write = core_schema.plain_serializer_function_ser_schema(self._write)
        return core_schema.with_info_plain_validator_function(self._read, serialization=write)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del schema, handler
        low, high = float(self.low), float(self.high)
        bounds = f"double(self) >= {low:f} && double(self) <= {high:f}"
        length = max(20, self._digits + 1 + _PLACES)
        return _text_schema(self._pattern, bounds, self._allowed(), auto=self.auto, length=length)

    @property
    def _digits(self) -> int:
        """The number of digits before the decimal point of the highest value."""
        return max(_MIN_DIGITS, len(self.high.partition(".")[0]))

    @property
    def _pattern(self) -> str:
        sign = "-?" if self.low.startswith("-") else ""
        return rf"{sign}[0-9]{{1,{self._digits}}}(\.[0-9]{{1,{_PLACES}}})?"

    def _allowed(self) -> str:
        bounds = f'up to "{self.high}"' if self.positive else f'between "{self.low}" and "{self.high}"'
        kind = "a positive decimal" if self.positive else "a decimal"
        return f"must be a string with {kind} {bounds}" + (", or Auto" if self.auto else "")

    def _read(self, value: Any, info: ValidationInfo) -> float | None:
        if (self.auto and value in (None, AUTO)) or (self.optional and value is None):
            return None
        in_text = isinstance(value, str) and re.fullmatch(self._pattern, value)
        # A manifest writes a string, as the schema says; our own code may pass a number.
        in_code = info.mode == "python" and isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.clamps and in_code:
            number = float(value)
            if self.optional and math.isnan(number):
                return None
            value = round(min(max(number, float(self.low)), float(self.high)), _PLACES)
        if not (in_text or in_code) or not float(self.low) <= float(value) <= float(self.high):
            raise ValueError(self._allowed())
        return float(value)

    def _write(self, value: float | None) -> str | None:
        if value is None:
            return AUTO if self.auto else None
        return format_decimal(value)


def _text_schema(pattern: str, bounds: str, allowed: str, *, auto: bool, length: int = 20) -> JsonSchemaValue:
    anchored = f"^({pattern})$"
    rule = f"self.matches(r'{anchored}') && {bounds}"
    return {
        "type": "string",
        "maxLength": length,
        "pattern": f"^({AUTO}|{pattern})$" if auto else anchored,
        "x-kubernetes-validations": [{"rule": f"self == '{AUTO}' || ({rule})" if auto else rule, "message": allowed}],
    }
