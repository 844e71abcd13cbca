"""Sends the demand to the product through Kafka, as a metrics agent does."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import KafkaError, Producer

from predictive_scaling.clock import Clock
from predictive_scaling.errors import StackError
from predictive_scaling.stack.demo.scenario import METRIC, SERVICE, DemoScenario
from predictive_scaling.stack.demo.workload import MINUTE

TOPIC = "metrics.raw"
_FLUSH_SECONDS = 30
_BATCH_SIZE = 20_000


class DemandProducer:
    """A producer of samples. Leaving its context waits until Kafka has acknowledged all, or raises StackError."""

    def __init__(self, bootstrap_servers: str, topic: str = TOPIC) -> None:
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "linger.ms": 2, "enable.idempotence": True, "log_level": 0}
        )
        self._refused: KafkaError | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.flush()

    async def history(self, scenario: DemoScenario, until: datetime) -> int:
        """Send the samples before `until`; returns their number."""
        samples = scenario.samples(scenario.demand.start, until)
        for begin in range(0, len(samples), _BATCH_SIZE):
            self._send(samples[begin : begin + _BATCH_SIZE])
            await self.flush()
        return len(samples)

    async def replay(self, scenario: DemoScenario, since: datetime, clock: Clock) -> None:
        """Send the sample of each minute from `since` on at the minute's end, until cancelled."""
        minute = since
        while True:
            await clock.sleep(minute + MINUTE - clock.now())
            self._send(scenario.samples(minute, minute + MINUTE))
            self._raise_refusal()
            minute += MINUTE

    async def flush(self) -> None:
        """Wait until Kafka has acknowledged all samples. Raises StackError when it does not."""
        waiting = await asyncio.to_thread(self._producer.flush, _FLUSH_SECONDS)
        if waiting:
            raise StackError(f"Kafka did not acknowledge {waiting} samples within {_FLUSH_SECONDS} s; see its log")
        self._raise_refusal()

    def _send(self, samples: Iterable[tuple[datetime, float]]) -> None:
        for at, value in samples:
            message = {"service_name": SERVICE, "metric_name": METRIC, "value": value, "timestamp": at.timestamp()}
            encoded = msgspec.json.encode(message)
            self._producer.produce(self._topic, value=encoded, key=SERVICE, on_delivery=self._delivered)
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, message: object) -> None:
        del message
        self._refused = self._refused or error

    def _raise_refusal(self) -> None:
        if self._refused is not None:
            raise StackError(f"Kafka refused samples for {self._topic}: {self._refused}")
