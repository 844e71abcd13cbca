"""The format of messages, the dead letters of invalid messages, and the start offsets."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.batch import Message, read
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.source import Bounds, consumer_options
from predictive_scaling.ingest.start import Start, start_of
from predictive_scaling.storage.dead_letters import DeadLetter
from predictive_scaling.storage.ingest_offsets import IngestOffset
from predictive_scaling.storage.samples import Sample, series_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, timedelta(days=400), timedelta(minutes=5))
VALID: dict[str, Any] = {
    "service_name": "checkout",
    "metric_name": "requests_per_second",
    "value": 12.5,
    "timestamp": "2026-11-24T11:59:30Z",
    "labels": {"pod": "a"},
}


def parsed(value: bytes | dict[str, Any], format_name: str | None = None) -> Sample | DeadLetter:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    contents = read([Message("metrics.raw", 0, 7, raw, format_name)], WINDOW, NOW)
    return contents.samples[0][1][0] if contents.samples else contents.dead_letters[0]


def a_message(**differences: Any) -> dict[str, Any]:
    return VALID | differences


def a_message_without(field: str) -> dict[str, Any]:
    return {name: value for name, value in VALID.items() if name != field}


def test_a_valid_message_becomes_a_sample() -> None:
    at = datetime(2026, 11, 24, 11, 59, 30, tzinfo=UTC)
    labels = {"pod": "a"}
    assert parsed(VALID) == Sample(at, "checkout", "requests_per_second", series_of(labels), 12.5, labels)


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
def test_timestamps_have_several_formats(timestamp: object) -> None:
    sample = parsed(a_message(timestamp=timestamp))
    assert isinstance(sample, Sample)
    assert sample.time == datetime(2026, 11, 24, 11, 59, 30, tzinfo=UTC)
    assert sample.time.tzinfo is UTC


@pytest.mark.parametrize("difference", [{"labels": {}}, {"unknown": [1, {"x": None}]}, {"value": 0}, {"value": -0.0}])
def test_labels_are_optional_and_unknown_fields_are_ignored(difference: dict[str, Any]) -> None:
    assert isinstance(parsed(a_message(**difference)), Sample)
    assert isinstance(parsed(a_message_without("labels")), Sample)


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"", "undecodable", "not JSON"),
        (b"\x1f\x8b\x08\x00gzip", "undecodable", "begins with the bytes 1f8b0800677a6970"),
        (b"\xff\xfe{}", "undecodable", "fffe7b7d"),
        (b'{"labels": {"\x80": ""}}', "undecodable", "not UTF-8"),
        (json.dumps(VALID).encode()[:-5], "undecodable", "truncated"),
        (b'{"service_name": "\\ud800 and more text behind"}', "undecodable", "surrogate"),
        (b"[1, 2]", "wrong_type", "Expected `object`, got `array`"),
        (b'{"extra": ' * 20_000 + b"1" + b"}" * 20_000, "too_large", "allowed: 65536"),
        (b'{"extra": ' * 5_000 + b"1" + b"}" * 5_000, "too_deep", "nested too deeply"),
        (b'{"extra": ' * 65 + b"1" + b"}" * 65, "too_deep", "nested too deeply"),
        (b'{"extra": ' * 64 + b"1" + b"}" * 64, "missing_field", "service_name is missing"),
        (b'{"extra": "' + b"{[" * 100 + b'"}', "missing_field", "service_name is missing"),
        (a_message(labels={"x": "y" * 10_000_000}), "too_large", "allowed: 65536"),
        (a_message(labels={f"l{n}": "" for n in range(65)}), "too_many_labels", "65 labels; allowed: 64"),
        (a_message(labels={"n": 1}), "wrong_type", "labels"),
        (a_message(labels=None), "wrong_type", "labels"),
        (a_message(labels={"a\x00": "b"}), "invalid_name", "label name"),
        (a_message(labels={"a": "b\n"}), "invalid_name", "label a is"),
        (a_message_without("service_name"), "missing_field", "service_name is missing"),
        (a_message_without("metric_name"), "missing_field", "metric_name is missing"),
        (a_message_without("value"), "missing_field", "value is missing"),
        (a_message_without("timestamp"), "missing_field", "timestamp is missing"),
        (a_message(service_name=5), "wrong_type", "service_name"),
        (a_message(service_name=""), "invalid_name", "service_name is ''"),
        (a_message(service_name="a\x00b"), "invalid_name", "service_name is 'a\\x00b'"),
        (a_message(metric_name="m" * 254), "invalid_name", "1 to 253 characters"),
        (a_message(value="abc"), "not_a_number", "got `str`"),
        (a_message(value=True), "not_a_number", "got `bool`"),
        (a_message(value=None), "not_a_number", "got `null`"),
        (a_message(value=float("nan")), "not_finite", "value is nan"),
        (a_message(value=float("-inf")), "not_finite", "value is -inf"),
        (json.dumps(VALID).encode().replace(b"12.5", b"1e999"), "not_finite", "out of range"),
        (a_message(value=-1), "negative", "value is -1.0"),
        (a_message(timestamp="2026-11-24T11:59:30"), "invalid_timestamp", "timezone"),
        (a_message(timestamp="yesterday"), "invalid_timestamp", "RFC 3339"),
        (a_message(timestamp=True), "invalid_timestamp", "got `bool`"),
        (a_message(timestamp="2005-01-01T00:00:00Z"), "timestamp_out_of_range", "allowed: 2025-10-20"),
        (a_message(timestamp="2026-11-24T12:05:01Z"), "timestamp_out_of_range", "to 2026-11-24T12:05:00"),
        (a_message(timestamp=10**40), "timestamp_out_of_range", "beyond any date"),
        (a_message(timestamp=10**400), "timestamp_out_of_range", "beyond any date"),
        (a_message(timestamp=1795521570000000), "timestamp_out_of_range", ""),
    ],
)
def test_an_invalid_message_becomes_a_dead_letter_with_the_reason(
    value: bytes | dict[str, Any], reason: str, detail: str
) -> None:
    letter = parsed(value)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, "metrics.raw", 0, 7)
    assert detail in letter.detail


def test_quotes_in_a_name_are_kept() -> None:
    sample = parsed(a_message(service_name="'; drop table metrics_raw; --"))
    assert isinstance(sample, Sample)
    assert sample.service_name == "'; drop table metrics_raw; --"


def test_an_unknown_format_is_named_in_the_dead_letter() -> None:
    letter = parsed(VALID, "influx")
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "unknown_format"
    assert "'influx'" in letter.detail
    assert "telegraf" in letter.detail
    assert isinstance(parsed(VALID, "native"), Sample)


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
        "never read: from the beginning",
        "not in the database: from the offset of the group",
        "no commit: from the database",
        "the database is ahead: a crash before the commit to Kafka",
        "the group is ahead: its offset was moved",
        "no topic id from Kafka",
        "unread messages were deleted by Kafka",
        "beyond the end: the topic was created again",
        "another id: the topic was created again and is longer",
    ],
)
def test_a_partition_is_read_from_the_higher_of_the_two_offsets(
    known: IngestOffset | None, bounds: Bounds, topic_id: str, start: Start
) -> None:
    assert start_of(known, bounds, topic_id) == start


@pytest.mark.parametrize("name", ["enable.auto.commit", "group.protocol", "partition.assignment.strategy", "group.id"])
def test_consumer_properties_required_for_exactly_once_cannot_be_set(name: str) -> None:
    with pytest.raises(SettingsError, match=f"sets {name}, which ingest decides itself"):
        consumer_options("localhost:9092", "metrics-processor", {name: "x"})
    assert consumer_options("b:1", "g", {"security.protocol": "SSL"})["security.protocol"] == "SSL"
