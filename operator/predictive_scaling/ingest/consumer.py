"""Writes messages from Kafka to the database, effectively exactly once.

The next offset is written in the transaction of the rows. After a crash before the commit the same messages are read
again; after a crash following the commit reading continues after them. Duplicate rows change nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import DataRefusedError
from predictive_scaling.ingest import metrics
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.ingest.arrivals import Arrivals
from predictive_scaling.ingest.backpressure import Backpressure, Stopped
from predictive_scaling.ingest.batch import (
    Batch,
    Message,
    Read,
    admit,
    days_of,
    dead_letter,
    read,
)
from predictive_scaling.ingest.dead_letters import DeadLetterTopic
from predictive_scaling.ingest.formats import NATIVE, TopicFormat
from predictive_scaling.ingest.limit_reports import LimitReports
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage
from predictive_scaling.ingest.sample_writer import load_active_series
from predictive_scaling.ingest.series_register import SeriesRegister
from predictive_scaling.ingest.source import KafkaSource
from predictive_scaling.ingest.start import Start, start_of
from predictive_scaling.storage.dead_letters import DeadLetter
from predictive_scaling.storage.ingest_batches import IngestBatches, Position
from predictive_scaling.storage.ingest_offsets import IngestOffsets
from predictive_scaling.storage.samples import Samples

log = structlog.get_logger(__name__)

LAG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on batches and on the age of samples."""

    batch_size: int
    batch_wait: timedelta
    max_age: timedelta
    max_ahead: timedelta


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that ingest writes."""

    batches: IngestBatches
    offsets: IngestOffsets
    samples: Samples


class Ingest:
    """Consumes a topic until it is stopped. `last_iteration_at`: monotonic second of the last loop iteration."""

    def __init__(
        self,
        source: KafkaSource,
        administration: KafkaAdministration,
        dead_letters: DeadLetterTopic,
        tables: Tables,
        register: SeriesRegister,
        limits: Limits,
        clock: Clock,
        topic_format: TopicFormat = NATIVE,
    ) -> None:
        self._topic_format = topic_format
        self._source = source
        self._administration = administration
        self._dead_letters = dead_letters
        self._tables = tables
        self._register = register
        self._limits = limits
        self._clock = clock
        self.limit_reports = LimitReports()
        self.arrivals = Arrivals()
        self.backpressure = Backpressure(source, self._on_poll, self._follow_rebalance)
        self._positions: dict[int, int] = {}
        self._shown: set[int] = set()
        self._generation = source.generation
        self._topic_id = ""
        self._sent: set[tuple[int, int]] = set()
        self._lag_requested_at = 0.0
        self.last_iteration_at = monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; then finish the current batch and leave the group."""
        await self._source.start()
        try:
            while not stop.is_set():
                self.last_iteration_at = monotonic()
                await self._consume_batch(stop)
        except Stopped:
            pass
        finally:
            await self._source.close()
            await self._show_lag(refresh=False)
            log.info("ingest_stopped", topic=self._source.topic)

    async def _consume_batch(self, stop: asyncio.Event) -> None:
        if self._source.pending:
            await self.backpressure.complete(self._adopt_partitions, stop)
        messages = await self._source.poll(self._limits.batch_size, self._limits.batch_wait.total_seconds())
        self._follow_rebalance()
        if messages:
            self._sent.clear()
            await self.backpressure.complete(lambda: self._detect_recreated_topic(self._owned(messages)), stop)
            await self.backpressure.complete(lambda: self._store(self._owned(messages)), stop)
        elif self._source.needs_commit:
            await self._source.commit(self._positions)
        await self._show_lag(refresh=False)

    async def _on_poll(self) -> None:
        self.last_iteration_at = monotonic()
        await self._show_lag(refresh=True)

    def _owned(self, messages: list[Message]) -> list[Message]:
        """Return the messages of the partitions that this member still has; the others are read by their new owner."""
        return [message for message in messages if message.partition in self._source.assigned]

    async def _adopt_partitions(self) -> None:
        partitions = sorted(self._source.pending)
        if not partitions:
            return
        topic = self._source.topic
        known = await self._tables.offsets.of_topic(topic)
        bounds = await self._source.bounds(partitions)
        self._topic_id = await self._administration.topic_id(topic)
        starts = {
            partition: start_of(known.get(partition), bounds[partition], self._topic_id) for partition in partitions
        }
        recreated = [partition for partition, start in starts.items() if start.is_reset]
        if recreated:
            await self._tables.offsets.forget(topic, recreated)
        await self._source.take_over({partition: start.offset for partition, start in starts.items()})
        metrics.RESETS.inc(len(recreated))
        for partition, start in starts.items():
            _log_start(topic, partition, start)
        self._follow_rebalance()
        self._positions |= {
            partition: start.offset for partition, start in starts.items() if partition in self._source.assigned
        }

    async def _store(self, messages: list[Message]) -> None:
        if not messages:
            return
        began, now = monotonic(), self._clock.now()
        window = Window.around(now, self._limits.max_age, self._limits.max_ahead)
        await self._write(await self._parse(messages, window))
        metrics.BATCH_SECONDS.observe(monotonic() - began)
        await self._source.commit(self._positions)

    async def _parse(self, messages: list[Message], window: Window) -> Read:
        now = self._clock.now()
        parsed = read(messages, window, now, self._topic_format)
        await load_active_series(self._register, self._tables.samples, parsed.services, now)
        return parsed

    async def _write(self, parsed: Read) -> None:
        """Write parsed messages; bisect a rejected batch to the rejected message, which becomes a dead letter."""
        batch = admit(parsed, self._register)
        await self._send(batch.dead_letters)
        try:
            await self._commit(batch)
        except DataRefusedError as error:
            if len(parsed.messages) == 1:
                message = parsed.messages[0]
                refused = RejectedMessage(Reason.REFUSED_BY_DATABASE, str(error))
                letters = [dead_letter(message, refused, parsed.received_at)]
                await self._write(Read(parsed.messages, [], letters, parsed.received_at))
                return
            for half in parsed.halves():
                await self._write(half)

    async def _send(self, letters: Sequence[DeadLetter]) -> None:
        """Publish the dead letters that an earlier attempt to write the batch has not published."""
        new = [letter for letter in letters if (letter.partition, letter.offset) not in self._sent]
        await self._dead_letters.send(new)
        self._sent |= {(letter.partition, letter.offset) for letter in new}

    async def _commit(self, batch: Batch) -> None:
        position = Position(self._source.topic, self._topic_id, batch.spans)
        now = self._clock.now()
        new = await self._tables.batches.write(batch.samples, batch.touched, batch.dead_letters, position, now)
        self._register.learn(days_of(batch))
        self.arrivals.note(batch.samples, now)
        self._positions |= {partition: end for partition, (_, end) in batch.spans.items()}
        metrics.SAMPLES.labels("new").inc(new)
        metrics.SAMPLES.labels("duplicate").inc(len(batch.samples) - new)
        for letter in batch.dead_letters:
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        self.limit_reports.report(batch.refused, self._register)
        self.limit_reports.show_usage(self._register, now.date(), changed=bool(batch.touched))

    async def _detect_recreated_topic(self, messages: list[Message]) -> None:
        """Detect partitions whose offsets restarted during consumption, because their topic was recreated."""
        first: dict[int, int] = {}
        for message in messages:
            first.setdefault(message.partition, message.offset)
        restarted = [partition for partition, offset in first.items() if offset < self._positions.get(partition, 0)]
        if restarted:
            log.error("topic_recreated", topic=self._source.topic, partitions=restarted, reading_from=first)
            await self._tables.offsets.forget(self._source.topic, restarted)
            metrics.RESETS.inc(len(restarted))
            self._topic_id = await self._administration.topic_id(self._source.topic)
            self._positions |= {partition: first[partition] for partition in restarted}

    async def _show_lag(self, *, refresh: bool) -> None:
        topic, assigned = self._source.topic, self._source.assigned
        for partition in self._shown - assigned:
            metrics.LAG.remove(topic, str(partition))
        self._shown &= assigned
        if refresh:
            if monotonic() - self._lag_requested_at < LAG_SECONDS:
                return
            self._lag_requested_at = monotonic()
        positions = {partition: at for partition, at in self._positions.items() if partition in assigned}
        if not positions:
            return
        for partition, lag in (await self._source.lag(positions, refresh=refresh)).items():
            metrics.LAG.labels(topic, str(partition)).set(lag)
            self._shown.add(partition)

    def _follow_rebalance(self) -> None:
        """Discard the positions of partitions that moved away, and the register: other members write from now on."""
        if self._generation == self._source.generation:
            return
        self._generation = self._source.generation
        for partition in self._positions.keys() - self._source.assigned:
            del self._positions[partition]
        self._register.forget()


def _log_start(topic: str, partition: int, start: Start) -> None:
    bound = log.bind(topic=topic, partition=partition, offset=start.offset)
    if start.is_reset:
        bound.error("topic_recreated", known=start.known)
    elif start.lost:
        bound.error("messages_lost", known=start.known, messages=start.lost)
    else:
        bound.info("reading_from", known=start.known)
