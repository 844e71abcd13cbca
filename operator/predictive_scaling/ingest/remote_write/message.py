"""The body of a remote-write request: a snappy-compressed WriteRequest of Prometheus' protobuf messages."""

import math
from collections.abc import Iterator
from typing import Any

import cramjam
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from predictive_scaling.ingest.formats.prometheus import NAME, sample
from predictive_scaling.ingest.formats.reading import SeriesRules, time_of_milliseconds
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Maximum size of a decompressed message; Prometheus sends 2,000 samples at a time by default, about 300 kB."""

_TEXT, _DOUBLE, _INT64, _UINT64, _MESSAGE = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_DOUBLE,
    FieldDescriptorProto.TYPE_INT64,
    FieldDescriptorProto.TYPE_UINT64,
    FieldDescriptorProto.TYPE_MESSAGE,
)
_COUNT = 0
"""The index of the oneof `count`."""
# The fields of prometheus.WriteRequest that are read; protobuf skips the others, such as metadata and exemplars.
_MESSAGES: dict[str, tuple[tuple[str, int, Any, str], ...]] = {
    "WriteRequest": (("timeseries", 1, _MESSAGE, "TimeSeries"),),
    "TimeSeries": (
        ("labels", 1, _MESSAGE, "Label"),
        ("samples", 2, _MESSAGE, "Sample"),
        ("histograms", 4, _MESSAGE, "Histogram"),
    ),
    "Label": (("name", 1, _TEXT, ""), ("value", 2, _TEXT, "")),
    "Sample": (("value", 1, _DOUBLE, ""), ("timestamp", 2, _INT64, "")),
    "Histogram": (
        ("count_int", 1, _UINT64, "count"),
        ("count_float", 2, _DOUBLE, "count"),
        ("sum", 3, _DOUBLE, ""),
        ("timestamp", 15, _INT64, ""),
    ),
}


def _write_request() -> Any:
    file = FileDescriptorProto(name="remote_write.proto", package="prometheus", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


def _add_field(message: DescriptorProto, name: str, number: int, kind: Any, detail: str) -> None:
    """Add a field. detail: the message of a repeated field, or the oneof of a scalar."""
    field = message.field.add(name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind == _MESSAGE:
        field.label = FieldDescriptorProto.LABEL_REPEATED
        field.type_name = f".prometheus.{detail}"
    elif detail:
        if not message.oneof_decl:
            message.oneof_decl.add(name=detail)
        field.oneof_index = _COUNT


WriteRequest = _write_request()


def decode(body: bytes, rules: SeriesRules) -> list[Measurement | RejectedMessage]:
    """Return the measurements of a request, and a rejection for each sample that cannot be one.

    Buckets and NaN, such as staleness markers, are no measurements. Raises RejectedMessage for an unreadable body.
    """
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > MAX_MESSAGE_BYTES:
            raise RejectedMessage(Reason.TOO_LARGE, f"{size} bytes decompressed; allowed: {MAX_MESSAGE_BYTES}")
        request = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
    except cramjam.DecompressionError as error:
        raise RejectedMessage(Reason.UNDECODABLE, f"the body is not snappy's block format: {error}") from None
    except DecodeError as error:
        raise RejectedMessage(Reason.UNDECODABLE, f"the body is no prometheus.WriteRequest: {error}") from None
    return [measurement for series in request.timeseries for measurement in _measurements(series, rules)]


def _measurements(series: Any, rules: SeriesRules) -> Iterator[Measurement | RejectedMessage]:
    labels = {label.name: label.value for label in series.labels}
    for point in series.samples:
        try:
            measurement = sample(labels, point.value, time_of_milliseconds(point.timestamp), rules)
        except RejectedMessage as rejected:
            yield rejected
        else:
            if measurement is not None:
                yield measurement
    for histogram in series.histograms:
        yield from _counts(labels, histogram, rules)


def _counts(labels: dict[str, str], histogram: Any, rules: SeriesRules) -> Iterator[Measurement | RejectedMessage]:
    """Return count and sum of a native histogram; its sum is NaN if it is stale."""
    if math.isnan(histogram.sum):
        return
    others = {name: value for name, value in labels.items() if name != NAME}
    count = getattr(histogram, histogram.WhichOneof("count") or "count_int")
    try:
        time = time_of_milliseconds(histogram.timestamp)
        for suffix, value in (("_count", float(count)), ("_sum", histogram.sum)):
            yield rules.measurement(labels.get(NAME, "") + suffix, value, time, others, is_counter=True)
    except RejectedMessage as rejected:
        yield rejected
