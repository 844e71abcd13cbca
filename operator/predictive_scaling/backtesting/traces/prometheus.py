"""Read a trace from a Prometheus server: one query over a span, in parts that the server accepts."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np

from predictive_scaling.backtesting.traces.recorded import Trace, regular_trace
from predictive_scaling.errors import InvalidTraceError, TraceSourceUnavailableError

_MAX_POINTS = 10_000
"""Points per request; Prometheus refuses range queries with more than 11,000 points."""
_TIMEOUT = timedelta(seconds=60)
_MAX_BYTES = 64_000_000
_MAX_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class PrometheusQuery:
    """A query over a span. url: of the server, without /api. query: PromQL that returns one series."""

    url: str
    query: str
    start: datetime
    end: datetime
    step: timedelta


def read_prometheus(source: PrometheusQuery) -> Trace:
    """Read the demand that a query returns.

    Raises InvalidTraceError if it returns no samples or several series, TraceSourceUnavailableError if the server does
    not answer or refuses the query.
    """
    seconds: list[float] = []
    values: list[float] = []
    for document in _responses(source):
        for at, value in _samples(source, document):
            seconds.append(at)
            values.append(value)
    if not seconds:
        raise InvalidTraceError(
            f"{source.query} returned no samples at {source.url} from {source.start:%Y-%m-%dT%H:%MZ} to "
            f"{source.end:%Y-%m-%dT%H:%MZ}"
        )
    numbers = np.array(values)
    is_finite = np.isfinite(numbers)
    if (numbers[is_finite] < 0).any():
        raise InvalidTraceError(f"{source.query} has negative values; demand must not be negative")
    gaps = int((~is_finite).sum())
    notes = (f"{gaps:,} samples are not finite numbers and count as gaps",) if gaps else ()
    return regular_trace(source.query, np.array(seconds)[is_finite], numbers[is_finite], notes)


def _responses(source: PrometheusQuery) -> Iterator[dict[str, Any]]:
    begin = source.start
    while begin < source.end:
        end = min(source.end, begin + (_MAX_POINTS - 1) * source.step)
        parameters = {
            "query": source.query,
            "start": f"{begin.timestamp():.3f}",
            "end": f"{end.timestamp():.3f}",
            "step": f"{source.step.total_seconds():g}",
        }
        yield _request(source.url, urllib.parse.urlencode(parameters))
        begin = end + source.step


def _request(url: str, form: str) -> dict[str, Any]:
    address = url.rstrip("/") + "/api/v1/query_range"
    # The query is sent in the body, because it may be longer than a URL. The command has checked the scheme.
    request = urllib.request.Request(address, data=form.encode(), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT.total_seconds()) as response:  # noqa: S310
            body = response.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise TraceSourceUnavailableError(
            f"{address} answered {error.code}: {_error_text(error.read(_MAX_EXCERPT * 10))}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise TraceSourceUnavailableError(f"{address} does not answer: {reason}") from None
    if len(body) > _MAX_BYTES:
        raise TraceSourceUnavailableError(f"{address} sent more than {_MAX_BYTES // 1_000_000} MB; narrow the query")
    try:
        document = json.loads(body)
    except ValueError:
        raise TraceSourceUnavailableError(
            f"{address} did not return JSON: {body[:_MAX_EXCERPT]!r}; check that it is a Prometheus server"
        ) from None
    if not isinstance(document, dict) or cast(dict[str, Any], document).get("status") != "success":
        raise TraceSourceUnavailableError(f"{address} refused the query: {_error_text(body)}")
    return cast(dict[str, Any], document)


def _samples(source: PrometheusQuery, document: dict[str, Any]) -> list[tuple[float, float]]:
    try:
        kind, result = document["data"]["resultType"], document["data"]["result"]
        if kind != "matrix":
            raise InvalidTraceError(f"{source.query} returns a {kind}; a backtest needs one series over time")
        if len(result) > 1:
            names = ", ".join(json.dumps(series["metric"], sort_keys=True) for series in result[:3])
            raise InvalidTraceError(
                f"{source.query} returns {len(result)} series ({names}, …); aggregate them with sum(…)"
            )
        return [(float(at), _number(text)) for series in result for at, text in series["values"]]
    except (KeyError, TypeError, ValueError) as error:
        raise TraceSourceUnavailableError(
            f"the response of {source.url} is not a range query result: {error}"
        ) from None


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else math.nan


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:_MAX_EXCERPT].decode(errors="replace").strip() or "an empty response"
