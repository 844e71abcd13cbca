"""Pull sources: spans, parts, and what polls, failures and crashes leave in the database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import SourceRefusedError, SourceTooLargeError, SourceUnavailableError
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.sample_writer import SampleWriter, Written
from predictive_scaling.ingest.sources import poller as poller_module
from predictive_scaling.ingest.sources.configuration import PrometheusQuery, PrometheusSource, Query
from predictive_scaling.ingest.sources.poller import PullLimits, SourcePoller
from predictive_scaling.ingest.sources.readers import PulledPart
from predictive_scaling.ingest.sources.spans import MINUTE, extended, floor, newest_part, union, without
from predictive_scaling.storage.samples import Sample
from predictive_scaling.storage.source_positions import (
    PulledCounts,
    PulledRows,
    SourcePosition,
    SourcePositions,
    Span,
)

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
REREAD, BACKFILL = timedelta(minutes=5), timedelta(hours=5)


def at(minute: int) -> datetime:
    return START + minute * MINUTE


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (at(pair[0]), at(pair[1]))))


def minutes_of(parts: Sequence[Span]) -> set[datetime]:
    return {at(minute) for minute in range(60) for start, end in parts if start <= at(minute) < end}


@given(spans, st.integers(0, 60), st.integers(0, 60))
def test_a_union_has_the_same_minutes_and_a_read_span_is_removed(parts: list[Span], start: int, end: int) -> None:
    merged = union(parts)
    assert minutes_of(merged) == minutes_of(parts)
    assert all(first[1] < second[0] for first, second in pairwise(merged))
    read = (at(min(start, end)), at(max(start, end)))
    assert minutes_of(without(merged, read)) == minutes_of(parts) - minutes_of([read])


@given(spans, st.integers(1, 30))
def test_parts_cover_all_spans_from_the_newest_to_the_oldest(parts: list[Span], length: int) -> None:
    missing, read = union(parts), list[Span]()
    while (part := newest_part(missing, length * MINUTE)) is not None:
        assert part[1] - part[0] <= length * MINUTE
        assert part[1] == missing[-1][1]
        read.append(part)
        missing = without(missing, part)
    assert minutes_of(read) == minutes_of(parts)


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_position_grows_with_time_and_reads_the_last_minutes_again(old: int, new: int) -> None:
    position = SourcePosition("prometheus", "q", "rps", None, START - BACKFILL, at(old), ())
    grown = extended(position, at(new), START - BACKFILL, REREAD)
    assert grown.span_end == at(max(old, new))
    expected = {at(minute) for minute in range(max(0, old - 5), new)} if new > old else set[datetime]()
    assert minutes_of(grown.missing) == expected


class Crash(BaseException):
    """The process ends."""


class Server:
    """A reader of one series: the value of each minute, which is final five minutes later at the latest."""

    def __init__(self, clock: ManualClock) -> None:
        query = PrometheusQuery(metric="rps", service="checkout", query="q")
        self.source = PrometheusSource(
            name="prometheus",
            kind="prometheus",
            url="http://p",
            interval=timedelta(seconds=1),
            backfill=BACKFILL,
            reread=REREAD,
            queries=[query],
        )
        self.max_part = timedelta(hours=2)
        self.failures: list[Exception] = []
        self._clock = clock

    def newest_end(self, now: datetime) -> datetime:
        return floor(now, MINUTE)

    def value(self, time: datetime) -> float:
        return (time - START) / MINUTE + 1000.0

    async def read(self, query: Query, span: Span) -> PulledPart:
        if self.failures:
            raise self.failures.pop()
        measurements: list[Measurement] = []
        time = span[0]
        while time < span[1]:
            is_final = self._clock.now() - time >= REREAD - MINUTE
            if is_final or time.minute % 3:
                value = self.value(time) if is_final or time.minute % 2 else 0.0
                measurements.append(Measurement("checkout", "rps", value, time, {}))
            time += MINUTE
        return PulledPart(measurements)


class Tables:
    """Positions and samples in memory, written all or nothing; crash: the next write ends the process."""

    def __init__(self) -> None:
        self.stored: dict[datetime, float] = {}
        self.positions: dict[str, SourcePosition] = {}
        self.crash: str | None = None

    async def of_source(self, source: str) -> dict[str, SourcePosition]:
        return {key: position for key, position in self.positions.items() if position.source == source}

    async def write(self, rows: PulledRows, position: SourcePosition, now: datetime) -> PulledCounts:
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        samples = [*rows.recent, *rows.history]
        self.stored |= {sample.time: sample.value for sample in samples}
        self.positions[position.query] = position
        if crash == "after":
            raise Crash
        return PulledCounts(len(samples), 0, 0)


class Writer:
    """Admits all samples."""

    async def write_with(
        self, samples: Sequence[Sample], store: Callable[[Sequence[Sample], Sequence[Sample]], Awaitable[int]]
    ) -> Written:
        return Written(await store(samples, []), [])


STEPS = st.lists(
    st.one_of(
        st.integers(1, 90).map(lambda minutes: ("advance", minutes)),
        st.sampled_from([("poll", 0), ("poll", 0), ("unavailable", 0), ("refused", 0), ("too large", 0)]),
        st.sampled_from([("crash", "before"), ("crash", "after")]),
    ),
    max_size=25,
)
ERRORS = {"unavailable": SourceUnavailableError, "refused": SourceRefusedError, "too large": SourceTooLargeError}


class Run:
    """A poller over its crashes, in time that a test moves."""

    def __init__(self) -> None:
        self.clock, self.tables, self.seconds = ManualClock(START), Tables(), 0.0
        self.server = Server(self.clock)
        self._poller = self._new()

    def _new(self) -> SourcePoller:
        limits = PullLimits(timedelta(days=400), timedelta(minutes=5), timedelta(days=30), timedelta(days=400))
        positions, writer = cast(SourcePositions, self.tables), cast(SampleWriter, Writer())
        return SourcePoller(self.server, positions, writer, limits, self.clock)

    async def start(self) -> None:
        self._poller = self._new()
        await self._poller.load()

    async def poll(self) -> None:
        self.seconds += 400.0  # longer than every pause
        try:
            await self._poller.poll()
        except Crash:
            await self.start()

    async def step(self, kind: str, value: Any) -> None:
        if kind == "advance":
            self.clock.advance(value * MINUTE)
        elif kind == "crash":
            self.tables.crash = value
            await self.poll()
        elif kind == "poll":
            await self.poll()
        else:
            self.server.failures.append(ERRORS[kind]("no"))

    async def finish(self) -> None:
        """Poll until nothing is missing."""
        for _ in range(2):
            self.clock.advance(MINUTE)
            for _ in range(80):
                await self.poll()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_sequence_of_polls_and_failures_gives_the_samples_of_the_server_once(steps: list[tuple[str, Any]]) -> None:
    run = Run()

    async def all_steps() -> None:
        await run.start()
        for kind, value in steps:
            await run.step(kind, value)
        await run.finish()

    def monotonic() -> float:
        return run.seconds

    with mock.patch.object(poller_module, "monotonic", monotonic):
        asyncio.run(all_steps())
    now, (position,) = run.clock.now(), run.tables.positions.values()
    assert (position.missing, position.span_end, position.error) == ((), floor(now, MINUTE), None)
    # The history is that of the first write.
    assert START - BACKFILL <= position.span_start <= now - BACKFILL
    count = (now - REREAD - position.span_start) // MINUTE
    final = [position.span_start + i * MINUTE for i in range(count)]
    assert {time: run.tables.stored.get(time) for time in final} == {time: run.server.value(time) for time in final}
