"""Messages of other programs, from a real Kafka to demand in a real PostgreSQL."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from predictive_scaling.clock import WallClock
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, ingesting, rows, scalar, send

pytestmark = pytest.mark.integration

START = WallClock().now().replace(second=0, microsecond=0) - timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def pipeline(
    kafka: Kafka, topic: str, dead_letter_topic: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[Pipeline]:
    pipeline = Pipeline(
        kafka.bootstrap_servers, topic, dead_letter_topic, migrated_database_url, tmp_path / "ingest.log"
    )
    yield pipeline
    print(pipeline.log.read_text() if pipeline.log.exists() else "ingest did not run")


def otlp(minute: int) -> bytes:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "cart"
    metric = resource.scope_metrics.add().metrics.add(name="orders")
    metric.sum.is_monotonic = True
    at = START + minute * MINUTE
    metric.sum.data_points.add(time_unix_nano=int(at.timestamp()) * 10**9, as_int=120 * minute)
    return request.SerializeToString()


async def test_each_format_reaches_the_demand_of_its_service(pipeline: Pipeline) -> None:
    at = int(START.timestamp())
    telegraf = {"name": "nginx", "timestamp": at, "fields": {"active": 7}, "tags": {"service": "checkout"}}
    adapter = {
        "timestamp": START.isoformat(),
        "value": "3",
        "name": "queue",
        "labels": {"__name__": "queue", "service": "checkout"},
    }
    native = {"service_name": "checkout", "metric_name": "rps", "value": 5, "timestamp": at}
    await send(pipeline, [telegraf])  # without a header: the format of the topic
    await send(pipeline, [otlp(minute) for minute in range(3)], format_name="otlp_proto")
    await send(pipeline, [adapter, {**adapter, "labels": {}}], format_name="prometheus")
    await send(pipeline, [native], format_name="native")
    async with ingesting(pipeline, PREDICTIVE_SCALING_KAFKA_FORMAT="telegraf") as ingester:
        read = "select coalesce(sum(next_offset), 0) from ingest_offsets"
        await eventually(lambda: scalar(pipeline, read), lambda offset: offset == 7)
        assert await ingester.terminate() == 0
    keys = [SeriesKey("checkout", metric) for metric in ("nginx_active", "queue", "rps")]
    async with Database(pipeline.database_url, purpose="tests") as database:
        demand = await Demand(database).minutes([*keys, SeriesKey("cart", "orders")], START, START + 2 * MINUTE)
    assert [demand[key][0] for key in keys] == [7, 3, 5]
    assert demand[SeriesKey("cart", "orders")].tolist() == [2, 2]
    letters = await rows(pipeline, "select reason, detail like '%names no service%' from dead_letters")
    assert letters == [("missing_field", True)]
