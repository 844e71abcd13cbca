"""Creates the topics of ingest where they are missing and the installation allows it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage] (its public name)

from predictive_scaling.errors import KafkaUnavailableError
from predictive_scaling.periodic_task import PeriodicTask

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 60.0
TIMEOUT_SECONDS = 10.0
BROKER_DEFAULT = -1
"""The replication factor that the brokers choose."""


@dataclass(slots=True)
class Topics:
    """The topics with their numbers of partitions; an existing topic stays as it is."""

    bootstrap_servers: str
    options: Mapping[str, str]
    partitions: Mapping[str, int]
    _client: AdminClient | None = field(default=None)

    def task(self) -> PeriodicTask:
        """Return the task that creates missing topics, also those that are deleted later."""
        return PeriodicTask("topics", self.create_missing, INTERVAL_SECONDS, on_standby=True)

    async def create_missing(self) -> list[str]:
        """Create the missing topics and return their names. Raises KafkaUnavailableError with the broker's reason."""
        return await asyncio.to_thread(self._create_missing)

    def _create_missing(self) -> list[str]:
        if self._client is None:
            properties: dict[str, Any] = {**self.options, "bootstrap.servers": self.bootstrap_servers}
            self._client = AdminClient(properties, logger=logging.getLogger("librdkafka"))
        try:
            known = self._client.list_topics(timeout=TIMEOUT_SECONDS).topics
        except KafkaException as error:
            raise KafkaUnavailableError(
                f"Kafka at {self.bootstrap_servers} did not list its topics: {error}"
            ) from error
        missing = [
            NewTopic(name, num_partitions=partitions, replication_factor=BROKER_DEFAULT)
            for name, partitions in self.partitions.items()
            if name not in known
        ]
        requested = self._client.create_topics(missing, request_timeout=TIMEOUT_SECONDS) if missing else {}
        return [name for name, future in requested.items() if self._is_created(name, future)]

    def _is_created(self, name: str, future: Any) -> bool:
        try:
            future.result(TIMEOUT_SECONDS)
        except (KafkaException, TimeoutError) as error:
            if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False  # another replica was faster
            raise KafkaUnavailableError(
                f"Kafka did not create the topic {name}: {error}; create it, or allow the user of ingest to create it"
            ) from error
        log.info("topic_created", topic=name, partitions=self.partitions[name])
        return True
