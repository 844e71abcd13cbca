"""Range queries of Prometheus' HTTP API: request forms and responses. Pure; pull sources and backtests send them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

PATH = "/api/v1/query_range"
MAX_POINTS = 10_000
"""Points per series and request; Prometheus refuses range queries with more than 11,000."""
_MAX_EXCERPT = 200


class RangeResponseError(ValueError):
    """A response is not the result of a range query; the message says what it is instead."""


@dataclass(frozen=True, slots=True)
class RangeSeries:
    """A series of a result. points: seconds since the epoch and values, which may be NaN or infinite."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class RangeResult:
    """The series of a result. warnings: with any, the result may be incomplete."""

    series: Sequence[RangeSeries]
    warnings: Sequence[str]


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []  # a series of native histograms has `histograms` instead


class _Data(msgspec.Struct):
    resultType: str  # noqa: N815 (the name in the response)
    result: msgspec.Raw


class _Response(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] | None = None


_RESPONSE = msgspec.json.Decoder(_Response)
_MATRIX = msgspec.json.Decoder(list[_Series])


def range_form(query: str, first: datetime, last: datetime, step: timedelta) -> dict[str, str]:
    """Return the form of a request whose points are `first`, `first` + step, … up to and including `last`."""
    return {
        "query": query,
        "start": f"{first.timestamp():.3f}",
        "end": f"{last.timestamp():.3f}",
        "step": f"{step.total_seconds():g}",
    }


def range_forms(query: str, first: datetime, last: datetime, step: timedelta) -> Iterator[dict[str, str]]:
    """Yield the forms of the requests for a span of any length, each within MAX_POINTS, oldest first."""
    while first <= last:
        end = min(last, first + (MAX_POINTS - 1) * step)
        yield range_form(query, first, end, step)
        first = end + step


def read_range(body: bytes) -> RangeResult:
    """Return the content of a successful response. Raises RangeResponseError."""
    try:
        response = _RESPONSE.decode(body)
        result = _MATRIX.decode(_matrix(response, body))
        series = [RangeSeries(part.metric, [(at, float(text)) for at, text in part.values]) for part in result]
    except RangeResponseError:
        raise
    except msgspec.ValidationError as error:
        raise RangeResponseError(f"did not return the result of a range query: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RangeResponseError(f"did not return JSON, but {excerpt(body)}; check that it is a Prometheus") from None
    except ValueError as error:
        raise RangeResponseError(f"returned a value that is no number: {error}") from None
    return RangeResult(series, response.warnings or [])


def _matrix(response: _Response, body: bytes) -> msgspec.Raw:
    if response.status != "success" or response.data is None:
        raise RangeResponseError(f"refused the query: {response.error or excerpt(body)}")
    if response.data.resultType != "matrix":
        raise RangeResponseError(f"returned a {response.data.resultType}; a range query returns a matrix")
    return response.data.result


def error_text(body: bytes) -> str:
    """Return the error that a response with an error status names, or its beginning."""
    try:
        return _RESPONSE.decode(body).error or excerpt(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return excerpt(body)


def excerpt(body: bytes) -> str:
    """Return the beginning of a response, for messages."""
    text = " ".join(body[:_MAX_EXCERPT].decode(errors="replace").split())
    return "".join(character if character.isprintable() else "\ufffd" for character in text) or "an empty response"
