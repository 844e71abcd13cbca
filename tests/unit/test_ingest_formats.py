"""What a message must be, and what is said of one that is not."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.batch import Message, read
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.source import Bounds, consumer_options
from predictive_scaling.ingest.start import Start, where_to_start
from predictive_scaling.storage.dead_letters import DeadLetter
from predictive_scaling.storage.ingest_offsets import IngestOffset
from predictive_scaling.storage.samples import Sample, series_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, timedelta(days=400), timedelta(minutes=5))
GOOD: dict[str, Any] = {
    "service_name": "checkout",
    "metric_name": "requests_per_second",
    "value": 12.5,
    "timestamp": "2026-11-24T11:59:30Z",
    "labels": {"pod": "a"},
}


def understood(value: bytes | dict[str, Any], format_name: str | None = None) -> Sample | DeadLetter:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    found = read([Message("metrics.raw", 0, 7, raw, format_name)], WINDOW, NOW)
    return found.samples[0][1][0] if found.samples else found.dead_letters[0]


def good(**differences: Any) -> dict[str, Any]:
    return GOOD | differences


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


def test_a_message_becomes_a_sample() -> None:
    at = datetime(2026, 11, 24, 11, 59, 30, tzinfo=UTC)
    labels = {"pod": "a"}
    assert understood(GOOD) == Sample(at, "checkout", "requests_per_second", series_of(labels), 12.5, labels)


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-11-24T11:59:30Z",
        "2026-11-24T12:59:30+01:00",
        "2026-11-24 11:59:30.000000000Z",
        1795521570,
        1795521570.0,
        1795521570000,
        1795521570000.0,
    ],
)
def test_a_time_may_be_written_in_many_ways(timestamp: object) -> None:
    sample = understood(good(timestamp=timestamp))
    assert isinstance(sample, Sample)
    assert sample.time == datetime(2026, 11, 24, 11, 59, 30, tzinfo=UTC)
    assert sample.time.tzinfo is UTC


@pytest.mark.parametrize("difference", [{"labels": {}}, {"unknown": [1, {"x": None}]}, {"value": 0}, {"value": -0.0}])
def test_labels_are_optional_and_unknown_fields_are_no_fault(difference: dict[str, Any]) -> None:
    assert isinstance(understood(good(**difference)), Sample)
    assert isinstance(understood(without("labels")), Sample)


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"", "undecodable", "not JSON"),
        (b"\x1f\x8b\x08\x00gzip", "undecodable", "begins with the bytes 1f8b0800677a6970"),
        (b"\xff\xfe{}", "undecodable", "fffe7b7d"),
        (json.dumps(GOOD).encode()[:-5], "undecodable", "truncated"),
        (b'{"service_name": "\\ud800 and more text behind"}', "undecodable", "surrogate"),
        (b"[1, 2]", "wrong_type", "Expected `object`, got `array`"),
        (b'{"extra": ' * 20_000 + b"1" + b"}" * 20_000, "too_large", "allowed: 65536"),
        (b'{"extra": ' * 5_000 + b"1" + b"}" * 5_000, "too_deep", "nested too deeply"),
        (b'{"extra": ' * 65 + b"1" + b"}" * 65, "too_deep", "nested too deeply"),
        (b'{"extra": ' * 64 + b"1" + b"}" * 64, "missing_field", "service_name is missing"),
        (b'{"extra": "' + b"{[" * 100 + b'"}', "missing_field", "service_name is missing"),
        (good(labels={"x": "y" * 10_000_000}), "too_large", "allowed: 65536"),
        (good(labels={f"l{n}": "" for n in range(65)}), "too_many_labels", "65 labels; allowed: 64"),
        (good(labels={"n": 1}), "wrong_type", "labels"),
        (good(labels=None), "wrong_type", "labels"),
        (good(labels={"a\x00": "b"}), "invalid_name", "label name"),
        (good(labels={"a": "b\n"}), "invalid_name", "label a is"),
        (without("service_name"), "missing_field", "service_name is missing"),
        (without("metric_name"), "missing_field", "metric_name is missing"),
        (without("value"), "missing_field", "value is missing"),
        (without("timestamp"), "missing_field", "timestamp is missing"),
        (good(service_name=5), "wrong_type", "service_name"),
        (good(service_name=""), "invalid_name", "service_name is ''"),
        (good(service_name="a\x00b"), "invalid_name", "service_name is 'a\\x00b'"),
        (good(metric_name="m" * 254), "invalid_name", "1 to 253 characters"),
        (good(value="abc"), "not_a_number", "got `str`"),
        (good(value=True), "not_a_number", "got `bool`"),
        (good(value=None), "not_a_number", "got `null`"),
        (good(value=float("nan")), "not_finite", "value is nan"),
        (good(value=float("-inf")), "not_finite", "value is -inf"),
        (json.dumps(GOOD).encode().replace(b"12.5", b"1e999"), "not_finite", "out of range"),
        (good(value=-1), "negative", "value is -1.0"),
        (good(timestamp="2026-11-24T11:59:30"), "invalid_timestamp", "timezone"),
        (good(timestamp="yesterday"), "invalid_timestamp", "RFC 3339"),
        (good(timestamp=True), "invalid_timestamp", "got `bool`"),
        (good(timestamp="2005-01-01T00:00:00Z"), "timestamp_out_of_range", "allowed: 2025-10-20"),
        (good(timestamp="2026-11-24T12:05:01Z"), "timestamp_out_of_range", "to 2026-11-24T12:05:00"),
        (good(timestamp=10**40), "timestamp_out_of_range", "beyond any date"),
        (good(timestamp=10**400), "timestamp_out_of_range", "beyond any date"),
        (good(timestamp=1795521570000000), "timestamp_out_of_range", ""),
    ],
)
def test_what_cannot_be_understood_is_a_dead_letter_with_the_reason(
    value: bytes | dict[str, Any], reason: str, detail: str
) -> None:
    letter = understood(value)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, "metrics.raw", 0, 7)
    assert detail in letter.detail


def test_quotes_in_a_name_are_data() -> None:
    sample = understood(good(service_name="'; drop table metrics_raw; --"))
    assert isinstance(sample, Sample)
    assert sample.service_name == "'; drop table metrics_raw; --"


def test_a_format_that_is_not_known_is_named_in_the_reason() -> None:
    letter = understood(GOOD, "telegraf")
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "unknown_format"
    assert letter.detail == "the header `format` says 'telegraf'; known: native"
    assert isinstance(understood(GOOD, "native"), Sample)


KNOWN = IngestOffset("metrics.raw", 0, 500, "A")


@pytest.mark.parametrize(
    ("known", "bounds", "topic_id", "start"),
    [
        (None, Bounds(10, 900, None), "A", Start(10, None)),
        (None, Bounds(10, 900, 40), "A", Start(40, None)),
        (KNOWN, Bounds(0, 900, None), "A", Start(500, 500)),
        (KNOWN, Bounds(0, 900, 300), "A", Start(500, 500)),
        (KNOWN, Bounds(0, 900, 900), "A", Start(900, 500)),
        (KNOWN, Bounds(0, 900, 300), "", Start(500, 500)),
        (KNOWN, Bounds(700, 900, 300), "A", Start(700, 500, lost=200)),
        (KNOWN, Bounds(0, 20, 500), "A", Start(0, 500, is_reset=True)),
        (KNOWN, Bounds(0, 900, None), "B", Start(0, 500, is_reset=True)),
    ],
    ids=[
        "never read: its beginning",
        "never read by us: where the group is",
        "no commit: the database's",
        "the database is ahead: a crash before Kafka's commit",
        "the group is ahead: someone moved it on",
        "Kafka tells no topic id",
        "Kafka dropped what we had not read",
        "behind its end: made again",
        "another id: made again, and longer than before",
    ],
)
def test_a_partition_is_read_from_the_higher_of_both_offsets(
    known: IngestOffset | None, bounds: Bounds, topic_id: str, start: Start
) -> None:
    assert where_to_start(known, bounds, topic_id) == start


@pytest.mark.parametrize("name", ["enable.auto.commit", "group.protocol", "partition.assignment.strategy", "group.id"])
def test_properties_that_exactly_once_rests_on_cannot_be_set(name: str) -> None:
    with pytest.raises(SettingsError, match=f"sets {name}, which ingest decides itself"):
        consumer_options("localhost:9092", "metrics-processor", {name: "x"})
    assert consumer_options("b:1", "g", {"security.protocol": "SSL"})["security.protocol"] == "SSL"
