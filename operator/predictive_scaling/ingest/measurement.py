"""Measurements, independent of the message format, and their validation."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage
from predictive_scaling.storage.samples import Sample, series_of

MAX_LABELS = 64
MAX_NAME = 253
MAX_LABEL_VALUE = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Measurement(NamedTuple):
    """A measurement of a message. time: timezone-aware. is_counter: a total that only grows, and restarts at resets."""

    service_name: str
    metric_name: str
    value: float
    time: datetime
    labels: Mapping[str, str]
    is_counter: bool = False


class Window(NamedTuple):
    """The accepted times, both ends inclusive."""

    earliest: datetime
    latest: datetime

    @classmethod
    def around(cls, now: datetime, max_age: timedelta, max_ahead: timedelta) -> "Window":
        return cls(now - max_age, now + max_ahead)


def accept(measurement: Measurement, window: Window) -> Sample:
    """Validate a measurement and return its sample. Raises RejectedMessage."""
    service, metric, value, time, labels, is_counter = measurement
    _check_name("service_name", service)
    _check_name("metric_name", metric)
    if not math.isfinite(value):
        raise RejectedMessage(Reason.NOT_FINITE, f"value is {value}; it must be finite")
    if value < 0:
        raise RejectedMessage(Reason.NEGATIVE, f"value is {value}; it must not be negative")
    if not window.earliest <= time <= window.latest:
        earliest, latest = window.earliest.isoformat(), window.latest.isoformat()
        raise RejectedMessage(
            Reason.TIMESTAMP_OUT_OF_RANGE, f"timestamp is {time.isoformat()}; allowed: {earliest} to {latest}"
        )
    series = _series(tuple(sorted(labels.items()))) if labels else _NO_LABELS
    return Sample(time.astimezone(UTC), service, metric, series, value + 0.0, labels, is_counter)


_NO_LABELS = series_of({})


def _check_name(field: str, name: str) -> None:
    if not _is_good_name(name):
        allowed = f"1 to {MAX_NAME} characters, without control characters"
        raise RejectedMessage(Reason.INVALID_NAME, f"{field} is {name[:80]!r}; allowed: {allowed}")


@lru_cache(maxsize=65_536)
def _is_good_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and not _CONTROL.search(name)


@lru_cache(maxsize=65_536)
def _series(labels: tuple[tuple[str, str], ...]) -> int:
    if len(labels) > MAX_LABELS:
        raise RejectedMessage(Reason.TOO_MANY_LABELS, f"{len(labels)} labels; allowed: {MAX_LABELS}")
    for name, value in labels:
        _check_name("label name", name)
        if len(value) > MAX_LABEL_VALUE or _CONTROL.search(value):
            allowed = f"{MAX_LABEL_VALUE} characters, without control characters"
            raise RejectedMessage(Reason.INVALID_NAME, f"label {name} is {value[:80]!r}; allowed: {allowed}")
    return series_of(dict(labels))
