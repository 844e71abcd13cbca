"""Messages in, rows and dead letters out. Pure: no Kafka, no database, no clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from predictive_scaling.ingest.formats import DEFAULT, choose
from predictive_scaling.ingest.measurement import Window, accept
from predictive_scaling.ingest.refusal import Reason, Refused
from predictive_scaling.storage.dead_letters import DeadLetter
from predictive_scaling.storage.samples import Sample, SeriesKey


class Message(NamedTuple):
    """A Kafka message: where it stood and what it held. format: None where no header names one."""

    topic: str
    partition: int
    offset: int
    value: bytes
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What messages held, each message on its own: its samples, or why it stays out."""

    messages: Sequence[Message]
    samples: list[tuple[Message, Sequence[Sample]]]
    dead_letters: list[DeadLetter]
    received_at: datetime

    @property
    def services(self) -> set[str]:
        """Those whose series must be known to `admit`."""
        return {sample.service_name for _, samples in self.samples for sample in samples}

    def halves(self) -> tuple["Read", "Read"]:
        """The same in two parts, by messages: to find the one that is to blame."""
        middle = len(self.messages) // 2
        return self._only(self.messages[:middle]), self._only(self.messages[middle:])

    def _only(self, messages: Sequence[Message]) -> "Read":
        places = {(message.partition, message.offset) for message in messages}
        return Read(
            messages,
            [entry for entry in self.samples if (entry[0].partition, entry[0].offset) in places],
            [letter for letter in self.dead_letters if (letter.partition, letter.offset) in places],
            self.received_at,
        )


@dataclass(slots=True)
class SeriesRegister:
    """The series of each service and the last day each was seen, as far as it is written; limit: for each service."""

    limit: int
    _services: dict[str, dict[SeriesKey, date]] = field(default_factory=dict[str, dict[SeriesKey, date]])

    def missing(self, services: Iterable[str]) -> set[str]:
        """Services whose series have to be loaded first."""
        return {service for service in services if service not in self._services}

    def load(self, services: Iterable[str], known: Mapping[SeriesKey, date]) -> None:
        """Take in what the database holds of these services, also where it holds nothing."""
        for service in services:
            self._services[service] = {}
        self.learn(known)

    def learn(self, days: Mapping[SeriesKey, date]) -> None:
        """Note what was written."""
        for key, day in days.items():
            self._services.setdefault(key.service_name, {})[key] = day

    def forget(self) -> None:
        """Someone else may write from here on."""
        self._services.clear()

    def last_day(self, key: SeriesKey) -> date | None:
        """The last day a series was seen, None for a new one."""
        return self._services.get(key.service_name, {}).get(key)

    def size(self, service: str) -> int:
        """How many series a service has."""
        return len(self._services.get(service, {}))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes.

    touched: a sample of each series that is new or was last written on an earlier day, its newest.
    spans: for each partition the first offset and the one after the last.
    """

    samples: list[Sample]
    touched: list[Sample]
    dead_letters: list[DeadLetter]
    spans: dict[int, tuple[int, int]]


def read(messages: Sequence[Message], window: Window, received_at: datetime) -> Read:
    """Understand messages; one that cannot be understood is a dead letter and disturbs no other."""
    samples: list[tuple[Message, Sequence[Sample]]] = []
    dead_letters: list[DeadLetter] = []
    for message in messages:
        try:
            measurements = choose(message.format or DEFAULT)(message.value)
            samples.append((message, [accept(measurement, window) for measurement in measurements]))
        except Refused as refused:
            dead_letters.append(dead_letter(message, refused, received_at))
    return Read(messages, samples, dead_letters, received_at)


def admit(understood: Read, register: SeriesRegister) -> Batch:
    """Keep what stays within the series limit; the register must know the services and is not changed."""
    kept: list[Sample] = []
    dead_letters = list(understood.dead_letters)
    newest: dict[SeriesKey, Sample] = {}
    new: dict[str, int] = {}
    for message, samples in understood.samples:
        for sample in samples:
            key = SeriesKey(sample.service_name, sample.metric_name, sample.series)
            if key not in newest and register.last_day(key) is None:
                if register.size(key.service_name) + new.get(key.service_name, 0) >= register.limit:
                    dead_letters.append(dead_letter(message, _over(key, register.limit), understood.received_at))
                    continue
                new[key.service_name] = new.get(key.service_name, 0) + 1
            kept.append(sample)
            if key not in newest or sample.time > newest[key].time:
                newest[key] = sample
    touched = [sample for key, sample in newest.items() if sample.time.date() > (register.last_day(key) or date.min)]
    return Batch(kept, touched, dead_letters, _spans(understood.messages))


def days_of(batch: Batch) -> dict[SeriesKey, date]:
    """What the register learns once the batch is written."""
    return {SeriesKey(s.service_name, s.metric_name, s.series): s.time.date() for s in batch.touched}


def dead_letter(message: Message, refused: Refused, received_at: datetime) -> DeadLetter:
    """The record of a message that stays out."""
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


def _over(key: SeriesKey, limit: int) -> Refused:
    detail = f"service {key.service_name} has {limit} series of metrics and labels, the limit; this one would be new"
    return Refused(Reason.SERIES_LIMIT, detail)


def _spans(messages: Sequence[Message]) -> dict[int, tuple[int, int]]:
    spans: dict[int, tuple[int, int]] = {}
    for message in messages:
        first, end = spans.get(message.partition, (message.offset, message.offset))
        spans[message.partition] = (min(first, message.offset), max(end, message.offset + 1))
    return spans
