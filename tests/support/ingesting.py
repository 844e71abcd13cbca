"""`predictive-scaling ingest` as a process of its own, and messages for it."""

import asyncio
import json
import os
import signal
import sys
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where samples come from and go to."""

    bootstrap_servers: str
    topic: str
    dead_letter_topic: str
    database_url: str
    log: Path

    def environment(self, port: int, **settings: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_SCALING_")},
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "PREDICTIVE_SCALING_HOST": "127.0.0.1",
            "PREDICTIVE_SCALING_INGEST_PORT": str(port),
            "PREDICTIVE_SCALING_KAFKA_TOPIC": self.topic,
            "PREDICTIVE_SCALING_KAFKA_GROUP": f"of-{self.topic}",
            "PREDICTIVE_SCALING_KAFKA_DEAD_LETTER_TOPIC": self.dead_letter_topic,
            "PREDICTIVE_SCALING_KAFKA_OPTIONS": json.dumps(
                {"session.timeout.ms": "6000", "topic.metadata.refresh.interval.ms": "1000"}
            ),
            "PREDICTIVE_SCALING_INGEST_BATCH_WAIT": "100ms",
            **settings,
        }


@dataclass(frozen=True, slots=True)
class Ingester:
    """One running process."""

    process: asyncio.subprocess.Process
    port: int

    async def ended(self, seconds: float = 30.0) -> int:
        """Its exit code, negative for a signal."""
        return await exit_code(self.process, seconds)

    async def up(self) -> None:
        """Until it answers."""

        async def answers() -> bool:
            try:
                return (await self.get("/health/live"))[0] == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(answers)

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

    async def metric(self, line: str) -> float | None:
        """The value of the metric line that begins so."""
        _, text = await self.get("/metrics")
        found = [float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line)]
        return sum(found) if found else None


@asynccontextmanager
async def ingesting(place: Place, **settings: str) -> AsyncGenerator[Ingester]:
    """`predictive-scaling ingest`, killed at the end unless it ended before."""
    port = free_port()
    with place.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command("ingest"), env=place.environment(port, **settings), stdout=log, stderr=log
        )
    try:
        yield Ingester(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(place: Place, *arguments: str, **settings: str) -> tuple[int, str]:
    """A subcommand's exit code and all it said."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=place.environment(0, **settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def command(*arguments: str) -> Sequence[str]:
    return (sys.executable, "-m", "predictive_scaling", *arguments)


async def send(place: Place, messages: Sequence[bytes | Mapping[str, Any]], key: str = "checkout") -> None:
    """Produce messages in order, and wait for the broker to have them all."""

    def produce() -> None:
        failed: list[KafkaError] = []
        producer = Producer({"bootstrap.servers": place.bootstrap_servers, "linger.ms": 5})
        for number, message in enumerate(messages):
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            producer.produce(
                place.topic, raw, key=key, on_delivery=lambda error, _: failed.append(error) if error else None
            )
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(30) == 0
        assert not failed

    await asyncio.to_thread(produce)


async def received(place: Place, count: int) -> list[dict[str, str]]:
    """The headers of `count` messages of the dead-letter topic."""

    def consume() -> list[dict[str, str]]:
        consumer = Consumer(
            {"bootstrap.servers": place.bootstrap_servers, "group.id": "reader", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([place.dead_letter_topic])
        found = consumer.consume(count, timeout=20)
        consumer.close()
        return [{name: _text(value) for name, value in message.headers() or []} for message in found]

    return await asyncio.to_thread(consume)


async def rows(place: Place, query: str) -> list[tuple[Any, ...]]:
    """What a query finds; an unreachable database finds nothing yet."""
    async with (
        Database(place.database_url, purpose="tests", max_size=1) as database,
        database.connection() as connection,
    ):
        return await (await connection.execute(query.encode())).fetchall()


async def scalar(place: Place, query: str) -> Any:
    return (await rows(place, query))[0][0]


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
