"""Whatever bytes arrive in a format, each message ends in samples or a dead letter, and others are not affected."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from predictive_scaling.ingest.batch import Message, read
from predictive_scaling.ingest.formats import FORMATS, TopicFormat
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.rejected_message import Reason

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, timedelta(days=400), timedelta(minutes=5))
LABELS = {"service": "checkout", "pod": "a"}


def an_otlp_message() -> bytes:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    point = metrics.add(name="load").gauge.data_points.add(time_unix_nano=int(NOW.timestamp()) * 10**9, as_double=2)
    point.attributes.add(key="service").value.string_value = "checkout"
    histogram = metrics.add(name="latency").histogram
    histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    histogram.data_points.add(time_unix_nano=2, start_time_unix_nano=1, count=3, sum=1.5)
    return request.SerializeToString()


AT = int(NOW.timestamp())
VALID = {
    "native": {"service_name": "checkout", "metric_name": "rps", "value": 1, "timestamp": AT},
    "telegraf": {"metrics": [{"name": "rps", "timestamp": AT, "fields": {"value": 1, "x": "y"}, "tags": LABELS}]},
    "prometheus": {"timestamp": NOW.isoformat(), "value": "1", "labels": {"__name__": "rps", **LABELS}},
    "otlp_json": {
        "resourceMetrics": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
                "scopeMetrics": [
                    {"metrics": [{"name": "rps", "gauge": {"dataPoints": [{"timeUnixNano": f"{AT}000000000"}]}}]}
                ],
            }
        ]
    },
}
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["NaN", "1"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


def valid(name: str) -> bytes:
    return an_otlp_message() if name == "otlp_proto" else json.dumps(VALID[name]).encode()


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """Return a valid message that is truncated, or has bytes or a JSON value replaced."""
    raw = bytearray(valid(name))
    kind = draw(st.sampled_from(["truncated", "bytes", "value"]))
    if kind == "truncated":
        return bytes(raw[: draw(st.integers(0, len(raw)))])
    if kind == "value" and name != "otlp_proto":
        document = json.loads(raw)
        parent, key = draw(st.sampled_from(list(paths(document))))
        parent[key] = draw(json_values)
        return json.dumps(document).encode()
    for _ in range(draw(st.integers(1, 4))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw)


def paths(document: Any) -> list[tuple[Any, Any]]:
    """Return every container of a JSON document with each of its keys."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path for key, value in items for path in [(document, key), *paths(value)]]


messages = st.sampled_from(sorted(FORMATS)).flatmap(
    lambda name: st.tuples(st.just(name), st.one_of(st.binary(max_size=200), mutated(name)))
)


@given(messages)
def test_no_message_stops_the_consumer(message: tuple[str, bytes]) -> None:
    name, raw = message
    good = Message("metrics.raw", 0, 1, valid("native"), "native")
    parsed = read([Message("metrics.raw", 0, 0, raw), good], WINDOW, NOW, TopicFormat(name))
    handled = {m.offset for m, _ in parsed.samples} | {letter.offset for letter in parsed.dead_letters}
    assert handled == {0, 1}
    assert parsed.samples[-1][0] == good
    for letter in parsed.dead_letters:
        assert letter.reason in set(Reason)
        assert letter.detail
        assert letter.raw == raw
    for _, samples in parsed.samples:
        for sample in samples:
            assert sample.value >= 0
            assert WINDOW.earliest <= sample.time <= WINDOW.latest


def test_the_messages_before_the_mutation_are_valid() -> None:
    for name in FORMATS:
        parsed = read([Message("metrics.raw", 0, 0, valid(name))], WINDOW, NOW, TopicFormat(name))
        assert parsed.samples[0][1], name
