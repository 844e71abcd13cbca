"""Where made-up demand goes: files, the database, Kafka."""

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

Written = Callable[[int], None]
"""Told of how many more rows are written."""


class Destination(Protocol):
    """Where a service's samples go."""

    async def write(self, service: Service, written: Written) -> int:
        """Write all of a service; says how many rows were new, as far as it can tell."""
        ...

    async def finish(self) -> None:
        """Return when everything has arrived. Raises the error that says what has not, and why."""
        ...


class Files:
    """One CSV file a service, with the columns timestamp and value: its demand over all instances."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, service: Service, written: Written) -> int:
        rows = await asyncio.to_thread(self._write, service)
        written(service.rows)
        return rows

    async def finish(self) -> None:
        """Files are whole when they are closed."""

    def _write(self, service: Service) -> int:
        demand = service.demand
        seen = np.flatnonzero(np.isfinite(demand))
        with (self._folder / f"{service.name}.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("timestamp", "value"))
            stamps = np.datetime_as_string(service.timeline.seconds[seen].astype("datetime64[s]"))
            table.writerows((f"{stamp}Z", f"{value:.10g}") for stamp, value in zip(stamps, demand[seen], strict=True))
        if service.announced:
            self._write_events(service)
        return len(seen)

    def _write_events(self, service: Service) -> None:
        with (self._folder / f"{service.name}-events.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("name", "type", "start", "end"))
            table.writerows((one.kind, one.kind, rfc3339(one.start), rfc3339(one.end)) for one in service.announced)


class Rollups:
    """The database, the way that samples always get there: the 1-minute rollups come with them."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    async def write(self, service: Service, written: Written) -> int:
        new = 0
        for chunk in _chunks(service):
            new += await self._samples.record(list(_samples(service, chunk)))
            written(int(np.isfinite(service.values[:, chunk]).sum()))
        return new

    async def finish(self) -> None:
        """Each chunk was committed."""


class Topic:
    """Kafka, in the JSON format of `ingest`, keyed by service. Times are the samples', Kafka's own stay real."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str], topic: str) -> None:
        properties: dict[str, Any] = {
            "compression.type": "lz4",
            "linger.ms": 50,
            "message.timeout.ms": round(_TIMEOUT_SECONDS * 1000),
            **options,
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
        }
        self._where = f"{topic} of Kafka at {bootstrap_servers}"
        self._producer = Producer(properties, logger=logging.getLogger("librdkafka"))
        self._topic = topic
        self._sent = 0
        self._lost = 0
        self._problem = ""

    async def write(self, service: Service, written: Written) -> int:
        before = self._sent
        for chunk in _chunks(service):
            await asyncio.to_thread(self._produce, service, chunk)
            written(int(np.isfinite(service.values[:, chunk]).sum()))
        return self._sent - before

    async def finish(self) -> None:
        """Raises KafkaUnavailableError with the broker's first complaint where a sample was not taken."""
        missing = await asyncio.to_thread(self._producer.flush, _TIMEOUT_SECONDS + 5)
        self._lost += missing
        self._complain()

    def _produce(self, service: Service, chunk: slice) -> None:
        self._complain()
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
                # The queue is full: it empties as the broker takes messages, or gives them up.
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                raise KafkaUnavailableError(f"{self._where} takes nothing: {error}") from error
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._lost += 1
            self._problem = self._problem or error.str()

    def _complain(self) -> None:
        if self._lost:
            raise KafkaUnavailableError(
                f"{self._where} did not take {self._lost} of {self._sent} samples: "
                f"{self._problem or 'no answer in time'}; see that it runs and that the topic is there, then run this "
                "again: what arrived twice counts once"
            )


def _chunks(service: Service) -> Iterator[slice]:
    step = CHUNK_ROWS // INSTANCES
    for first in range(0, service.timeline.bins, step):
        yield slice(first, min(first + step, service.timeline.bins))


def _samples(service: Service, chunk: slice) -> Iterator[Sample]:
    """The samples of some bins, by time; each stands at the beginning of its bin."""
    labels = [{"instance": f"{service.name}-{number}"} for number in range(INSTANCES)]
    series = [series_of(label) for label in labels]
    moments = [datetime.fromtimestamp(int(second), UTC) for second in service.timeline.seconds[chunk]]
    for moment, values in zip(moments, service.values[:, chunk].T.tolist(), strict=True):
        for number, value in enumerate(values):
            if math.isfinite(value):
                yield Sample(moment, service.name, service.profile.metric, series[number], value, labels[number])
