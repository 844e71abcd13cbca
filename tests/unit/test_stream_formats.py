"""The formats of other programs on Kafka: which samples their messages become, and why they are rejected.

OTLP messages are made by the OpenTelemetry SDK. Those of Telegraf and of the Prometheus Kafka adapter follow the layout
in their documentation.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from predictive_scaling.ingest.batch import Message, Read, read
from predictive_scaling.ingest.formats import DEFAULT, FORMATS, TopicFormat
from predictive_scaling.ingest.formats.reading import SeriesRules
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.settings import Settings
from predictive_scaling.storage.samples import Sample

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, timedelta(days=400), timedelta(minutes=5))
AT = datetime(2026, 11, 24, 11, 59, 30, tzinfo=UTC)


def contents(raw: bytes | Mapping[str, Any], format_name: str, rules: SeriesRules | None = None) -> Read:
    value = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    topic_format = TopicFormat(format_name, rules or SeriesRules())
    return read([Message("metrics.raw", 0, 7, value)], WINDOW, NOW, topic_format)


def samples(raw: bytes | Mapping[str, Any], format_name: str, rules: SeriesRules | None = None) -> list[Sample]:
    parsed = contents(raw, format_name, rules)
    assert parsed.dead_letters == []
    return list(parsed.samples[0][1])


def values(of: Sequence[Sample]) -> dict[str, tuple[float, bool]]:
    return {sample.metric_name: (sample.value, sample.is_counter) for sample in of}


def a_metric(**differences: Any) -> dict[str, Any]:
    fields = {"active": 3, "accepts_total": 812, "value": 2.5, "state": "up", "ok": True}
    tags = {"service": "checkout", "host": "a"}
    return {"fields": fields, "name": "nginx", "tags": tags, "timestamp": int(AT.timestamp())} | differences


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9], ids=["1s", "1ms", "1us", "1ns"])
def test_numeric_fields_of_telegraf_become_metrics(unit: int) -> None:
    found = samples(a_metric(timestamp=int(AT.timestamp()) * unit), "telegraf")
    assert values(found) == {"nginx_active": (3, False), "nginx_accepts_total": (812, True), "nginx": (2.5, False)}
    assert {sample.time for sample in found} == {AT}
    assert {sample.service_name for sample in found} == {"checkout"}
    assert found[0].labels == {"host": "a"}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_batch_of_telegraf_may_be_indented(indent: int | None) -> None:
    raw = json.dumps({"metrics": [a_metric(), a_metric()]}, indent=indent).encode()
    assert len(samples(raw, "telegraf")) == 2 * len(samples(a_metric(), "telegraf")) > 0


def test_a_metric_without_a_service_leaves_the_rest_of_its_batch() -> None:
    parsed = contents({"metrics": [a_metric(tags={}), a_metric()]}, "telegraf")
    assert len(parsed.samples[0][1]) == 3
    (letter,) = parsed.dead_letters
    assert letter.reason == "missing_field"
    assert letter.detail.startswith("1 of 4 samples rejected; the first: nginx_active names no service")
    assert "PREDICTIVE_SCALING_STREAM_SERVICE_LABELS" in letter.detail


def adapter_message(name: str, value: object, **labels: str) -> dict[str, Any]:
    # The layout in the documentation of the Prometheus Kafka adapter.
    return {
        "timestamp": "2026-11-24T11:59:30Z",
        "value": value,
        "name": name,
        "labels": {"__name__": name, "service": "checkout", **labels},
    }


def test_a_message_of_the_prometheus_adapter_becomes_a_sample() -> None:
    (sample,) = samples(adapter_message("http_requests_total", "812", pod="a"), "prometheus")
    assert sample[:3] == (AT, "checkout", "http_requests_total")
    assert (sample.value, dict(sample.labels), sample.is_counter) == (812, {"pod": "a"}, True)


@pytest.mark.parametrize(
    "message",
    [
        adapter_message("up", "NaN"),
        adapter_message("latency_bucket", "4", le="0.5"),
    ],
    ids=["a staleness marker", "a bucket"],
)
def test_gaps_and_buckets_are_no_samples(message: dict[str, Any]) -> None:
    assert samples(message, "prometheus") == []


def test_the_installation_names_the_labels_of_services_and_the_counters() -> None:
    rules = SeriesRules(service_labels=("app", "service"), counter_metrics=("requests",))
    (by_app,) = samples(adapter_message("requests", "1", app="cart"), "prometheus", rules)
    (by_service,) = samples(adapter_message("x_total", "1", app=""), "prometheus", rules)
    assert (by_app.service_name, by_app.labels, by_app.is_counter) == ("cart", {"service": "checkout"}, True)
    assert (by_service.service_name, by_service.is_counter) == ("checkout", False)


@pytest.fixture(params=["otlp_proto", "otlp_json"])
def otlp(request: pytest.FixtureRequest) -> str:
    return request.param


def exported(format_name: str, temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE) -> bytes:
    """Return an export of the OpenTelemetry SDK with one metric of each kind."""
    reader = InMemoryMetricReader({Counter: temporality, Histogram: temporality})
    provider = MeterProvider([reader], Resource({"service.name": "checkout", "host.name": "a"}))
    meter = provider.get_meter("shop")
    meter.create_counter("requests").add(30, {"route": "/", "retried": False})
    meter.create_up_down_counter("sessions").add(4)
    meter.create_gauge("load").set(0.5)
    meter.create_histogram("latency").record(0.25)
    metrics = reader.get_metrics_data()
    assert metrics is not None
    request = encode_metrics(metrics)
    provider.shutdown()
    for resource in request.resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            for point in getattr(metric, metric.WhichOneof("data") or "").data_points:
                point.time_unix_nano = int(AT.timestamp()) * 10**9
                point.start_time_unix_nano = point.time_unix_nano - 60 * 10**9
    if format_name == "otlp_json":
        return json_format.MessageToJson(request, use_integers_for_enums=True).encode()
    return request.SerializeToString()


def test_otlp_metrics_of_the_sdk_become_samples(otlp: str) -> None:
    found = samples(exported(otlp), otlp)
    assert values(found) == {
        "requests": (30, True),
        "sessions": (4, False),
        "load": (0.5, False),
        "latency_count": (1, True),
        "latency_sum": (0.25, True),
    }
    requests = next(sample for sample in found if sample.metric_name == "requests")
    assert requests.time == AT
    assert requests.service_name == "checkout"
    assert {"route": "/", "retried": "false", "host.name": "a"}.items() <= requests.labels.items()
    assert "service.name" not in requests.labels


def test_otlp_deltas_become_rates_of_their_interval(otlp: str) -> None:
    found = values(samples(exported(otlp, AggregationTemporality.DELTA), otlp))
    assert found["requests"] == (0.5, False)
    assert found["latency_count"] == (1 / 60, False)


def test_an_otlp_point_without_a_recorded_value_is_a_gap(otlp: str) -> None:
    message = json.loads(exported("otlp_json"))
    for metric in message["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]:
        for kind in ("sum", "gauge", "histogram"):
            for point in metric.get(kind, {}).get("dataPoints", []):
                point["flags"] = 1
    raw = json.dumps(message).encode()
    if otlp == "otlp_proto":
        raw = json_format.Parse(raw, ExportMetricsServiceRequest()).SerializeToString()
    assert samples(raw, otlp) == []


def rejected_messages() -> Iterator[Any]:
    deep = b"[" * 5000 + b"]" * 5000
    for name in sorted(set(FORMATS) - {DEFAULT}):
        yield pytest.param(name, b"\x1f\x8b\x08\x00gzip", "undecodable", id=f"{name}: gzip")
        yield pytest.param(name, b"x" * (5 << 20), "too_large", id=f"{name}: too large")
    yield "telegraf", a_metric(timestamp=10**40), "timestamp_out_of_range"
    yield "telegraf", a_metric(timestamp="now"), "wrong_type"
    yield "telegraf", a_metric(fields={"value": -1}), "negative"
    yield "telegraf", b'{"name": ' + deep, "wrong_type"
    yield "prometheus", adapter_message("up", "high"), "not_a_number"
    yield "prometheus", adapter_message("up", "+Inf"), "not_finite"
    yield "prometheus", adapter_message("", "1"), "invalid_name"
    yield "prometheus", {**adapter_message("up", "1"), "labels": {}}, "missing_field"
    yield "prometheus", {**adapter_message("up", "1"), "timestamp": "2026-11-24T11:59:30"}, "wrong_type"
    yield "otlp_json", b"{}", "undecodable"
    yield "otlp_json", b'{"resourceMetrics": ' + deep + b"}", "undecodable"


@pytest.mark.parametrize(("format_name", "raw", "reason"), list(rejected_messages()))
def test_what_is_no_message_of_the_format_becomes_a_dead_letter(format_name: str, raw: Any, reason: str) -> None:
    assert [letter.reason for letter in contents(raw, format_name).dead_letters] == [reason]


def test_a_header_takes_precedence_over_the_format_of_the_topic() -> None:
    raw = json.dumps(a_metric()).encode()
    messages = [Message("metrics.raw", 0, 0, raw, "telegraf"), Message("metrics.raw", 0, 1, raw)]
    parsed = read(messages, WINDOW, NOW, TopicFormat("prometheus"))
    assert [message.offset for message, _ in parsed.samples] == [0]
    assert [letter.offset for letter in parsed.dead_letters] == [1]


def test_the_setting_offers_every_format() -> None:
    assert set(get_args(Settings.model_fields["kafka_format"].annotation)) == set(FORMATS)
    assert SeriesRules(Settings().stream_service_labels, Settings().stream_counter_metrics) == SeriesRules()
