"""The health check of Kafka. librdkafka reconnects itself, so the client lives as long as the process."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from predictive_scaling.telemetry.checks import Check

_TIMEOUT_SECONDS = 2.0


class KafkaProbe:
    """Requests the metadata of the topic from the brokers."""

    def __init__(self, bootstrap_servers: str, topic: str, options: Mapping[str, str]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._options = options
        self._client: AdminClient | None = None
        self._last_error = ""

    async def __call__(self) -> None:
        """Raise ConnectionError with librdkafka's reason, or LookupError when the topic is missing."""
        await asyncio.to_thread(self._fetch_metadata)

    def _fetch_metadata(self) -> None:
        if self._client is None:
            self._client = self._connect()
        try:
            metadata = self._client.list_topics(self._topic, timeout=_TIMEOUT_SECONDS - 0.2)
        except KafkaException as error:
            self._client.poll(0)  # delivers the reasons, such as a refused password, to _record_error
            reason = self._last_error or str(error.args[0])
            raise ConnectionError(f"Kafka at {self._bootstrap_servers} does not respond: {reason}") from None
        self._last_error = ""
        topic = metadata.topics.get(self._topic)
        if topic is None or topic.error is not None:
            raise LookupError(f"Kafka has no topic {self._topic}; create it, or set PREDICTIVE_SCALING_KAFKA_TOPIC")

    def _connect(self) -> AdminClient:
        options: dict[str, Any] = {
            **self._options,
            "bootstrap.servers": self._bootstrap_servers,
            "allow.auto.create.topics": False,
            "error_cb": self._record_error,
        }
        return AdminClient(options, logger=logging.getLogger("librdkafka"))

    def _record_error(self, error: KafkaError) -> None:
        self._last_error = error.str()


def kafka_check(
    bootstrap_servers: str, topic: str, options: Mapping[str, str] | None = None, *, required: bool = False
) -> Check:
    """Return a check that the brokers respond and the topic exists. Only `ingest` requires them."""
    return Check("kafka", KafkaProbe(bootstrap_servers, topic, options or {}), required, _TIMEOUT_SECONDS)
