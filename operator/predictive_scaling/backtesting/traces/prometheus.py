"""A trace from a Prometheus server: one query over a span, in parts that the server accepts."""

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
"""A range query may have 11,000 points."""
_TIMEOUT = timedelta(seconds=60)
_MAX_BYTES = 64_000_000
_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class PrometheusQuery:
    """url: of the server, without /api. query: PromQL that gives one series."""

    url: str
    query: str
    start: datetime
    end: datetime
    step: timedelta


def read_prometheus(source: PrometheusQuery) -> Trace:
    """The demand that a query gives. Raises InvalidTraceError where it gives none, or several series;
    TraceSourceUnavailableError where the server does not answer, or refuses the question.
    """
    seconds: list[float] = []
    values: list[float] = []
    for document in _responses(source):
        for at, value in _samples(source, document):
            seconds.append(at)
            values.append(value)
    if not seconds:
        raise InvalidTraceError(
            f"{source.query} gave no sample from {source.start:%Y-%m-%dT%H:%MZ} to {source.end:%Y-%m-%dT%H:%MZ} at "
            f"{source.url}"
        )
    numbers = np.array(values)
    known = np.isfinite(numbers)
    if (numbers[known] < 0).any():
        raise InvalidTraceError(f"{source.query} is negative at times; demand is not")
    odd = int((~known).sum())
    notes = (f"{odd:,} samples are no finite numbers and count as gaps",) if odd else ()
    return regular_trace(source.query, np.array(seconds)[known], numbers[known], notes)


def _responses(asked: PrometheusQuery) -> Iterator[dict[str, Any]]:
    begin = asked.start
    while begin < asked.end:
        end = min(asked.end, begin + (_MAX_POINTS - 1) * asked.step)
        parameters = {
            "query": asked.query,
            "start": f"{begin.timestamp():.3f}",
            "end": f"{end.timestamp():.3f}",
            "step": f"{asked.step.total_seconds():g}",
        }
        yield _request(asked.url, urllib.parse.urlencode(parameters))
        begin = end + asked.step


def _request(url: str, form: str) -> dict[str, Any]:
    address = url.rstrip("/") + "/api/v1/query_range"
    # A form in the body: queries may be longer than addresses. The scheme was checked by the command.
    request = urllib.request.Request(address, data=form.encode(), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT.total_seconds()) as response:  # noqa: S310
            body = response.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise TraceSourceUnavailableError(
            f"{address} answered {error.code}: {_error_text(error.read(_EXCERPT * 10))}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise TraceSourceUnavailableError(f"{address} does not answer: {reason}") from None
    if len(body) > _MAX_BYTES:
        raise TraceSourceUnavailableError(f"{address} sent more than {_MAX_BYTES // 1_000_000} MB; narrow the query")
    try:
        document = json.loads(body)
    except ValueError:
        raise TraceSourceUnavailableError(f"{address} sent no JSON: {body[:_EXCERPT]!r}; is it Prometheus?") from None
    if not isinstance(document, dict) or cast(dict[str, Any], document).get("status") != "success":
        raise TraceSourceUnavailableError(f"{address} refused the query: {_error_text(body)}")
    return cast(dict[str, Any], document)


def _samples(asked: PrometheusQuery, document: dict[str, Any]) -> list[tuple[float, float]]:
    try:
        kind, result = document["data"]["resultType"], document["data"]["result"]
        if kind != "matrix":
            raise InvalidTraceError(f"{asked.query} gives a {kind}; a backtest needs one series over time")
        if len(result) > 1:
            names = ", ".join(json.dumps(one["metric"], sort_keys=True) for one in result[:3])
            raise InvalidTraceError(f"{asked.query} gives {len(result)} series ({names}, …); add them up with sum(…)")
        return [(float(at), _number(text)) for one in result for at, text in one["values"]]
    except (KeyError, TypeError, ValueError) as error:
        raise TraceSourceUnavailableError(
            f"{asked.url} sent something else than a range query's answer: {error}"
        ) from None


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else math.nan


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:_EXCERPT].decode(errors="replace").strip() or "nothing"
