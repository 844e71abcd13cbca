"""The dead-letter topic, best effort; the table `dead_letters` is complete."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from predictive_scaling.ingest.metrics import UNPUBLISHED
from predictive_scaling.storage.dead_letters import DeadLetter

log = structlog.get_logger(__name__)

MAX_BYTES = 900_000
"""Longer messages are truncated: brokers accept one megabyte by default."""
TIMEOUT_SECONDS = 10.0


class DeadLetterTopic:
    """Publishes dead letters before their batch is committed: a crash may duplicate them but loses none.

    Value: the original message, truncated to MAX_BYTES. Headers: reason, detail, topic, partition, offset, size.
    """

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str], topic: str) -> None:
        properties: dict[str, Any] = {
            "delivery.timeout.ms": round(TIMEOUT_SECONDS * 1000),
            **options,
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
        }
        self._producer = Producer(properties, logger=logging.getLogger("librdkafka"))
        self._topic = topic

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send and wait for the acknowledgement; failures are logged and counted, not raised."""
        if letters:
            failures = await asyncio.to_thread(self._send, letters)
            if failures:
                UNPUBLISHED.inc(len(failures))
                log.warning("dead_letters_unpublished", topic=self._topic, count=len(failures), error=failures[0])

    def _send(self, letters: Sequence[DeadLetter]) -> list[str]:
        failures: list[str] = []

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failures.append(error.str())

        for letter in letters:
            try:
                self._producer.produce(
                    self._topic, letter.raw[:MAX_BYTES], headers=_headers(letter), on_delivery=delivered
                )
            except (BufferError, KafkaException) as error:
                failures.append(str(error))
        self._producer.flush(TIMEOUT_SECONDS + 1)
        return failures


def _headers(letter: DeadLetter) -> dict[str, str | bytes | None]:
    return {
        "reason": letter.reason,
        "detail": letter.detail.encode("utf-8", "replace"),
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "size": str(letter.raw_size),
    }
