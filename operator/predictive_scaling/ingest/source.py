"""The Kafka consumer of ingest: messages, offsets, lag. All calls of librdkafka run in a dedicated thread.

Rebalances are cooperative: reading of the partitions that stay with this member continues while others move. A
rebalance only records the change. New partitions are read after `take_over` has set their offsets, so that reading
always starts at an offset that was checked against the database.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import KafkaUnavailableError, SettingsError
from predictive_scaling.ingest.batch import Message
from predictive_scaling.ingest.formats import HEADER

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

LIBRARY_LOG = logging.getLogger("librdkafka")
LIMIT_SECONDS = 10.0
CHUNK = 2_000
MAX_BATCH_BYTES = 32 * 1024 * 1024

OURS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "cooperative-sticky",
    "allow.auto.create.topics": False,
    "max.poll.interval.ms": 300_000,
    # Delay until a created or recreated topic is detected.
    "topic.metadata.refresh.interval.ms": 30_000,
    # Prefetch limit in kilobytes: bounds the memory while the database is slow.
    "queued.max.messages.kbytes": 32_768,
}
# Exactly-once processing depends on these, and the callbacks on incremental assignments.
_FIXED = (
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "partition.assignment.strategy",
    "group.protocol",
    "group.id",
    "bootstrap.servers",
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets of a partition: the first, the one after the last, and the group's committed offset."""

    low: int
    high: int
    committed: int | None


def consumer_options(bootstrap_servers: str, group: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the properties of the consumer. Raises SettingsError for an option that ingest sets itself."""
    for name in _FIXED:
        if name in options:
            raise SettingsError(
                f"PREDICTIVE_SCALING_KAFKA_OPTIONS sets {name}, which ingest decides itself; leave it out"
            )
    return {**OURS, **options, "bootstrap.servers": bootstrap_servers, "group.id": group}


class KafkaSource:
    """A member of the consumer group of a topic.

    generation: changes with each assignment and revocation of partitions.
    assigned: the partitions that are read; messages of others belong to another member.
    pending: the assigned partitions that wait for `take_over`.
    needs_commit: the offsets that tools for the lag show may differ from the positions: partitions were taken over, or
    a commit failed.
    """

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self.generation = 0
        self.assigned: frozenset[int] = frozenset()
        self.pending: frozenset[int] = frozenset()
        self.needs_commit = False
        self.last_error: str | None = None
        self._held: list[Message] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self._consumer = _construct(
            lambda: Consumer({**options, "error_cb": self._failed, "on_commit": self._committed}, logger=LIBRARY_LOG)
        )

    async def start(self) -> None:
        """Join the group; a later poll assigns partitions."""
        await self._run(
            lambda: self._consumer.subscribe(
                [self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        )

    async def poll(self, limit: int, wait_seconds: float) -> list[Message]:
        """Return up to `limit` messages, fewer after `wait_seconds` or MAX_BATCH_BYTES; keeps the membership."""
        return await self._run(lambda: self._poll(limit, wait_seconds))

    async def hold(self, seconds: float) -> None:
        """Handle rebalances and keep the membership for this time while all partitions are paused."""
        await self._run(lambda: self._hold(seconds))

    async def take_over(self, starts: Mapping[int, int]) -> None:
        """Start reading pending partitions at these offsets; those that were revoked meanwhile are left out.

        Raises KafkaUnavailableError when the group does not accept them at present.
        """

        def assign() -> None:
            taken = self.pending & starts.keys()
            partitions = [TopicPartition(self.topic, partition, starts[partition]) for partition in sorted(taken)]
            try:
                self._consumer.incremental_assign(partitions)
            except KafkaException as error:
                raise KafkaUnavailableError(f"Kafka did not assign {self.topic}: {error.args[0]}") from error
            self.assigned |= taken
            self.pending -= taken
            self.needs_commit = True

        await self._run(assign)

    async def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Return the bounds of these partitions. Raises KafkaUnavailableError."""
        return await self._run(lambda: self._bounds(partitions))

    async def lag(self, positions: Mapping[int, int], *, refresh: bool) -> dict[int, int]:
        """Return the lag of each partition. refresh: query the broker, needed while paused; else use the last fetch."""
        return await self._run(lambda: self._lag(positions, refresh=refresh))

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Commit the positions of the partitions that are still assigned, for tools that show the lag; do not wait."""

        def commit() -> None:
            offsets = [
                TopicPartition(self.topic, partition, offset)
                for partition, offset in positions.items()
                if partition in self.assigned
            ]
            self.needs_commit = False
            if not offsets:
                return
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:
                self._committed(error.args[0], offsets)

        await self._run(commit)

    async def pause(self) -> None:
        """Stop fetching; polls return no messages."""
        await self._run(lambda: self._consumer.pause(self._partitions()))

    async def resume(self) -> None:
        """Resume fetching."""
        await self._run(lambda: self._consumer.resume(self._partitions()))

    async def close(self) -> None:
        """Leave the group."""
        await self._run(self._consumer.close)
        self.assigned = self.pending = frozenset()
        self._thread.shutdown()

    async def _run(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _poll(self, limit: int, wait_seconds: float) -> list[Message]:
        until = monotonic() + wait_seconds
        messages, self._held = self._held, []
        size = 0
        while len(messages) < limit and size < MAX_BATCH_BYTES:
            remaining = until - monotonic()
            if remaining <= 0 and messages:
                break
            generation = self.generation
            received = self._consumer.consume(min(CHUNK, limit - len(messages)), timeout=max(0.0, remaining))
            if generation != self.generation:
                # A rebalance inside consume: messages of revoked partitions belong to their new owner.
                messages = [message for message in messages if message.partition in self.assigned]
            for message in received:
                if (error := message.error()) is not None:
                    self._failed(error)
                elif message.partition() in self.assigned:
                    messages.append(_message(message))
                    size += len(messages[-1].value)
            if not received:
                break
        if messages:
            self.last_error = None
        return messages

    def _hold(self, seconds: float) -> None:
        for message in self._consumer.consume(1, timeout=seconds):
            if (error := message.error()) is not None:
                self._failed(error)
            elif message.partition() in self.assigned:
                # Of a partition that was taken over just now; the next poll returns it.
                self._held.append(_message(message))

    def _bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        try:
            requested = [TopicPartition(self.topic, partition) for partition in partitions]
            positions = self._consumer.committed(requested, timeout=LIMIT_SECONDS)
            committed = {position.partition: position.offset for position in positions}
            bounds: dict[int, Bounds] = {}
            for partition in requested:
                low, high = self._watermarks(partition)
                offset = committed.get(partition.partition, -1)
                bounds[partition.partition] = Bounds(low, high, offset if offset >= 0 else None)
            return bounds
        except KafkaException as error:
            raise KafkaUnavailableError(f"Kafka did not return the offsets of {self.topic}: {error.args[0]}") from error

    def _watermarks(self, partition: TopicPartition) -> tuple[int, int]:
        offsets = self._consumer.get_watermark_offsets(partition, timeout=LIMIT_SECONDS)
        watermarks = cast("tuple[int, int] | None", offsets)  # None after a timeout, which its type hides
        if watermarks is None:
            raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT))
        return watermarks

    def _lag(self, positions: Mapping[int, int], *, refresh: bool) -> dict[int, int]:
        lag: dict[int, int] = {}
        for number, position in positions.items():
            partition = TopicPartition(self.topic, number)
            try:
                _, high = (
                    self._watermarks(partition)
                    if refresh
                    else self._consumer.get_watermark_offsets(partition, cached=True)
                )
            except KafkaException:
                if refresh:
                    break  # the broker does not respond: each further request would wait as long
                continue
            if high >= 0:
                lag[number] = max(0, high - position)
        return lag

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if error is not None:
            self.needs_commit = True
            LIBRARY_LOG.debug("commit for lag tools failed: %s %s", error, partitions)

    def _partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in sorted(self.assigned)]

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # An empty assignment answers the group; without one, the client would assign the partitions itself.
        consumer.incremental_assign([])
        added = frozenset(partition.partition for partition in partitions)
        self.pending |= added
        self.generation += 1
        self.last_error = None
        log.info("partitions_assigned", topic=self.topic, partitions=sorted(added), kept=sorted(self.assigned))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(consumer, partitions, "partitions_revoked")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give up partitions that others may have read since the session of this member expired."""
        self._give_up(consumer, partitions, "partitions_lost")

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition], event: str) -> None:
        removed = frozenset(partition.partition for partition in partitions)
        # Pending partitions are not part of the consumer's assignment yet.
        read = [TopicPartition(self.topic, partition) for partition in sorted(removed & self.assigned)]
        # librdkafka keeps the pause of a partition that moves away and comes back.
        consumer.resume(read)
        consumer.incremental_unassign(read)
        self._held = [message for message in self._held if message.partition not in removed]
        self.assigned -= removed
        self.pending -= removed
        self.generation += 1
        log.info(event, topic=self.topic, partitions=sorted(removed), kept=sorted(self.assigned))

    def _failed(self, error: KafkaError) -> None:
        text = error.str()
        if text != self.last_error:
            log.warning("kafka_error", error=text, code=error.name())
        self.last_error = text


def _construct(create: Callable[[], Answer]) -> Answer:
    try:
        return create()
    except KafkaException as error:
        raise SettingsError(f"PREDICTIVE_SCALING_KAFKA_OPTIONS: {error.args[0].str()}") from None


def _message(message: KafkaMessage) -> Message:
    headers = message.headers()
    header = next((value for name, value in headers if name == HEADER), None) if headers else None
    format_ = header.decode("utf-8", "replace") if isinstance(header, bytes) else header
    return Message(
        message.topic() or "", message.partition() or 0, message.offset() or 0, _bytes(message.value()), format_
    )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
