"""From a real Kafka to a real PostgreSQL: no sample is lost or counted twice."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from predictive_scaling.clock import WallClock
from predictive_scaling.errors import IngestRunningError, SettingsError
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.ingest.rewind import Rewound, rewind
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.ingest_offsets import IngestOffsets
from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, dead_letter_headers, ingesting, rows, run, scalar, send

pytestmark = pytest.mark.integration

START = WallClock().now().replace(second=0, microsecond=0) - timedelta(hours=6)
COUNT = "select count(*) from metrics_raw"


@pytest.fixture
async def pipeline(
    kafka: Kafka, topic: str, dead_letter_topic: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[Pipeline]:
    pipeline = Pipeline(
        kafka.bootstrap_servers, topic, dead_letter_topic, migrated_database_url, tmp_path / "ingest.log"
    )
    yield pipeline
    print(pipeline.log.read_text() if pipeline.log.exists() else "ingest did not run")


def a_sample(number: int, **changes: Any) -> dict[str, Any]:
    """Return the sample with this number: one every 5 seconds, of two pods in turn."""
    at = START + timedelta(seconds=5 * number)
    sample = {
        "service_name": "checkout",
        "metric_name": "requests_per_second",
        "value": number,
        "timestamp": at.isoformat(),
        "labels": {"pod": str(number % 2)},
    }
    return sample | changes


async def wait_for_samples(pipeline: Pipeline, count: int) -> None:
    await eventually(lambda: scalar(pipeline, COUNT), lambda stored: stored >= count, seconds=40)
    assert await scalar(pipeline, COUNT) == count


async def next_offsets(pipeline: Pipeline) -> int:
    return await scalar(pipeline, "select coalesce(sum(next_offset), 0) from ingest_offsets")


async def lag_at_the_broker(pipeline: Pipeline) -> int:
    """Return the lag of the group as Kafka's own tools compute it."""

    def read() -> int:
        consumer = Consumer({"bootstrap.servers": pipeline.bootstrap_servers, "group.id": pipeline.group})
        numbers = consumer.list_topics(pipeline.topic, timeout=60).topics[pipeline.topic].partitions
        committed = consumer.committed([TopicPartition(pipeline.topic, number) for number in numbers], timeout=60)
        ends = {part.partition: consumer.get_watermark_offsets(part, timeout=60)[1] for part in committed}
        consumer.close()
        return sum(ends[part.partition] - max(0, part.offset) for part in committed)

    return await asyncio.to_thread(read)


async def test_samples_are_stored_and_reported_until_sigterm(pipeline: Pipeline) -> None:
    await send(pipeline, [a_sample(number) for number in range(100)])
    async with ingesting(pipeline) as ingester:
        await wait_for_samples(pipeline, 100)
        assert await next_offsets(pipeline) == 100
        sums = "select sum(sum), sum(count), count(*) from metrics_1m"
        assert await rows(pipeline, sums) == [(4950.0, 100, 18)]

        async def health() -> tuple[int, str]:
            code, text = await ingester.get("/health")
            return code, json.loads(text)["status"]

        # A check may exceed its time limit on a starved machine, and the metrics follow the commit.
        await eventually(health, (200, "healthy").__eq__)
        await eventually(lambda: ingester.get("/health/ready"), lambda response: response[0] == 200)
        assert (await ingester.get("/health/live"))[0] == 200
        new = 'predictive_scaling_ingest_samples_total{outcome="new"}'
        await eventually(lambda: ingester.metric(new), lambda count: count == 100)
        await eventually(lambda: ingester.metric("kafka_consumer_lag{"), lambda lag: lag == 0)
        assert await ingester.terminate() == 0
    assert await run(pipeline, "migrate") == (0, "the schema is up to date\n")


@pytest.mark.parametrize("point", ["ingest.before_commit", "ingest.after_commit"])
async def test_a_kill_before_or_after_the_commit_neither_loses_nor_duplicates_samples(
    pipeline: Pipeline, point: str
) -> None:
    await send(pipeline, [*[a_sample(number) for number in range(300)], b"poison"])
    async with ingesting(pipeline, PREDICTIVE_SCALING_FAULT=point) as ingester:
        assert await ingester.wait_for_exit() == -signal.SIGKILL
    stored = await scalar(pipeline, COUNT)
    assert (stored > 0) == (point == "ingest.after_commit")
    await send(pipeline, [a_sample(300)])
    async with ingesting(pipeline) as ingester:
        await wait_for_samples(pipeline, 301)
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 302)
        assert await ingester.terminate() == 0
    assert await rows(pipeline, "select sum(sum), sum(count) from metrics_1m") == [(45150.0, 301)]
    assert await scalar(pipeline, "select count(*) from dead_letters") == 1


async def test_invalid_messages_go_to_the_dead_letters_with_their_reason(pipeline: Pipeline) -> None:
    invalid: list[bytes | dict[str, Any]] = [
        b"\x1f\x8bgzip",
        a_sample(1, value=float("nan")),
        a_sample(1, value="abc"),
        a_sample(1, timestamp="2005-01-01T00:00:00Z"),
        a_sample(1, timestamp=(WallClock().now() + timedelta(days=7)).isoformat()),
        {"value": 1},
        b"x" * 500_000,
        a_sample(1, service_name="a\x00b"),
        b"\xff\xfe\xff",
    ]
    valid = [a_sample(number) for number in range(200)]
    mixed = [
        message
        for number, sample in enumerate(valid)
        for message in ([sample, invalid[number]] if number < 9 else [sample])
    ]
    await send(pipeline, mixed)
    async with ingesting(pipeline) as ingester:
        await wait_for_samples(pipeline, 200)
        await eventually(lambda: scalar(pipeline, "select count(*) from dead_letters"), lambda count: count == 9)
        reasons = dict(await rows(pipeline, "select reason, count(*) from dead_letters group by reason"))
        assert reasons == {
            "undecodable": 2,
            "not_finite": 1,
            "not_a_number": 1,
            "timestamp_out_of_range": 2,
            "missing_field": 1,
            "too_large": 1,
            "invalid_name": 1,
        }
        assert await rows(pipeline, "select max(length(raw)), max(raw_size) from dead_letters") == [(4096, 500_000)]
        await eventually(
            lambda: ingester.metric("predictive_scaling_ingest_dead_letters_total{"), lambda count: count == 9
        )
    letters = await dead_letter_headers(pipeline, 9)
    assert sorted(letter["reason"] for letter in letters) == sorted(
        reason for reason, count in reasons.items() for _ in range(count)
    )
    positions = "select partition::text, message_offset::text from dead_letters"
    assert {(letter["partition"], letter["offset"]) for letter in letters} == set(await rows(pipeline, positions))


async def test_late_duplicated_and_unordered_samples_give_the_same_rollups(pipeline: Pipeline) -> None:
    generator = random.Random(7)
    samples = [a_sample(number, value=number % 17) for number in range(600)]
    messages = [*samples, *generator.sample(samples, 200)]
    generator.shuffle(messages)
    await send(pipeline, messages[:400])
    async with ingesting(pipeline, PREDICTIVE_SCALING_INGEST_BATCH_SIZE="70"):
        await send(pipeline, messages[400:])
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 800)
    expected: dict[tuple[datetime, str], list[float]] = {}
    for sample in samples:
        minute = datetime.fromisoformat(sample["timestamp"]).replace(second=0)
        expected.setdefault((minute, sample["labels"]["pod"]), []).append(float(sample["value"]))
    rollups = await rows(
        pipeline,
        "select minute, labels->>'pod', sum, count, min, max, last from metrics_1m "
        "join series using (service_name, metric_name, series)",
    )
    assert {(minute.astimezone(UTC), pod): tuple(values) for minute, pod, *values in rollups} == {
        key: (sum(values), len(values), min(values), max(values), values[-1]) for key, values in expected.items()
    }


async def test_ingest_resumes_after_a_restart_of_postgresql(postgres: PostgreSQL, pipeline: Pipeline) -> None:
    await send(pipeline, [a_sample(number) for number in range(50)])
    async with ingesting(pipeline) as ingester:
        await wait_for_samples(pipeline, 50)
        await postgres.stop()
        await send(pipeline, [a_sample(number) for number in range(50, 150)])
        await eventually(
            lambda: ingester.metric("predictive_scaling_ingest_write_failures_total"), lambda count: bool(count)
        )
        await eventually(lambda: ingester.metric("kafka_consumer_lag{"), lambda lag: lag == 100)
        assert await lag_at_the_broker(pipeline) == 100
        assert (await ingester.get("/health/ready"))[0] == 503
        assert (await ingester.get("/health/live"))[0] == 200
        await postgres.start()
        await wait_for_samples(pipeline, 150)
        assert await scalar(pipeline, "select count(*) from dead_letters") == 0
        assert await ingester.terminate() == 0


async def test_ingest_resumes_after_a_restart_of_kafka(kafka: Kafka, pipeline: Pipeline) -> None:
    if not kafka.is_real:
        pytest.skip("the mock cluster loses its messages when it stops")
    await send(pipeline, [a_sample(number) for number in range(50)])
    async with ingesting(pipeline) as ingester:
        await wait_for_samples(pipeline, 50)
        await kafka.stop()
        await kafka.start()
        await send(pipeline, [a_sample(number) for number in range(50, 150)])
        await wait_for_samples(pipeline, 150)
        assert await ingester.terminate() == 0


async def test_a_changing_number_of_consumers_neither_loses_nor_duplicates_samples(pipeline: Pipeline) -> None:
    batches = [[a_sample(number) for number in range(first, first + 500)] for first in range(0, 3000, 500)]

    async def produce() -> None:
        for number, batch in enumerate(batches):
            await send(pipeline, batch, key=str(number))

    sending = asyncio.create_task(produce())
    async with ingesting(pipeline):
        async with ingesting(pipeline) as second:
            await eventually(lambda: scalar(pipeline, COUNT), lambda count: count > 0)
            async with ingesting(pipeline) as third:
                await third.wait_until_live()
                assert await third.terminate() == 0
            assert await second.terminate() == 0
        await sending
        await wait_for_samples(pipeline, 3000)
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 3000)
    assert await rows(pipeline, "select sum(count), sum(sum) from metrics_1m") == [(3000, 4498500.0)]


async def test_a_missing_topic_is_awaited_and_a_recreated_topic_is_read_from_the_beginning(
    kafka: Kafka, pipeline: Pipeline
) -> None:
    if not kafka.is_real:
        pytest.skip("the mock cluster cannot delete a topic")
    await delete_topic(pipeline)
    async with ingesting(pipeline) as ingester:
        await ingester.wait_until_live()
        await eventually(lambda: ingester.get("/health"), lambda response: "Kafka has no topic" in response[1])
        await kafka.create_topic(pipeline.topic, partitions=1)
        await send(pipeline, [a_sample(number) for number in range(100)])
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 100, seconds=40)
        await delete_topic(pipeline)
        await kafka.create_topic(pipeline.topic, partitions=1)
        await send(pipeline, [a_sample(number) for number in range(100, 110)])
        await wait_for_samples(pipeline, 110)
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 10)
    assert "topic_recreated" in pipeline.log.read_text()


async def delete_topic(pipeline: Pipeline) -> None:
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap_servers})
    await asyncio.to_thread(admin.delete_topics([pipeline.topic])[pipeline.topic].result, 240)


async def test_a_rewind_reads_samples_again_without_duplicates(pipeline: Pipeline) -> None:
    before = (WallClock().now() - timedelta(minutes=1)).isoformat()
    await send(pipeline, [a_sample(number) for number in range(100)])
    async with ingesting(pipeline) as ingester:
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 100)
        with pytest.raises(IngestRunningError, match="1 `predictive-scaling ingest` processes"):
            await rewind_to(pipeline, WallClock().now())
        assert await ingester.terminate() == 0
    await rows(pipeline, "delete from metrics_1m returning 1")
    await rows(pipeline, "delete from metrics_raw where value < 50 returning 1")
    code, output = await run(pipeline, "ingest", "rewind", "--to", before)
    assert (code, output.count("from 100 to 0")) == (0, 1)
    async with ingesting(pipeline):
        await wait_for_samples(pipeline, 100)
    assert await rows(pipeline, "select sum(count) from metrics_1m") == [(50,)]


async def test_a_rewind_reads_the_messages_that_a_group_reset_skipped(pipeline: Pipeline) -> None:
    await send(pipeline, [a_sample(number) for number in range(10)])
    async with ingesting(pipeline) as ingester:
        await wait_for_samples(pipeline, 10)
        assert await ingester.terminate() == 0
    skipped_from = WallClock().now()
    await send(pipeline, [a_sample(number) for number in range(10, 20)])
    administration, group = KafkaAdministration(pipeline.bootstrap_servers, {}), pipeline.group
    offsets = dict(await rows(pipeline, "select partition, next_offset from ingest_offsets"))
    (partition,) = [number for number, offset in offsets.items() if offset == 10]
    ends = offsets | {partition: 20}
    await administration.rewind_group(group, pipeline.topic, ends)
    assert await administration.committed(group, pipeline.topic, list(offsets)) == ends
    (rewound,) = await rewind_to(pipeline, skipped_from)
    assert (rewound.partition, rewound.before) == (partition, 20)
    assert rewound.after <= 10
    async with ingesting(pipeline):
        await wait_for_samples(pipeline, 20)


async def test_a_rewind_beyond_the_retention_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(SettingsError, match="retention of raw samples"):
        await rewind_to(pipeline, WallClock().now() - timedelta(days=31))


async def rewind_to(pipeline: Pipeline, to: datetime) -> list[Rewound]:
    async with Database(pipeline.database_url) as database:
        return await rewind(
            KafkaAdministration(pipeline.bootstrap_servers, {}),
            IngestOffsets(database),
            topic=pipeline.topic,
            group=pipeline.group,
            to=to,
            raw_retention=timedelta(days=30),
            clock=WallClock(),
        )


async def test_ingest_exits_without_a_schema_and_names_the_migrate_command(pipeline: Pipeline) -> None:
    await rows(pipeline, "delete from schema_migrations returning 1")
    async with ingesting(pipeline) as ingester:
        assert await ingester.wait_for_exit() == 78
    assert "run `predictive-scaling migrate`" in pipeline.log.read_text()


async def test_only_the_message_whose_value_the_database_refuses_is_a_dead_letter(pipeline: Pipeline) -> None:
    same_minute = [a_sample(number, timestamp=START.isoformat()) for number in (0, 2)]
    huge = [sample | {"value": 1.7e308, "labels": {"pod": "0"}} for sample in same_minute]
    huge[1]["timestamp"] = (START + timedelta(seconds=1)).isoformat()
    await send(
        pipeline,
        [*[a_sample(number) for number in range(40, 80)], *huge, *[a_sample(number) for number in range(80, 120)]],
    )
    async with ingesting(pipeline):
        await eventually(lambda: next_offsets(pipeline), lambda offset: offset == 82)
    assert await rows(pipeline, "select reason, count(*) from dead_letters group by 1") == [("refused_by_database", 1)]
    assert await scalar(pipeline, COUNT) == 81
