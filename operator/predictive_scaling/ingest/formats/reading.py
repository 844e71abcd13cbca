"""What all formats of other programs share: the service of a series, its kind, and times by magnitude."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

MAX_BYTES = 4 * 1024 * 1024
"""Maximum size of a message that may hold many series; brokers accept one megabyte by default."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# In seconds the year 5138, in the next unit the year 1973: no sample is from either.
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (math.inf, 1_000_000_000))


@dataclass(frozen=True, slots=True)
class SeriesRules:
    """How series of other programs become ours.

    service_labels: labels (tags, attributes) that may name the service; the first with a value does.
    counter_metrics: patterns of the names of totals, for formats that do not state the kind of a metric.
    """

    service_labels: tuple[str, ...] = ("service.name", "service_name", "service")
    counter_metrics: tuple[str, ...] = ("*_total", "*_count", "*_sum")

    def is_counter(self, metric: str) -> bool:
        """Return whether the name is that of a total."""
        return any(fnmatchcase(metric, pattern) for pattern in self.counter_metrics)

    def measurement(
        self, metric: str, value: float, time: datetime, labels: Mapping[str, str], *, is_counter: bool | None = None
    ) -> Measurement:
        """Return the measurement; the label that names the service is no label of the series.

        is_counter: None if the format does not state it. Raises RejectedMessage without a service.
        """
        for label in self.service_labels:
            if service := labels.get(label):
                others = {name: text for name, text in labels.items() if name != label}
                counts = self.is_counter(metric) if is_counter is None else is_counter
                return Measurement(service, metric, value, time, others, counts)
        raise RejectedMessage(
            Reason.MISSING_FIELD,
            f"{metric[:80]} names no service: it has none of the labels {', '.join(self.service_labels)}; add one, or "
            "set PREDICTIVE_SCALING_STREAM_SERVICE_LABELS",
        )


DEFAULT_RULES = SeriesRules()


def time_of(number: float) -> datetime:
    """Return the time of a number of seconds, milliseconds, microseconds or nanoseconds since 1970, by magnitude."""
    try:
        parts = next(parts for limit, parts in _UNITS if abs(number) < limit)
        return _EPOCH + timedelta(seconds=number / parts)
    except (StopIteration, OverflowError, ValueError):
        detail = f"timestamp is {float(number) if abs(number) < 10**300 else math.inf:g}, beyond any date"
        raise RejectedMessage(Reason.TIMESTAMP_OUT_OF_RANGE, detail) from None


def time_of_nanoseconds(number: int) -> datetime:
    """Return the time of a number of nanoseconds since 1970, in full microseconds."""
    try:
        return _EPOCH + timedelta(microseconds=number // 1_000)
    except OverflowError:
        raise RejectedMessage(Reason.TIMESTAMP_OUT_OF_RANGE, f"time is {number:g} ns, beyond any date") from None


def time_of_milliseconds(number: int) -> datetime:
    """Return the time of a number of milliseconds since 1970."""
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        raise RejectedMessage(Reason.TIMESTAMP_OUT_OF_RANGE, f"timestamp is {number} ms, beyond any date") from None


def check_size(raw: bytes) -> None:
    """Raise RejectedMessage for a message above MAX_BYTES."""
    if len(raw) > MAX_BYTES:
        raise RejectedMessage(Reason.TOO_LARGE, f"{len(raw)} bytes; allowed: {MAX_BYTES}")


def undecodable(raw: bytes, expected: str, message: str) -> RejectedMessage:
    """Return the rejection of bytes that are no message of the format."""
    return RejectedMessage(
        Reason.UNDECODABLE, f"not {expected} ({message[:200]}); begins with the bytes {raw[:64].hex()}"
    )
