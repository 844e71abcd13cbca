"""Does Kafka answer? librdkafka reconnects by itself, so one client is kept for the life of the process."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from predictive_scaling.telemetry.checks import Check

_LIMIT_SECONDS = 2.0


class KafkaProbe:
    """Asks the brokers for the topic's metadata."""

    def __init__(self, bootstrap_servers: str, topic: str, options: Mapping[str, str]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._options = options
        self._client: AdminClient | None = None
        self._last_error = ""

    async def __call__(self) -> None:
        """Raises ConnectionError with librdkafka's reason, or LookupError when the topic is missing."""
        await asyncio.to_thread(self._ask)

    def _ask(self) -> None:
        if self._client is None:
            self._client = self._connect()
        try:
            metadata = self._client.list_topics(self._topic, timeout=_LIMIT_SECONDS - 0.2)
        except KafkaException as error:
            reason = self._last_error or str(error.args[0])
            raise ConnectionError(f"Kafka at {self._bootstrap_servers} does not answer: {reason}") from None
        self._last_error = ""
        topic = metadata.topics.get(self._topic)
        if topic is None or topic.error is not None:
            raise LookupError(f"Kafka has no topic {self._topic}; create it, or set PREDICTIVE_SCALING_KAFKA_TOPIC")

    def _connect(self) -> AdminClient:
        options: dict[str, Any] = {
            **self._options,
            "bootstrap.servers": self._bootstrap_servers,
            "allow.auto.create.topics": False,
            "error_cb": self._remember,
        }
        return AdminClient(options, logger=logging.getLogger("librdkafka"))

    def _remember(self, error: KafkaError) -> None:
        self._last_error = error.str()


def kafka_check(
    bootstrap_servers: str, topic: str, options: Mapping[str, str] | None = None, *, required: bool = False
) -> Check:
    """Do the brokers answer, and is the topic there? `ingest` requires them, the others work without for a while."""
    return Check("kafka", KafkaProbe(bootstrap_servers, topic, options or {}), required, _LIMIT_SECONDS)
