"""Durations and decimals as people write them in manifests and settings: `90s`, `1h30m`, `"0.9"`."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

DURATION_PATTERN = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def parse_duration(text: str) -> timedelta:
    """The duration that `text` writes, such as 90s, 15m, 1h30m, 14d or 500ms.

    Raises ValueError that says what was given and what is allowed.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    match = _DURATION.fullmatch(text.strip()) if len(text) <= 40 else None  # noqa: PLR2004
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration; write one such as 90s, 15m or 1h30m")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def format_duration(duration: timedelta) -> str:
    """The shortest way to write it.

    >>> format_duration(timedelta(seconds=5400)), format_duration(timedelta())
    ('1h30m', '0s')
    """
    rest = round(duration.total_seconds() * 1000)
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _read(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) and not value.startswith("P") else value


Duration = Annotated[timedelta, BeforeValidator(_read), PlainSerializer(format_duration, return_type=str)]
"""A timedelta that is written as in manifests; ISO 8601 is read too."""
