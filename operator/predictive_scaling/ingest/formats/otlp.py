"""OTLP metrics: an ExportMetricsServiceRequest as protobuf or JSON, as the Kafka exporter of the Collector writes it.

Attributes of the resource and of the data point are labels; the point's take precedence. Gauges keep their value. Sums
that only grow are counters, and histograms and summaries give the counters `NAME_count` and `NAME_sum`. What was
recorded with delta temporality is already a difference, and becomes the rate per second of its interval.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    DataPointFlags,
    Metric,
    NumberDataPoint,
)

from predictive_scaling.ingest.formats.reading import SeriesRules, check_size, time_of_nanoseconds, undecodable
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

_MAX_DEPTH = 32
_NO_RECORDED_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_NANOSECONDS = 1e9

Points = Iterator[Measurement | RejectedMessage]


def decode_protobuf(raw: bytes, rules: SeriesRules) -> list[Measurement | RejectedMessage]:
    """Return the measurements of a message, and a rejection for each point that cannot be one."""
    check_size(raw)
    try:
        request = ExportMetricsServiceRequest.FromString(raw)
    except DecodeError as error:
        raise undecodable(raw, "OTLP protobuf", str(error)) from None
    return _decode(raw, request, rules)


def decode_json(raw: bytes, rules: SeriesRules) -> list[Measurement | RejectedMessage]:
    """Return the measurements of a message, and a rejection for each point that cannot be one."""
    check_size(raw)
    request = ExportMetricsServiceRequest()
    try:
        json_format.Parse(raw, request, ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH)
    except RecursionError:
        raise RejectedMessage(Reason.TOO_DEEP, "nested too deeply for OTLP") from None
    except (json_format.ParseError, ValueError, TypeError, AttributeError) as error:
        # The parser reports a value of a wrong type in several ways.
        raise undecodable(raw, "OTLP JSON", str(error)) from None
    return _decode(raw, request, rules)


def _decode(raw: bytes, request: Any, rules: SeriesRules) -> list[Measurement | RejectedMessage]:
    if raw and not request.resource_metrics:
        raise undecodable(raw, "OTLP metrics", "it has no resource_metrics")
    return [
        measurement
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for measurement in _measurements(metric, _texts(resource.resource.attributes), rules)
    ]


def _measurements(metric: Metric, resource: Mapping[str, str], rules: SeriesRules) -> Points:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind) if kind else None
    for point in data.data_points if data else ():
        if point.flags & _NO_RECORDED_VALUE:
            continue
        labels = {**resource, **_texts(point.attributes)}
        try:
            time = time_of_nanoseconds(point.time_unix_nano)
            is_delta = getattr(data, "aggregation_temporality", 0) == AGGREGATION_TEMPORALITY_DELTA
            for suffix, value, counts in _KINDS[kind](data, point):
                rate = value / _interval(metric.name, point) if is_delta else value
                if not math.isnan(rate):
                    name = metric.name + suffix
                    yield rules.measurement(name, rate, time, labels, is_counter=counts and not is_delta)
        except RejectedMessage as rejected:
            yield rejected


def _interval(name: str, point: Any) -> float:
    seconds = (point.time_unix_nano - point.start_time_unix_nano) / _NANOSECONDS
    if not point.start_time_unix_nano or seconds <= 0:
        raise RejectedMessage(
            Reason.INVALID_TIMESTAMP,
            f"{name[:80]} is a delta without an interval: start_time_unix_nano is {point.start_time_unix_nano}, "
            f"time_unix_nano is {point.time_unix_nano}",
        )
    return seconds


Values = Iterator[tuple[str, float, bool]]
"""Suffix of the name, value, and whether it only grows."""


def _gauge(_data: Any, point: NumberDataPoint) -> Values:
    yield "", _number(point), False


def _sum(data: Any, point: NumberDataPoint) -> Values:
    yield "", _number(point), data.is_monotonic


def _histogram(_data: Any, point: Any) -> Values:
    yield "_count", float(point.count), True
    if point.HasField("sum"):  # missing if some of the values are negative
        yield "_sum", point.sum, True


def _summary(_data: Any, point: Any) -> Values:
    yield "_count", float(point.count), True
    yield "_sum", point.sum, True


_KINDS: Mapping[str | None, Callable[[Any, Any], Values]] = {
    "gauge": _gauge,
    "sum": _sum,
    "histogram": _histogram,
    "exponential_histogram": _histogram,
    "summary": _summary,
}


def _number(point: NumberDataPoint) -> float:
    return float(point.as_int) if point.WhichOneof("value") == "as_int" else point.as_double


def _texts(attributes: Any) -> dict[str, str]:
    """Return attributes with plain values as text; lists, maps and bytes distinguish no series of demand."""
    return {attribute.key: text for attribute in attributes if (text := _text(attribute.value)) is not None}


def _text(value: Any) -> str | None:
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return str(getattr(value, kind)) if kind in ("string_value", "int_value", "double_value") else None
