"""The body of remote-write requests: which samples it becomes, and why it is rejected."""

import math
import struct
from datetime import UTC, datetime, timedelta

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.ingest.formats.reading import SeriesRules
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import RejectedMessage
from predictive_scaling.ingest.remote_write.message import MAX_MESSAGE_BYTES, WriteRequest, decode
from tests.support.remote_writing import STALE, a_request, a_series, compressed

AT = datetime(2026, 11, 24, 11, 59, 30, 250_000, tzinfo=UTC)
RULES = SeriesRules()
STALE_NAN = struct.unpack("<d", STALE)[0]


def test_series_become_measurements_with_the_service_of_their_label() -> None:
    later = AT + timedelta(seconds=15)
    body = a_request(
        a_series("http_requests_total", (AT, 812), (later, 820), service="checkout", pod="a"),
        a_series("queue", (AT, 3), service_name="worker"),
    )
    assert decode(body, RULES) == [
        Measurement("checkout", "http_requests_total", 812, AT, {"pod": "a"}, True),
        Measurement("checkout", "http_requests_total", 820, later, {"pod": "a"}, True),
        Measurement("worker", "queue", 3, AT, {}, False),
    ]


def test_staleness_markers_and_buckets_are_no_measurements() -> None:
    assert math.isnan(STALE_NAN)
    body = a_request(
        a_series("queue", (AT, STALE_NAN), service="checkout"),
        a_series("latency_bucket", (AT, 4), service="checkout", le="0.5"),
    )
    assert decode(body, RULES) == []


def test_count_and_sum_of_a_native_histogram_are_counters() -> None:
    request = WriteRequest()
    series = request.timeseries.add()
    series.labels.add(name="__name__", value="latency")
    series.labels.add(name="service", value="checkout")
    milliseconds = round(AT.timestamp() * 1000)
    series.histograms.add(count_int=12, sum=3.5, timestamp=milliseconds)
    series.histograms.add(count_float=2.5, sum=1.0, timestamp=milliseconds)
    series.histograms.add(count_int=0, sum=STALE_NAN, timestamp=milliseconds)
    measurements = decode(compressed(request.SerializeToString()), RULES)
    assert [each[1:3] for each in measurements if isinstance(each, Measurement)] == [
        ("latency_count", 12),
        ("latency_sum", 3.5),
        ("latency_count", 2.5),
        ("latency_sum", 1.0),
    ]


def test_fields_that_are_not_read_are_skipped() -> None:
    # Field 3 of WriteRequest is the metadata: a message with a kind and a name.
    message = bytes(cramjam.snappy.decompress_raw(a_request(a_series("queue", (AT, 3), service="worker"))))
    assert len(decode(compressed(message + b"\x1a\x09\x08\x01\x12\x05queue"), RULES)) == 1


def test_a_series_without_a_service_leaves_the_others() -> None:
    body = a_request(a_series("up", (AT, 1), job="x"), a_series("queue", (AT, 3), service="worker"))
    rejected, accepted = decode(body, RULES)
    assert isinstance(rejected, RejectedMessage)
    assert "up names no service" in rejected.detail
    assert isinstance(accepted, Measurement)


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (b"", "undecodable", "snappy"),
        (b"\xff\xff\xff\xff\xff\xff", "undecodable", "snappy"),
        (b"{}", "undecodable", "snappy"),
        (compressed(b"\xff\xff\xff"), "undecodable", "WriteRequest"),
        (compressed(bytes(MAX_MESSAGE_BYTES + 1)), "too_large", f"allowed: {MAX_MESSAGE_BYTES}"),
        # The header promises 4 GiB: refused before the memory is taken.
        (b"\xff\xff\xff\xff\x0f" + bytes(10), "too_large", "4294967295 bytes decompressed"),
    ],
)
def test_an_unreadable_body_is_rejected(body: bytes, reason: str, detail: str) -> None:
    with pytest.raises(RejectedMessage) as refused:
        decode(body, RULES)
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def is_handled(body: bytes) -> bool:
    """Return whether the body becomes measurements or a rejection; any other exception is raised."""
    try:
        decode(body, RULES)
        return True
    except RejectedMessage as refused:
        return bool(refused.detail)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(compressed)))
def test_any_body_is_decoded_or_rejected(body: bytes) -> None:
    assert is_handled(body)


@given(st.data())
def test_a_mutated_request_is_decoded_or_rejected(data: st.DataObject) -> None:
    message = bytearray(cramjam.snappy.decompress_raw(a_request(a_series("queue", (AT, 3), service="worker"))))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    assert is_handled(compressed(bytes(message[: data.draw(st.integers(0, len(message)))])))
