"""Converts messages to rows and dead letters. Pure: no Kafka, no database, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from predictive_scaling.ingest.formats import NATIVE, TopicFormat
from predictive_scaling.ingest.measurement import Measurement, Window, accept
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage
from predictive_scaling.ingest.series_register import Admission, Limit, SeriesLimits, SeriesRegister
from predictive_scaling.storage.dead_letters import DeadLetter
from predictive_scaling.storage.samples import Sample, SampleSeries


class Message(NamedTuple):
    """A Kafka message with its position. format: from the header; None without one."""

    topic: str
    partition: int
    offset: int
    value: bytes
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """Parsed messages: each has samples, a dead letter, or both if it holds several series."""

    messages: Sequence[Message]
    samples: list[tuple[Message, Sequence[Sample]]]
    dead_letters: list[DeadLetter]
    received_at: datetime

    @property
    def services(self) -> set[str]:
        """Services whose series the register must have loaded before `admit`."""
        return {sample.service_name for _, samples in self.samples for sample in samples}

    def halves(self) -> tuple["Read", "Read"]:
        """Split by messages into two halves, to find the message that the database rejects."""
        middle = len(self.messages) // 2
        return self._only(self.messages[:middle]), self._only(self.messages[middle:])

    def _only(self, messages: Sequence[Message]) -> "Read":
        positions = {(message.partition, message.offset) for message in messages}
        return Read(
            messages,
            [entry for entry in self.samples if (entry[0].partition, entry[0].offset) in positions],
            [letter for letter in self.dead_letters if (letter.partition, letter.offset) in positions],
            self.received_at,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a transaction.

    touched: a sample of each series that is new or was last written on an earlier day, its newest.
    spans: for each partition the first offset and the one after the last.
    refused: the limits that rejected samples, each with the service of the sample.
    """

    samples: list[Sample]
    touched: list[Sample]
    dead_letters: list[DeadLetter]
    spans: dict[int, tuple[int, int]]
    refused: list[tuple[Limit, str]]


def read(
    messages: Sequence[Message], window: Window, received_at: datetime, topic_format: TopicFormat = NATIVE
) -> Read:
    """Parse messages; what cannot be parsed becomes a dead letter without affecting the other messages and series."""
    samples: list[tuple[Message, Sequence[Sample]]] = []
    dead_letters: list[DeadLetter] = []
    for message in messages:
        try:
            accepted, rejected = accept_all(topic_format.decode(message.value, message.format), window)
        except RejectedMessage as refused:
            dead_letters.append(dead_letter(message, refused, received_at))
            continue
        if rejected:
            dead_letters.append(dead_letter(message, summary(rejected, len(accepted) + len(rejected)), received_at))
        if accepted or not rejected:
            samples.append((message, accepted))
    return Read(messages, samples, dead_letters, received_at)


def accept_all(
    measurements: Sequence[Measurement | RejectedMessage], window: Window
) -> tuple[list[Sample], list[RejectedMessage]]:
    """Return the samples of a message and the rejections of its other series."""
    accepted: list[Sample] = []
    rejected: list[RejectedMessage] = []
    for measurement in measurements:
        try:
            if isinstance(measurement, RejectedMessage):
                rejected.append(measurement)
            else:
                accepted.append(accept(measurement, window))
        except RejectedMessage as refused:
            rejected.append(refused)
    return accepted, rejected


def summary(rejected: Sequence[RejectedMessage], count: int) -> RejectedMessage:
    """Return one rejection for a message of `count` samples, with the reason of the first."""
    first = rejected[0]
    if count == 1:
        return first
    return RejectedMessage(first.reason, f"{len(rejected)} of {count} samples rejected; the first: {first.detail}")


def admit(parsed: Read, register: SeriesRegister) -> Batch:
    """Return the samples within the limits; the register must have loaded the services and is not changed."""
    admission = Admission(register)
    kept: list[Sample] = []
    dead_letters = list(parsed.dead_letters)
    newest: dict[SampleSeries, Sample] = {}
    refused: list[tuple[Limit, str]] = []
    for message, samples in parsed.samples:
        for sample in samples:
            key = SampleSeries(sample.service_name, sample.metric_name, sample.series)
            known = newest.get(key)
            # A further sample of the same series and day needs no check.
            if known is None or sample.time.date() != known.time.date():
                limit = admission.refused_by(key, sample.time.date())
                if limit is not None:
                    refused.append((limit, key.service_name))
                    letter = dead_letter(message, _over(key, limit, register.limits), parsed.received_at)
                    dead_letters.append(letter)
                    continue
            kept.append(sample)
            if known is None or sample.time > known.time:
                newest[key] = sample
    touched = [sample for key, sample in newest.items() if sample.time.date() > (register.last_day(key) or date.min)]
    return Batch(kept, touched, dead_letters, _spans(parsed.messages), refused)


def days_of(batch: Batch) -> dict[SampleSeries, date]:
    """Return the last day of each touched series, for the register after the commit."""
    return {
        SampleSeries(sample.service_name, sample.metric_name, sample.series): sample.time.date()
        for sample in batch.touched
    }


def dead_letter(message: Message, refused: RejectedMessage, received_at: datetime) -> DeadLetter:
    """Return the dead letter of a rejected message."""
    return DeadLetter(
        message.topic,
        message.partition,
        message.offset,
        str(refused.reason),
        refused.detail[:500],
        message.value,
        len(message.value),
        received_at,
    )


_REASONS = {
    Limit.SERVICES: Reason.SERVICE_LIMIT,
    Limit.METRICS: Reason.METRIC_LIMIT,
    Limit.SERIES: Reason.SERIES_LIMIT,
}


def _over(key: SampleSeries, limit: Limit, limits: SeriesLimits) -> RejectedMessage:
    scope = "ingest" if limit is Limit.SERVICES else f"service {key.service_name}"
    new = {
        Limit.SERVICES: f"service {key.service_name}",
        Limit.METRICS: f"metric {key.metric_name}",
        Limit.SERIES: f"this series of {key.metric_name}",
    }[limit]
    active = f"{limits.of(limit)} {limit.value} that were active within {limits.days + 1} days"
    return RejectedMessage(_REASONS[limit], f"{scope} has {active}, the limit; {new} would exceed it")


def _spans(messages: Sequence[Message]) -> dict[int, tuple[int, int]]:
    spans: dict[int, tuple[int, int]] = {}
    for message in messages:
        first, end = spans.get(message.partition, (message.offset, message.offset))
        spans[message.partition] = (min(first, message.offset), max(end, message.offset + 1))
    return spans
