"""What ingest asks Kafka beside reading: which topic this is, who reads, and to set the group back."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # pyright: ignore[reportPrivateImportUsage] (its public name)

from predictive_scaling.errors import IngestRunningError, KafkaUnavailableError

LIMIT_SECONDS = 10.0


class KafkaAdministration:
    """Blocking calls of librdkafka, each in a thread and within LIMIT_SECONDS."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str]) -> None:
        properties: dict[str, Any] = {**options, "bootstrap.servers": bootstrap_servers}
        self._where = bootstrap_servers
        self._client = AdminClient(properties, logger=logging.getLogger("librdkafka"))

    async def topic_id(self, topic: str) -> str:
        """Kafka's own id of a topic, which a topic made again does not have; empty where the broker tells none."""

        def ask() -> str:
            described = self._client.describe_topics(TopicCollection([topic]), request_timeout=LIMIT_SECONDS)
            return str(described[topic].result(LIMIT_SECONDS).topic_id)

        try:
            return await asyncio.to_thread(ask)
        except (KafkaException, TimeoutError):
            return ""

    async def first_offsets(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """The first offset that each partition still holds. Raises KafkaUnavailableError."""
        earliest: OffsetSpec = OffsetSpec.earliest()  # pyright: ignore[reportAssignmentType] (typed as if it could be None)
        wanted = {TopicPartition(topic, partition): earliest for partition in partitions}

        def ask() -> dict[int, int]:
            found = self._client.list_offsets(wanted, request_timeout=LIMIT_SECONDS)
            return {partition.partition: future.result(LIMIT_SECONDS).offset for partition, future in found.items()}

        return await self._ask(f"the offsets of {topic}", ask)

    async def committed(self, group: str, topic: str, partitions: list[int]) -> dict[int, int]:
        """What the group has committed of each partition; 0 where it has not. Raises KafkaUnavailableError."""
        wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in partitions])]

        def ask() -> dict[int, int]:
            listed = self._client.list_consumer_group_offsets(wanted, request_timeout=LIMIT_SECONDS)
            found = listed[group].result(LIMIT_SECONDS).topic_partitions
            return {partition.partition: max(0, partition.offset) for partition in found}

        return await self._ask(f"the committed offsets of the group {group}", ask)

    async def refuse_running(self, group: str) -> None:
        """Raises IngestRunningError while the group has members, KafkaUnavailableError when that is not known."""

        def ask() -> int:
            described = self._client.describe_consumer_groups([group], request_timeout=LIMIT_SECONDS)
            return len(described[group].result(LIMIT_SECONDS).members)

        if members := await self._ask(f"the group {group}", ask):
            raise IngestRunningError(
                f"{members} of `predictive-scaling ingest` read as group {group}; stop them first (scale their "
                "Deployment to 0), then rewind, then start them again"
            )

    async def set_group_back(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets for a group without members. Raises KafkaUnavailableError."""
        partitions = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]

        def ask() -> None:
            wanted = [ConsumerGroupTopicPartitions(group, partitions)]
            altered = self._client.alter_consumer_group_offsets(wanted, request_timeout=LIMIT_SECONDS)
            altered[group].result(LIMIT_SECONDS)

        await self._ask(f"to set the group {group} back", ask)

    async def _ask(self, what: str, ask: Any) -> Any:
        try:
            return await asyncio.to_thread(ask)
        except (KafkaException, TimeoutError) as error:
            raise KafkaUnavailableError(f"Kafka at {self._where} was asked for {what} and answered: {error}") from error
