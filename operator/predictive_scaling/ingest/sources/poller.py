"""Polls a source: the newest minutes first, then the history backwards in parts; a failure delays only what failed."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import (
    DatabaseUnavailableError,
    PredictiveScalingError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from predictive_scaling.ingest import metrics
from predictive_scaling.ingest.batch import accept_all
from predictive_scaling.ingest.measurement import Window
from predictive_scaling.ingest.rejected_message import RejectedMessage
from predictive_scaling.ingest.sample_writer import SampleWriter
from predictive_scaling.ingest.sources.configuration import Query, query_key
from predictive_scaling.ingest.sources.readers import PulledPart, SourceReader
from predictive_scaling.ingest.sources.spans import MINUTE, extended, floor, newest_part, read_ratio, without
from predictive_scaling.storage.samples import Sample
from predictive_scaling.storage.source_positions import PulledRows, SourcePosition, SourcePositions, Span

log = structlog.get_logger(__name__)

FIRST_PART = timedelta(hours=1)
"""Length of the first part of a query; it doubles with each success up to the reader's maximum."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 2.0, 300.0
HISTORY_PAUSE_SECONDS = 0.05
"""Between two parts of the history, so that the server has time for others."""
MAX_INCOMPLETE = 3
"""Reads of a part whose responses have warnings; after the last one the part counts as read."""


@dataclass(frozen=True, slots=True)
class PullLimits:
    """Ages of samples. raw: older samples have no raw rows. max_age, max_ahead: as of all samples."""

    max_age: timedelta
    max_ahead: timedelta
    raw: timedelta
    rollups: timedelta

    def history_before(self, now: datetime) -> datetime:
        """Return the time before which only rollups are written: retention may delete raw rows before it."""
        return floor(now - self.raw + min(timedelta(hours=1), self.raw / 10), MINUTE)


@dataclass(slots=True)
class _Failures:
    """Failures in a row of the newest part, or of the history, of a query."""

    count: int = 0
    retry_at: float = 0.0
    error: str | None = None


@dataclass(slots=True)
class _QueryState:
    """What a poller remembers of a query between two reads; the position is in the database, too."""

    query: Query
    position: SourcePosition
    part: timedelta
    polled_at: float = float("-inf")
    incomplete: int = 0
    newest: _Failures = field(default_factory=_Failures)
    history: _Failures = field(default_factory=_Failures)
    logged: set[str] = field(default_factory=set[str])


class SourcePoller:
    """Polls the queries of one source until it is cancelled."""

    def __init__(
        self,
        reader: SourceReader,
        positions: SourcePositions,
        writer: SampleWriter,
        limits: PullLimits,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._source = reader.source
        self._positions = positions
        self._writer = writer
        self._limits = limits
        self._clock = clock
        self._states: list[_QueryState] = []

    @property
    def keys(self) -> list[str]:
        """The identities of the queries."""
        return [query_key(self._source, query) for query in self._source.queries]

    async def run(self) -> None:
        """Poll until cancelled. Raises DatabaseUnavailableError only before the first poll."""
        await self.load()
        while True:
            has_more = await self.poll()
            self._show()
            interval = self._clock.real_seconds(self._source.interval)
            await asyncio.sleep(HISTORY_PAUSE_SECONDS if has_more else min(interval, 5.0) * random.uniform(0.5, 1.0))

    async def load(self) -> None:
        """Load the positions; a query without one begins with its history."""
        now = self._clock.now()
        known = await self._positions.of_source(self._source.name)
        self._states = []
        for query, key in zip(self._source.queries, self.keys, strict=True):
            start = self._history_start(now)
            new = SourcePosition(self._source.name, key, query.metric, query.service, start, start, ())
            part = min(FIRST_PART, self._reader.max_part)
            self._states.append(_QueryState(query, known.get(key, new), part))

    async def poll(self) -> bool:
        """Read the newest missing part of each query; return whether more can be read at once."""
        has_more = False
        for state in self._states:
            self._extend(state)
            if span := self._next_part(state):
                await self._attempt(state, span)
            has_more = has_more or self._next_part(state) is not None
        return has_more

    def _history_start(self, now: datetime) -> datetime:
        oldest = min(self._source.backfill, self._limits.max_age, self._limits.rollups)
        # A day less where samples of that age would be refused or deleted at once.
        margin = timedelta() if self._source.backfill == oldest else min(timedelta(days=1), oldest / 2)
        return floor(now - oldest + margin, MINUTE)

    def _extend(self, state: _QueryState) -> None:
        """Add the time since the last poll, once per interval."""
        if monotonic() - state.polled_at < self._clock.real_seconds(self._source.interval):
            return
        state.polled_at = monotonic()
        now, position = self._clock.now(), state.position
        start = self._history_start(now)
        # A history that is configured to be longer is read; that time passes does not shorten it.
        begin = start if start < position.span_start - self._source.step else position.span_start
        state.position = extended(position, self._reader.newest_end(now), begin, self._source.reread)

    def _next_part(self, state: _QueryState) -> Span | None:
        position, now = state.position, monotonic()
        span = newest_part(position.missing, state.part)
        if span is None:
            return None
        if span[1] < position.span_end:
            return span if now >= state.history.retry_at else None
        if now >= state.newest.retry_at:
            return span
        # The history goes on while the newest part waits for its next attempt.
        older = newest_part(position.missing[:-1], state.part)
        return older if older is not None and now >= state.history.retry_at else None

    async def _attempt(self, state: _QueryState, span: Span) -> None:
        failures = state.newest if span[1] == state.position.span_end else state.history
        try:
            part = await self._reader.read(state.query, span)
            is_complete = not part.warnings or state.incomplete + 1 >= MAX_INCOMPLETE
            if is_complete:
                failures.count, failures.error = 0, None
                state.incomplete = 0
            await self._store(state, span, part, is_complete=is_complete)
        except DatabaseUnavailableError as error:
            metrics.SOURCE_FAILURES.labels(self._source.name, "database").inc()
            log.warning("source_write_retried", source=self._source.name, error=str(error))
            self._back_off(failures)
            return
        except SourceTooLargeError as error:
            if state.part > MINUTE:
                metrics.SOURCE_FAILURES.labels(self._source.name, "too_large").inc()
                state.part = max(MINUTE, min(state.part, span[1] - span[0]) / 2)
                log.info("source_part_halved", source=self._source.name, seconds=state.part.total_seconds())
                return
            await self._failed(state, failures, "too_large", error)
        except SourceUnavailableError as error:
            # It may be the size of the part that the server has no time for.
            state.part = max(MINUTE, min(state.part / 2, FIRST_PART))
            await self._failed(state, failures, "unavailable", error, error.retry_after_seconds)
        except PredictiveScalingError as error:
            await self._failed(state, failures, "refused", error)
        except Exception as error:  # a source with unexpected content must not stop the others
            log.exception("source_failed", source=self._source.name)
            await self._failed(state, failures, "error", error)
        else:
            if is_complete:
                state.part = min(state.part * 2, self._reader.max_part)
                return
            state.incomplete += 1
            message = f"the response may be incomplete: {'; '.join(part.warnings)}"
            await self._failed(state, failures, "incomplete", SourceUnavailableError(message))

    async def _store(self, state: _QueryState, span: Span, part: PulledPart, *, is_complete: bool) -> None:
        now, name = self._clock.now(), self._source.name
        window = Window.around(now, self._limits.max_age, self._limits.max_ahead)
        accepted, rejected = await asyncio.to_thread(accept_all, part.measurements, window)
        position = state.position
        if is_complete:
            position = replace(position.succeeded(now), missing=without(position.missing, span))
        if problem := state.newest.error or state.history.error:
            position = position.failed(problem, now)
        border = self._limits.history_before(now)
        stored: list[int] = []

        async def store(admitted: Sequence[Sample], touched: Sequence[Sample]) -> int:
            rows = PulledRows(
                [sample for sample in admitted if sample.time >= border],
                [sample for sample in admitted if sample.time < border],
                touched,
            )
            counts = await self._positions.write(rows, position, now)
            stored[:] = [counts.new, counts.known, counts.corrected]
            return counts.new

        written = await self._writer.write_with(accepted, store)
        state.position = position
        rejected = [*rejected, *written.rejected]
        self._count(stored, part.gaps, rejected)
        self._log_rejected(state, rejected)
        log.debug("source_part_read", source=name, start=span[0].isoformat(), end=span[1].isoformat(), new=stored[0])

    def _count(self, stored: Sequence[int], gaps: int, rejected: Sequence[RejectedMessage]) -> None:
        name = self._source.name
        for outcome, count in (
            ("new", stored[0]),
            ("duplicate", stored[1]),
            ("gap", gaps),
            ("rejected", len(rejected)),
        ):
            metrics.SOURCE_SAMPLES.labels(name, outcome).inc(count)
        metrics.SOURCE_CORRECTED.labels(name).inc(stored[2])

    def _log_rejected(self, state: _QueryState, rejected: Sequence[RejectedMessage]) -> None:
        """Log the first rejection of each reason; the metric counts all."""
        for refused in rejected:
            if refused.reason not in state.logged:
                state.logged.add(refused.reason)
                log.warning(
                    "source_samples_rejected",
                    source=self._source.name,
                    metric=state.query.metric,
                    reason=str(refused.reason),
                    detail=refused.detail,
                    count=len(rejected),
                )

    async def _failed(
        self,
        state: _QueryState,
        failures: _Failures,
        cause: str,
        error: Exception,
        retry_after_seconds: float | None = None,
    ) -> None:
        """Count, log and record a failure; the position does not advance."""
        metrics.SOURCE_FAILURES.labels(self._source.name, cause).inc()
        failures.error = str(error) or type(error).__name__
        self._back_off(failures, retry_after_seconds)
        if failures.count == 1:
            log.warning(
                "source_read_failed",
                source=self._source.name,
                metric=state.query.metric,
                cause=cause,
                error=failures.error,
            )
        now = self._clock.now()
        failed = state.position.failed(failures.error, now)
        try:
            await self._positions.write(PulledRows(), failed, now)
            state.position = failed
        except PredictiveScalingError as problem:
            log.warning("source_write_retried", source=self._source.name, error=str(problem))

    def _back_off(self, failures: _Failures, retry_after_seconds: float | None = None) -> None:
        failures.count += 1
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures.count - 1, 10))
        failures.retry_at = monotonic() + max(pause * random.uniform(0.5, 1.0), retry_after_seconds or 0.0)

    def _show(self) -> None:
        positions, now = [state.position for state in self._states], self._clock.now()
        age = max((now - position.read_until for position in positions), default=timedelta())
        metrics.SOURCE_AGE.labels(self._source.name).set(age.total_seconds())
        metrics.SOURCE_BACKFILL.labels(self._source.name).set(min(map(read_ratio, positions), default=1.0))

    def hide(self) -> None:
        """Remove the metrics that only the process that polls has."""
        for gauge in (metrics.SOURCE_AGE, metrics.SOURCE_BACKFILL):
            try:
                gauge.remove(self._source.name)
            except KeyError:
                continue
