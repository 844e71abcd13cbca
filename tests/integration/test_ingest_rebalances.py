"""Several `ingest` processes share a topic: partitions move one by one, and every sample is stored once."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.storage.database import Database
from tests.support.eventually import eventually
from tests.support.ingesting import Ingester, Pipeline, ingesting, rows, scalar

pytestmark = pytest.mark.integration

START = WallClock().now().replace(second=0, microsecond=0) - timedelta(hours=6)
PARTITIONS = {0, 1, 2, 3}
PER_ROUND = 200
POLL_INTERVAL_SECONDS = 7
OPTIONS = {
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "500",
    "max.poll.interval.ms": str(POLL_INTERVAL_SECONDS * 1000),
}


@pytest.fixture
async def pipeline(
    kafka: Kafka, topic: str, dead_letter_topic: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[Pipeline]:
    if not kafka.is_real:
        pytest.skip("the mock cluster does not support cooperative rebalances")
    pipeline = Pipeline(
        kafka.bootstrap_servers, topic, dead_letter_topic, migrated_database_url, tmp_path / "ingest.log"
    )
    yield pipeline
    print_logs(tmp_path)


def print_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()}")


class Sender:
    """Sends numbered samples to every partition, and knows the sums that must be in the database."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.sent = 0

    async def send(self, count: int = PER_ROUND) -> None:
        """Send `count` samples to each partition, and wait until the broker has them."""

        def produce() -> None:
            producer = Producer({"bootstrap.servers": self._pipeline.bootstrap_servers, "linger.ms": 5})
            for _ in range(count):
                for partition in PARTITIONS:
                    producer.produce(self._pipeline.topic, self._sample(partition), partition=partition)
                self.sent += 1
            assert producer.flush(60) == 0

        await asyncio.to_thread(produce)

    async def expect_each_sample_once(self) -> None:
        """Wait for all samples; the raw rows and the rollups hold each of them once."""
        count = self.sent * len(PARTITIONS)
        counted = "select count(*) from metrics_raw"
        await eventually(lambda: scalar(self._pipeline, counted), lambda stored: stored >= count, seconds=60)
        total = len(PARTITIONS) * sum(range(self.sent))
        assert await rows(self._pipeline, "select count(*), sum(value) from metrics_raw") == [(count, total)]
        assert await rows(self._pipeline, "select sum(count)::bigint, sum(sum) from metrics_1m") == [(count, total)]
        offsets = "select partition, next_offset from ingest_offsets"
        expected = dict.fromkeys(PARTITIONS, self.sent)
        await eventually(lambda: rows(self._pipeline, offsets), lambda found: dict(found) == expected)

    def _sample(self, partition: int) -> bytes:
        sample = {
            "service_name": "checkout",
            "metric_name": "requests_per_second",
            "value": self.sent,
            "timestamp": (START + timedelta(seconds=self.sent)).isoformat(),
            "labels": {"partition": str(partition)},
        }
        return json.dumps(sample).encode()


class Group:
    """Members of the consumer group, each with its own log."""

    def __init__(self, pipeline: Pipeline, stack: AsyncExitStack) -> None:
        self._pipeline = pipeline
        self._stack = stack

    async def join(self, name: str) -> Ingester:
        pipeline = replace(self._pipeline, log=self._pipeline.log.with_name(f"{name}.log"))
        options = json.dumps(OPTIONS)
        return await self._stack.enter_async_context(ingesting(pipeline, PREDICTIVE_SCALING_KAFKA_OPTIONS=options))

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """Return the log records of this event of a member."""
        lines = self._pipeline.log.with_name(f"{name}.log").read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record.get("event") == event]

    async def wait_until_shared(self, *members: Ingester) -> list[set[int]]:
        """Wait until each member has partitions, and each partition one owner; return the partitions by member."""

        async def owned() -> list[set[int]]:
            return [set(await self._lag_of(member)) for member in members]

        def is_shared(owned: list[set[int]]) -> bool:
            return all(owned) and sorted(partition for each in owned for partition in each) == sorted(PARTITIONS)

        return await eventually(owned, is_shared, seconds=60)

    async def expect_lag(self, members: Sequence[Ingester], messages: int) -> None:
        """Wait until the members show this lag for each partition once, and the broker has the same."""

        async def shown() -> list[tuple[int, int]]:
            return sorted([entry for member in members for entry in (await self._lag_of(member)).items()])

        async def at_the_broker() -> list[tuple[int, int]]:
            return await asyncio.to_thread(self._lag_at_the_broker)

        expected = [(partition, messages) for partition in sorted(PARTITIONS)]
        await eventually(shown, expected.__eq__, seconds=30)
        await eventually(at_the_broker, expected.__eq__, seconds=30)

    async def _lag_of(self, member: Ingester) -> dict[int, int]:
        try:
            _, text = await member.get("/metrics")
        except OSError:
            return {}
        prefix = 'kafka_consumer_lag{partition="'
        lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
        return {int(line.partition('"')[0]): round(float(line.rpartition(" ")[2])) for line in lines}

    async def forget_progress(self) -> None:
        """Set the offsets that the group has committed to the beginning, as soon as it has no member."""

        async def is_forgotten() -> bool:
            return await asyncio.to_thread(self._commit_beginning)

        await eventually(is_forgotten)

    def _commit_beginning(self) -> bool:
        consumer = Consumer({"bootstrap.servers": self._pipeline.bootstrap_servers, "group.id": self._pipeline.group})
        try:
            offsets = [TopicPartition(self._pipeline.topic, number, 0) for number in sorted(PARTITIONS)]
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            return False  # a member has not left yet
        finally:
            consumer.close()
        return True

    def _lag_at_the_broker(self) -> list[tuple[int, int]]:
        consumer = Consumer({"bootstrap.servers": self._pipeline.bootstrap_servers, "group.id": self._pipeline.group})
        partitions = [TopicPartition(self._pipeline.topic, number) for number in sorted(PARTITIONS)]
        lag = [
            (each.partition, consumer.get_watermark_offsets(each, timeout=60)[1] - max(0, each.offset))
            for each in consumer.committed(partitions, timeout=60)
        ]
        consumer.close()
        return lag


@asynccontextmanager
async def blocked_writes(pipeline: Pipeline) -> AsyncGenerator[None]:
    """Block all batches, as a slow PostgreSQL does."""
    async with (
        Database(pipeline.database_url, purpose="tests", max_size=1) as database,
        database.connection() as connection,
    ):
        await connection.execute("lock table ingest_offsets in exclusive mode")
        yield


async def test_a_member_that_takes_partitions_over_commits_where_it_is_without_a_new_sample(pipeline: Pipeline) -> None:
    sender = Sender(pipeline)
    async with AsyncExitStack() as stack:
        group = Group(pipeline, stack)
        first = await group.join("first")
        await sender.send()
        await group.wait_until_shared(first)
        await sender.expect_each_sample_once()
    await group.forget_progress()
    async with AsyncExitStack() as stack:
        group = Group(pipeline, stack)
        second = await group.join("second")
        await group.wait_until_shared(second)
        await group.expect_lag([second], 0)


async def test_members_that_join_leave_die_and_freeze_store_each_sample_once(pipeline: Pipeline) -> None:
    sender = Sender(pipeline)
    async with AsyncExitStack() as stack:
        group = Group(pipeline, stack)
        first = await group.join("first")
        await sender.send()
        await group.wait_until_shared(first)

        second = await group.join("second")
        await sender.send()
        kept, _ = await group.wait_until_shared(first, second)
        revoked = [set(record["partitions"]) for record in group.events("first", "partitions_revoked")]
        assert all(not partitions & kept for partitions in revoked), "the partitions that stay are never revoked"
        await sender.expect_each_sample_once()
        await group.expect_lag([first, second], 0)

        # Frozen beyond its session, then resumed with messages in memory.
        second.process.send_signal(signal.SIGSTOP)
        await sender.send()
        await group.wait_until_shared(first)
        await sender.expect_each_sample_once()
        second.process.send_signal(signal.SIGCONT)
        await sender.send()
        await group.wait_until_shared(first, second)
        assert group.events("second", "partitions_lost")
        await sender.expect_each_sample_once()

        third = await group.join("third")
        await group.wait_until_shared(first, second, third)
        await group.expect_lag([first, second, third], 0)
        await sender.send()
        second.process.kill()
        await group.wait_until_shared(first, third)
        await sender.expect_each_sample_once()
        await group.expect_lag([first, third], 0)
        assert await first.terminate() == 0
        await sender.send()
        await group.wait_until_shared(third)
        await sender.expect_each_sample_once()
        await group.expect_lag([third], 0)
        assert await third.terminate() == 0


async def test_a_slow_database_pauses_reading_without_leaving_the_group(pipeline: Pipeline) -> None:
    """Writes are blocked for longer than a member may take between two polls; meanwhile another member joins."""
    sender = Sender(pipeline)
    paused = "predictive_scaling_ingest_paused_seconds_total"
    async with AsyncExitStack() as stack:
        group = Group(pipeline, stack)
        first = await group.join("first")
        await sender.send(10)
        await group.wait_until_shared(first)
        await sender.expect_each_sample_once()
        async with blocked_writes(pipeline):
            await sender.send(150)
            await group.expect_lag([first], 150)

            async def has_paused_longer_than_allowed() -> bool:
                return (await first.metric(paused) or 0.0) > POLL_INTERVAL_SECONDS + 1

            await eventually(has_paused_longer_than_allowed)
            status, health = await first.get("/health")
            assert (status, json.loads(health)["checks"]["reading"]["status"]) == (200, "degraded")
            assert "reading from Kafka has been paused for" in health
            assert (await first.get("/health/live"))[0] == 200
            assert not group.events("first", "partitions_lost") + group.events("first", "partitions_revoked")
            second = await group.join("second")
            await group.wait_until_shared(first, second)
            await group.expect_lag([first, second], 150)
        await sender.expect_each_sample_once()
        await group.expect_lag([first, second], 0)
        # The partition that moved while it was paused comes back, and is read.
        assert await second.terminate() == 0
        await sender.send(10)
        await group.wait_until_shared(first)
        await sender.expect_each_sample_once()
        assert json.loads((await first.get("/health"))[1])["checks"]["reading"]["status"] == "healthy"
        assert not group.events("first", "partitions_lost")
        assert await first.terminate() == 0


async def test_members_of_an_earlier_version_are_replaced_without_loss(pipeline: Pipeline) -> None:
    """Earlier versions used the strategy `range`, which Kafka does not mix with the cooperative one."""
    sender = Sender(pipeline)
    earlier = Consumer(
        {
            "bootstrap.servers": pipeline.bootstrap_servers,
            "group.id": pipeline.group,
            "partition.assignment.strategy": "range",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    await sender.send(10)
    earlier.subscribe([pipeline.topic])
    try:
        assert await asyncio.to_thread(earlier.consume, 1, 60)
        async with AsyncExitStack() as stack:
            group = Group(pipeline, stack)
            member = await group.join("member")

            async def waits() -> bool:
                try:
                    return "Inconsistent group protocol" in (await member.get("/health"))[1]
                except OSError:
                    return False

            await eventually(waits)
            assert (await member.get("/health/ready"))[0] == 200, "a rolling update goes on"
            await asyncio.to_thread(earlier.close)
            await sender.expect_each_sample_once()
            await group.expect_lag([member], 0)
            assert json.loads((await member.get("/health"))[1])["checks"]["reading"]["status"] == "healthy"
            assert await member.terminate() == 0
    finally:
        earlier.close()
