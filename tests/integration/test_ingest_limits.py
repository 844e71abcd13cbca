"""The series limits of ingest over more than a year of rollouts, on a real PostgreSQL with a manual clock."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from predictive_scaling.clock import ManualClock
from predictive_scaling.ingest.batch import Message
from predictive_scaling.ingest.consumer import Ingest, Limits, Tables
from predictive_scaling.ingest.series_register import SeriesLimits, SeriesRegister
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.dead_letters import DeadLetter, DeadLetters
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.ingest_batches import IngestBatches
from predictive_scaling.storage.ingest_offsets import IngestOffsets
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.samples import Samples

pytestmark = pytest.mark.integration

START = datetime(2025, 10, 1, 6, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
DAYS, ROLLOUTS, PODS = 400, 3, 10
LIMIT = 250
"""The pods of all rollouts exceed it on the ninth day."""


class Topic:
    """A topic of one partition that produces a batch for each poll, and stops ingest with the last batch."""

    topic = "metrics.raw"
    assigned = frozenset({0})
    pending: frozenset[int] = frozenset()
    last_error: str | None = None

    def __init__(
        self, batches: Sequence[Callable[[], list[dict[str, Any]]]], stop: asyncio.Event, first: int = 0
    ) -> None:
        self.generation = 0
        self._batches = list(reversed(batches))
        self._stop = stop
        self._offset = first

    async def poll(self, limit: int, wait_seconds: float) -> list[Message]:
        del limit, wait_seconds
        samples = self._batches.pop()()
        if not self._batches:
            self._stop.set()
        messages = [
            Message(self.topic, 0, self._offset + number, json.dumps(sample).encode())
            for number, sample in enumerate(samples)
        ]
        self._offset += len(messages)
        return messages

    async def lag(self, positions: Mapping[int, int], *, refresh: bool) -> dict[int, int]:
        del positions, refresh
        return {}

    async def start(self) -> None:
        pass

    close = pause = resume = start

    async def commit(self, positions: Mapping[int, int]) -> None:
        del positions


class Letters:
    """A dead-letter topic in memory."""

    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        self.sent += letters


def ingest(topic: Topic, letters: Letters, database: Database, clock: ManualClock, **limits: int) -> Ingest:
    tables = Tables(IngestBatches(database), IngestOffsets(database), Samples(database))
    register = SeriesRegister(replace(SeriesLimits(services=100, metrics=100, series=LIMIT), **limits))
    bounds = Limits(100_000, timedelta(0), 400 * DAY, 5 * MINUTE)
    return Ingest(cast("Any", topic), cast("Any", None), cast("Any", letters), tables, register, bounds, clock)


def a_sample(pod: str, at: datetime, service: str = "checkout") -> dict[str, Any]:
    labels = {"pod": pod}
    return {"service_name": service, "metric_name": "rps", "value": 5, "timestamp": at.isoformat(), "labels": labels}


async def test_a_year_of_rollouts_stays_within_the_series_limit(database: Database) -> None:
    clock, letters = ManualClock(START), Letters()

    def rollouts_of(day: int) -> Callable[[], list[dict[str, Any]]]:
        def samples() -> list[dict[str, Any]]:
            times = [START + day * DAY + rollout * DAY / 4 for rollout in range(ROLLOUTS)]
            clock.at = times[-1]
            return [a_sample(f"checkout-{at:%d%m%y%H}-{pod}", at) for at in times for pod in range(PODS)]

        return samples

    retention = Retention(database, 3 * DAY, 400 * DAY)
    for first in range(0, DAYS, 50):
        # Each part begins with a restart of the process, which reads the active series from the database.
        stop = asyncio.Event()
        batches = [rollouts_of(day) for day in range(first, first + 50)]
        worker = ingest(Topic(batches, stop), letters, database, clock)
        await worker.run(stop)
        await retention.apply(clock.now())
    assert letters.sent == []
    assert await DeadLetters(database).newest() == []
    async with database.connection() as connection:
        row = await (await connection.execute("select count(*), sum(sum) from metrics_1m")).fetchone()
    assert row == (DAYS * ROLLOUTS * PODS, 5.0 * DAYS * ROLLOUTS * PODS)
    key = SeriesKey("checkout", "rps")
    demand = await Demand(database).minutes([key], clock.now(), clock.now() + MINUTE)
    assert demand[key].tolist() == [5.0 * PODS]


async def test_active_series_are_accepted_at_the_limit_after_a_restart(database: Database) -> None:
    clock, letters = ManualClock(START), Letters()
    old = [a_sample(f"old-{pod}", START) for pod in range(5)]
    new = [a_sample(f"new-{pod}", START + MINUTE) for pod in range(5)]
    old_again = [a_sample(f"old-{pod}", START + MINUTE) for pod in range(5)]
    other = [a_sample("a", START + MINUTE, service="another")]
    for messages in (old, new, old_again, other):
        stop = asyncio.Event()
        topic = Topic([lambda messages=messages: messages], stop, first=len(letters.sent))
        clock.at = START + MINUTE
        worker = ingest(topic, letters, database, clock, series=5, services=1)
        await worker.run(stop)
        health = worker.limit_reports.check()
        if messages in (new, other):
            with pytest.raises(Exception, match="the limit; samples of new"):
                await health.probe()
        else:
            await health.probe()
    assert [letter.reason for letter in letters.sent] == ["series_limit"] * 5 + ["service_limit"]
    assert await DeadLetters(database).counts(START) == {"series_limit": 5, "service_limit": 1}
    async with database.connection() as connection:
        row = await (await connection.execute("select count(*) from metrics_raw")).fetchone()
    assert row == (10,)
