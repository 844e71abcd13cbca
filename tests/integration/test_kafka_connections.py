"""Topics that ingest creates, and brokers that require TLS and a password."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient  # pyright: ignore[reportPrivateImportUsage] (its public name)

from predictive_scaling.clock import WallClock
from predictive_scaling.errors import KafkaUnavailableError
from predictive_scaling.ingest.topics import Topics
from predictive_scaling.stack.certificates import new_authority
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.ports import LOOPBACK, free_port
from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, ingesting, scalar, send
from tests.support.secured_kafka import PASSWORD, SecuredKafka

pytestmark = pytest.mark.integration

COUNT = "select count(*) from metrics_raw"
NOW = WallClock().now()
SAMPLE = {"service_name": "checkout", "metric_name": "rps", "value": 1, "timestamp": NOW.timestamp()}


async def partitions_of(bootstrap_servers: str, *topics: str) -> list[int]:
    """Return the number of partitions of each topic; 0 for a missing one."""
    known = (
        await asyncio.to_thread(AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics, timeout=30)
    ).topics
    return [len(known[topic].partitions) if topic in known else 0 for topic in topics]


async def test_missing_topics_are_created_and_existing_ones_are_kept(
    kafka: Kafka, topic: str, migrated_database_url: str, tmp_path: Path
) -> None:
    if not kafka.is_real:
        pytest.skip("the mock cluster creates topics itself")
    missing, letters = f"missing-{uuid4()}", f"letters-{uuid4()}"
    pipeline = Pipeline(kafka.bootstrap_servers, missing, letters, migrated_database_url, tmp_path / "ingest.log")
    async with ingesting(
        pipeline, PREDICTIVE_SCALING_KAFKA_CREATE_TOPICS="true", PREDICTIVE_SCALING_KAFKA_PARTITIONS="3"
    ) as ingester:
        await eventually(lambda: partitions_of(kafka.bootstrap_servers, missing, letters), [3, 1].__eq__)
        await send(pipeline, [SAMPLE])
        await eventually(lambda: scalar(pipeline, COUNT), lambda count: count == 1)
        assert await ingester.terminate() == 0
    topics = Topics(kafka.bootstrap_servers, {}, {topic: 1, missing: 7})
    assert await topics.create_missing() == []
    assert await partitions_of(kafka.bootstrap_servers, topic, missing) == [4, 3]


async def test_a_broker_that_does_not_answer_is_named() -> None:
    topics = Topics(f"{LOOPBACK}:{free_port()}", {"socket.timeout.ms": "1000"}, {"metrics": 1})
    with pytest.raises(KafkaUnavailableError, match="did not list its topics"):
        await topics.create_missing()


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncGenerator[SecuredKafka]:
    authority = new_authority(tmp_path, "authority", NOW)
    files = authority.issue("kafka", "kafka", hosts=[LOOPBACK])
    kafka = SecuredKafka(tmp_path / "kafka", print, files.certificate, files.key, authority.file)
    await kafka.start()
    if not kafka.is_real:
        pytest.skip("the mock cluster has no TLS")
    yield kafka
    await kafka.stop()


async def test_samples_are_read_over_tls_with_a_password(
    secured: SecuredKafka, migrated_database_url: str, tmp_path: Path
) -> None:
    plain = Pipeline(
        secured.bootstrap_servers, "metrics.raw", "metrics.dead-letter", migrated_database_url, tmp_path / "ingest.log"
    )
    await send(plain, [SAMPLE, b"poison"])

    def with_options(**options: str) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": secured.secured_servers,
            "PREDICTIVE_SCALING_KAFKA_OPTIONS": json.dumps(options),
        }

    trusting_nobody = {**secured.options(), "ssl.ca.location": str(tmp_path / "kafka.crt")}
    for options, reason in (
        (secured.options(password="wrong-password"), "Authentication failed"),
        (trusting_nobody, "certificate verify failed"),
    ):
        async with ingesting(plain, **with_options(**options)) as ingester:
            await ingester.wait_until_live()

            await eventually(lambda: ingester.get("/health"), lambda answer: reason in answer[1])  # noqa: B023
            assert await ingester.terminate() == 0
    assert await scalar(plain, COUNT) == 0
    async with ingesting(plain, **with_options(**secured.options())) as ingester:
        await eventually(lambda: scalar(plain, COUNT), lambda count: count == 1)
        await eventually(lambda: scalar(plain, "select count(*) from dead_letters"), lambda count: count == 1)
        assert await ingester.terminate() == 0
    log = plain.log.read_text()
    assert PASSWORD not in log
    assert "wrong-password" not in log
