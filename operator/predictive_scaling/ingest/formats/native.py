"""Our own format: `{"service_name", "metric_name", "value", "timestamp", "labels"?}` as JSON.

timestamp: RFC 3339 with a zone, or a number of seconds or milliseconds since 1970, distinguished by magnitude.
"""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from predictive_scaling.ingest.formats.reading import DEFAULT_RULES, SeriesRules
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
"""Valid messages have two levels. The interpreter's own limit differs between Python versions."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# In seconds the year 5138, in milliseconds the year 1973: no sample is from either.
_MILLISECONDS_FROM = 1e11


class _Message(msgspec.Struct):
    service_name: str
    metric_name: str
    value: float
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | int | float
    labels: dict[str, str] = {}


_DECODER = msgspec.json.Decoder(_Message)
# An unterminated string matches to the end of the message, so that it is not tried again from each quote in it.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_MISSING = re.compile(r"missing required field `(\w+)`")


def decode(raw: bytes, rules: SeriesRules = DEFAULT_RULES) -> list[Measurement]:
    """Return the single measurement of a message, which names its service itself. Raises RejectedMessage."""
    del rules
    if len(raw) > MAX_BYTES:
        raise RejectedMessage(Reason.TOO_LARGE, f"{len(raw)} bytes; allowed: {MAX_BYTES}")
    if _is_too_deep(raw):
        raise RejectedMessage(Reason.TOO_DEEP, "nested too deeply; a message is a flat object with labels")
    try:
        message = _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except msgspec.DecodeError as error:
        raise _undecodable(raw, str(error)) from None
    time = message.timestamp if isinstance(message.timestamp, datetime) else _time(message.timestamp)
    return [Measurement(message.service_name, message.metric_name, message.value, time, message.labels)]


def _is_too_deep(raw: bytes) -> bool:
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for byte in _STRING.sub(b"", raw):
        depth += (byte in b"{[") - (byte in b"}]")
        if depth > MAX_DEPTH:
            return True
    return False


def _time(number: float) -> datetime:
    try:
        seconds = number / 1000 if abs(number) >= _MILLISECONDS_FROM else number
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        detail = f"timestamp is {float(number) if number < 10**300 else math.inf:g}, beyond any date"
        raise RejectedMessage(Reason.TIMESTAMP_OUT_OF_RANGE, detail) from None


def _explained(message: str) -> RejectedMessage:
    if missing := _MISSING.search(message):
        return RejectedMessage(Reason.MISSING_FIELD, f"{missing[1]} is missing")
    if "`$.value`" in message:
        reason = Reason.NOT_FINITE if "out of range" in message else Reason.NOT_A_NUMBER
        return RejectedMessage(reason, f"value: {message}")
    if "`$.timestamp`" in message:
        return RejectedMessage(
            Reason.INVALID_TIMESTAMP, f"timestamp: {message}; write RFC 3339 with a zone, or epoch (milli)seconds"
        )
    return RejectedMessage(Reason.WRONG_TYPE, message)


def _undecodable(raw: bytes, message: str) -> RejectedMessage:
    # NaN and Infinity are not JSON, but some producers write them: report the value, not an invalid character.
    try:
        lenient: Any = json.loads(raw)
    except (ValueError, RecursionError):
        lenient = None
    if isinstance(lenient, dict) and isinstance(lenient.get("value"), float) and not math.isfinite(lenient["value"]):
        return RejectedMessage(Reason.NOT_FINITE, f"value is {lenient['value']}; it must be finite")
    return RejectedMessage(Reason.UNDECODABLE, f"not JSON ({message}); begins with the bytes {raw[:64].hex()}")
