"""`predictive-scaling ingest` as a separate process, and messages for it."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from confluent_kafka import Consumer, KafkaError, Producer

from predictive_scaling.stack.ports import free_port
from predictive_scaling.storage.database import Database
from tests.support.eventually import eventually, exit_code
from tests.support.forked_program import ForkedProgram, start_program


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The topics that ingest reads and writes, and its database and log file."""

    bootstrap_servers: str
    topic: str
    dead_letter_topic: str
    database_url: str
    log: Path

    @property
    def group(self) -> str:
        """The consumer group of ingest."""
        return f"of-{self.topic}"

    def environment(self, port: int, **settings: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_SCALING_")},
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "PREDICTIVE_SCALING_HOST": "127.0.0.1",
            "PREDICTIVE_SCALING_INGEST_PORT": str(port),
            "PREDICTIVE_SCALING_KAFKA_TOPIC": self.topic,
            "PREDICTIVE_SCALING_KAFKA_GROUP": self.group,
            "PREDICTIVE_SCALING_KAFKA_DEAD_LETTER_TOPIC": self.dead_letter_topic,
            "PREDICTIVE_SCALING_KAFKA_OPTIONS": json.dumps(
                {"session.timeout.ms": "6000", "topic.metadata.refresh.interval.ms": "1000"}
            ),
            "PREDICTIVE_SCALING_INGEST_BATCH_WAIT": "100ms",
            **settings,
        }


@dataclass(frozen=True, slots=True)
class Ingester:
    """One running ingest process."""

    process: ForkedProgram
    port: int

    async def wait_for_exit(self, seconds: float = 30.0) -> int:
        """Wait for its end and return the exit code, negative for a signal."""
        return await exit_code(self.process, seconds)

    async def wait_until_live(self) -> None:
        """Wait until its liveness check responds."""

        async def is_live() -> bool:
            try:
                return (await self.get("/health/live"))[0] == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(is_live)

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.wait_for_exit()

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

    async def metric(self, prefix: str) -> float | None:
        """Return the sum of the metric lines that begin with `line`; None without any."""
        _, text = await self.get("/metrics")
        values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(prefix)]
        return sum(values) if values else None


@asynccontextmanager
async def ingesting(pipeline: Pipeline, **settings: str) -> AsyncGenerator[Ingester]:
    """Run `predictive-scaling ingest`; it is killed at the end if it still runs."""
    port = free_port()
    process = start_program("ingest", environment=pipeline.environment(port, **settings), output=pipeline.log)
    try:
        yield Ingester(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(pipeline: Pipeline, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run a subcommand; return its exit code and its output."""
    with tempfile.NamedTemporaryFile() as output:
        environment = pipeline.environment(0, **settings)
        process = start_program(*arguments, environment=environment, output=Path(output.name))
        return await process.wait(), output.read().decode()


async def send(
    pipeline: Pipeline,
    messages: Sequence[bytes | Mapping[str, Any]],
    key: str = "checkout",
    format_name: str | None = None,
) -> None:
    """Produce messages in order, and wait until the broker has acknowledged all of them. format_name: their header."""
    headers: dict[str, str | bytes | None] = {} if format_name is None else {"format": format_name}

    def produce() -> None:
        errors: list[KafkaError] = []
        producer = Producer({"bootstrap.servers": pipeline.bootstrap_servers, "linger.ms": 5})
        for number, message in enumerate(messages):
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            producer.produce(
                pipeline.topic,
                raw,
                key=key,
                headers=headers,
                on_delivery=lambda error, _: errors.append(error) if error else None,
            )
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(240) == 0
        assert not errors

    await asyncio.to_thread(produce)


async def dead_letter_headers(pipeline: Pipeline, count: int) -> list[dict[str, str]]:
    """Return the headers of `count` messages of the dead-letter topic."""

    def consume() -> list[dict[str, str]]:
        consumer = Consumer(
            {"bootstrap.servers": pipeline.bootstrap_servers, "group.id": "reader", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([pipeline.dead_letter_topic])
        messages = consumer.consume(count, timeout=240)
        consumer.close()
        return [{name: _text(value) for name, value in message.headers() or []} for message in messages]

    return await asyncio.to_thread(consume)


async def rows(pipeline: Pipeline, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    async with (
        Database(pipeline.database_url, purpose="tests", max_size=1) as database,
        database.connection() as connection,
    ):
        return await (await connection.execute(query.encode())).fetchall()


async def scalar(pipeline: Pipeline, query: str) -> Any:
    return (await rows(pipeline, query))[0][0]


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
