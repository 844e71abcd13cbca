"""Administrative requests of ingest to Kafka: topic id, group members, group offsets."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # pyright: ignore[reportPrivateImportUsage] (its public name)

from predictive_scaling.errors import IngestRunningError, KafkaUnavailableError

TIMEOUT_SECONDS = 10.0


class KafkaAdministration:
    """Blocking calls of librdkafka, each in a thread and within TIMEOUT_SECONDS."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str]) -> None:
        properties: dict[str, Any] = {**options, "bootstrap.servers": bootstrap_servers}
        self._bootstrap_servers = bootstrap_servers
        self._client = AdminClient(properties, logger=logging.getLogger("librdkafka"))

    async def topic_id(self, topic: str) -> str:
        """Return Kafka's id of a topic, which changes when the topic is recreated; empty if the broker has none."""

        def call() -> str:
            described = self._client.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_SECONDS)
            return str(described[topic].result(TIMEOUT_SECONDS).topic_id)

        try:
            return await asyncio.to_thread(call)
        except (KafkaException, TimeoutError):
            return ""

    async def first_offsets(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """Return the first available offset of each partition. Raises KafkaUnavailableError."""
        earliest: OffsetSpec = OffsetSpec.earliest()  # pyright: ignore[reportAssignmentType] (typed as if it could be None)
        request = {TopicPartition(topic, partition): earliest for partition in partitions}

        def call() -> dict[int, int]:
            futures = self._client.list_offsets(request, request_timeout=TIMEOUT_SECONDS)
            return {partition.partition: future.result(TIMEOUT_SECONDS).offset for partition, future in futures.items()}

        return await self._run(f"the offsets of {topic}", call)

    async def committed(self, group: str, topic: str, partitions: list[int]) -> dict[int, int]:
        """Return the committed offset of each partition; 0 without one. Raises KafkaUnavailableError."""
        request = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in partitions])]

        def call() -> dict[int, int]:
            listed = self._client.list_consumer_group_offsets(request, request_timeout=TIMEOUT_SECONDS)
            offsets = listed[group].result(TIMEOUT_SECONDS).topic_partitions
            return {partition.partition: max(0, partition.offset) for partition in offsets}

        return await self._run(f"the committed offsets of the group {group}", call)

    async def require_no_members(self, group: str) -> None:
        """Raise IngestRunningError while the group has members, KafkaUnavailableError when that is unknown."""

        def call() -> int:
            described = self._client.describe_consumer_groups([group], request_timeout=TIMEOUT_SECONDS)
            return len(described[group].result(TIMEOUT_SECONDS).members)

        if members := await self._run(f"the group {group}", call):
            raise IngestRunningError(
                f"{members} `predictive-scaling ingest` processes are in the group {group}; stop them (scale their "
                "Deployment to 0), then rewind, then start them again"
            )

    async def rewind_group(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets of a group without members. Raises KafkaUnavailableError."""
        partitions = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]

        def call() -> None:
            request = [ConsumerGroupTopicPartitions(group, partitions)]
            altered = self._client.alter_consumer_group_offsets(request, request_timeout=TIMEOUT_SECONDS)
            altered[group].result(TIMEOUT_SECONDS)

        await self._run(f"a reset of the group {group}", call)

    async def _run(self, purpose: str, call: Any) -> Any:
        try:
            return await asyncio.to_thread(call)
        except (KafkaException, TimeoutError) as error:
            raise KafkaUnavailableError(
                f"Kafka at {self._bootstrap_servers} failed to return {purpose}: {error}"
            ) from error
