"""Destinations of synthetic demand: files, the database, Kafka."""

import asyncio
import csv
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer

from predictive_scaling.errors import KafkaUnavailableError
from predictive_scaling.storage.samples import Sample, Samples, series_of
from predictive_scaling.synthesis.manifests import rfc3339
from predictive_scaling.synthesis.services import INSTANCES, Service

CHUNK_ROWS = 20_000
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 1.0

OnWritten = Callable[[int], None]
"""Called with the number of rows that were written since the last call."""


class Destination(Protocol):
    """The port that every destination of samples implements."""

    async def write(self, service: Service, on_written: OnWritten) -> int:
        """Write all samples of a service; return the number of new rows, where the destination reports it."""
        ...

    async def finish(self) -> None:
        """Return when all samples have arrived. Raises an error with the number of lost samples and the cause."""
        ...


class Files:
    """A CSV file for each service with the columns timestamp and value: its demand over all instances."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, service: Service, on_written: OnWritten) -> int:
        rows = await asyncio.to_thread(self._write, service)
        on_written(service.rows)
        return rows

    async def finish(self) -> None:
        """Nothing to wait for: each file is complete when it is closed."""

    def _write(self, service: Service) -> int:
        demand = service.demand
        measured = np.flatnonzero(np.isfinite(demand))
        with (self._folder / f"{service.name}.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("timestamp", "value"))
            stamps = np.datetime_as_string(service.timeline.seconds[measured].astype("datetime64[s]"))
            table.writerows(
                (f"{stamp}Z", f"{value:.10g}") for stamp, value in zip(stamps, demand[measured], strict=True)
            )
        if service.announced:
            self._write_events(service)
        return len(measured)

    def _write_events(self, service: Service) -> None:
        with (self._folder / f"{service.name}-events.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("name", "type", "start", "end"))
            table.writerows(
                (incident.name or incident.kind, incident.kind, rfc3339(incident.start), rfc3339(incident.end))
                for incident in service.announced
            )


class Rollups:
    """The database. Samples are written as ingest writes them, together with their 1-minute rollups."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    async def write(self, service: Service, on_written: OnWritten) -> int:
        new = 0
        for chunk in _chunks(service):
            new += await self._samples.record(list(_samples(service, chunk)))
            on_written(int(np.isfinite(service.values[:, chunk]).sum()))
        return new

    async def finish(self) -> None:
        """Nothing to wait for: each chunk is committed when it is written."""


class Topic:
    """Kafka, in the JSON format of `ingest`, keyed by service. Kafka's record times are those of the writing."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str], topic: str) -> None:
        properties: dict[str, Any] = {
            "compression.type": "lz4",
            "linger.ms": 50,
            "message.timeout.ms": round(_TIMEOUT_SECONDS * 1000),
            **options,
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
        }
        self._address = f"{topic} of Kafka at {bootstrap_servers}"
        self._producer = Producer(properties, logger=logging.getLogger("librdkafka"))
        self._topic = topic
        self._sent = 0
        self._lost = 0
        self._first_error = ""

    async def write(self, service: Service, on_written: OnWritten) -> int:
        before = self._sent
        for chunk in _chunks(service):
            await asyncio.to_thread(self._produce, service, chunk)
            on_written(int(np.isfinite(service.values[:, chunk]).sum()))
        return self._sent - before

    async def finish(self) -> None:
        """Flush. Raises KafkaUnavailableError with the broker's first error if a sample was lost."""
        missing = await asyncio.to_thread(self._producer.flush, _TIMEOUT_SECONDS + 5)
        self._lost += missing
        self._raise_if_lost()

    def _produce(self, service: Service, chunk: slice) -> None:
        self._raise_if_lost()
        for sample in _samples(service, chunk):
            message = {
                "service_name": sample.service_name,
                "metric_name": sample.metric_name,
                "value": sample.value,
                "timestamp": int(sample.time.timestamp()),
                "labels": sample.labels,
            }
            self._put(service.name, json.dumps(message).encode())

    def _put(self, key: str, message: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, message, key=key, on_delivery=self._delivered)
                self._sent += 1
                break
            except BufferError:
                # The queue is full: it empties as messages are delivered or time out.
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                raise KafkaUnavailableError(f"{self._address} does not accept samples: {error}") from error
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._lost += 1
            self._first_error = self._first_error or error.str()

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise KafkaUnavailableError(
                f"{self._address} did not accept {self._lost} of {self._sent} samples: "
                f"{self._first_error or 'no answer in time'}; check that Kafka runs and that the topic exists, then "
                "run the command again: samples that arrive twice count once"
            )


def _chunks(service: Service) -> Iterator[slice]:
    step = CHUNK_ROWS // INSTANCES
    for first in range(0, service.timeline.bins, step):
        yield slice(first, min(first + step, service.timeline.bins))


def _samples(service: Service, chunk: slice) -> Iterator[Sample]:
    """The samples of some bins, by time; the time of a sample is the start of its bin."""
    labels = [{"instance": f"{service.name}-{number}"} for number in range(INSTANCES)]
    series = [series_of(label) for label in labels]
    moments = [datetime.fromtimestamp(int(second), UTC) for second in service.timeline.seconds[chunk]]
    for moment, values in zip(moments, service.values[:, chunk].T.tolist(), strict=True):
        for number, value in enumerate(values):
            if math.isfinite(value):
                yield Sample(moment, service.name, service.profile.metric, series[number], value, labels[number])
