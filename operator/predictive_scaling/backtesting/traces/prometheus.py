"""Read a trace from a Prometheus server: one query over a span, in parts that the server accepts."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.backtesting.traces.recorded import Trace, regular_trace
from predictive_scaling.errors import InvalidTraceError, TraceSourceUnavailableError
from predictive_scaling.prometheus_ranges import (
    PATH,
    RangeResponseError,
    RangeResult,
    error_text,
    range_forms,
    read_range,
)

_TIMEOUT = timedelta(seconds=60)
_MAX_BYTES = 64_000_000
_MAX_ERROR_BYTES = 2000


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
    for result in _results(source):
        for at, value in _samples(source, result):
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


def _results(source: PrometheusQuery) -> Iterator[RangeResult]:
    for form in range_forms(source.query, source.start, source.end, source.step):
        yield _request(source.url, form)


def _request(url: str, form: Mapping[str, str]) -> RangeResult:
    address = url.rstrip("/") + PATH
    # The query is sent in the body, because it may be longer than a URL. The command has checked the scheme.
    request = urllib.request.Request(address, data=urllib.parse.urlencode(form).encode(), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT.total_seconds()) as response:  # noqa: S310
            body = response.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise TraceSourceUnavailableError(
            f"{address} answered {error.code}: {error_text(error.read(_MAX_ERROR_BYTES))}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise TraceSourceUnavailableError(f"{address} does not answer: {reason}") from None
    if len(body) > _MAX_BYTES:
        raise TraceSourceUnavailableError(f"{address} sent more than {_MAX_BYTES // 1_000_000} MB; narrow the query")
    try:
        return read_range(body)
    except RangeResponseError as error:
        raise TraceSourceUnavailableError(f"{address} {error}") from None


def _samples(source: PrometheusQuery, result: RangeResult) -> list[tuple[float, float]]:
    if len(result.series) > 1:
        names = ", ".join(json.dumps(series.labels, sort_keys=True) for series in result.series[:3])
        raise InvalidTraceError(
            f"{source.query} returns {len(result.series)} series ({names}, …); aggregate them with sum(…)"
        )
    return [
        (at, value if math.isfinite(value) else math.nan) for series in result.series for at, value in series.points
    ]
