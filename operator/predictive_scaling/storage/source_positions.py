"""What has been read of each query of the pull sources, written in the transaction of its samples."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from predictive_scaling.errors import DataRefusedError
from predictive_scaling.failpoint import failpoint
from predictive_scaling.storage import pulled_samples, samples
from predictive_scaling.storage.database import Connection, Database
from predictive_scaling.storage.samples import Sample, Samples

Span = tuple[datetime, datetime]
"""A half-open span of time."""

SILENT_AFTER = timedelta(minutes=10)
"""A query that was last read longer ago has a problem, even if no process reports a failure."""
_MAX_ERROR_LENGTH = 500


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """What was read of a query: all of [span_start, span_end) except `missing`, which is sorted and has no overlaps.

    query: its identity. service_name: None where the rows name their services. error: of the last poll; None after a
    success.
    """

    source: str
    query: str
    metric_name: str
    service_name: str | None
    span_start: datetime
    span_end: datetime
    missing: tuple[Span, ...]
    succeeded_at: datetime | None = None
    failing_since: datetime | None = None
    error: str | None = None

    @property
    def read_until(self) -> datetime:
        """The time up to which the newest samples were read."""
        if self.missing and self.missing[-1][1] == self.span_end:
            return self.missing[-1][0]
        return self.span_end

    @property
    def subject(self) -> str:
        """The query, for messages."""
        return f"source {self.source}, metric {self.metric_name}" + (
            f" of {self.service_name}" if self.service_name else ""
        )

    def succeeded(self, now: datetime) -> "SourcePosition":
        """Return the position after a successful read."""
        return replace(self, succeeded_at=now, failing_since=None, error=None)

    def failed(self, error: str, now: datetime) -> "SourcePosition":
        """Return the position after a failed read."""
        return replace(self, failing_since=self.failing_since or now, error=error[:_MAX_ERROR_LENGTH])


@dataclass(frozen=True, slots=True)
class PulledRows:
    """The samples of a part. recent: with raw rows. history: older, only rollups. touched: newest of each series."""

    recent: Sequence[Sample] = ()
    history: Sequence[Sample] = ()
    touched: Sequence[Sample] = ()


@dataclass(frozen=True, slots=True)
class PulledCounts:
    """The numbers of new samples, of known ones, and of minutes whose values were corrected."""

    new: int
    known: int
    corrected: int


ALL = """
select source, query, metric_name, service_name, span_start, span_end, missing, succeeded_at, failing_since, error
from source_positions
"""
OF_SOURCE = f"{ALL} where source = %(source)s"
IN_ORDER = f"{ALL} order by source, metric_name, service_name, query"

WRITE = """
insert into source_positions (source, query, metric_name, service_name, span_start, span_end, missing, succeeded_at,
    failing_since, error, updated_at)
values (%(source)s, %(query)s, %(metric_name)s, %(service_name)s, %(span_start)s, %(span_end)s, %(missing)s,
    %(succeeded_at)s, %(failing_since)s, %(error)s, %(now)s)
on conflict (source, query) do update
set span_start = excluded.span_start, span_end = excluded.span_end, missing = excluded.missing,
    succeeded_at = excluded.succeeded_at, failing_since = excluded.failing_since, error = excluded.error,
    updated_at = excluded.updated_at
"""

FORGET_OTHERS = "delete from source_positions where query <> all(%(queries)s)"


class SourcePositions:
    """The table `source_positions`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._samples = Samples(database)

    async def of_source(self, source: str) -> dict[str, SourcePosition]:
        """Return the positions of the queries of a source by their identity."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(OF_SOURCE, {"source": source})).fetchall()
            return {row[1]: _position(row) for row in rows}

    async def all(self) -> list[SourcePosition]:
        """Return all positions, by source and metric."""
        async with self._database.connection() as connection:
            return [_position(row) for row in await (await connection.execute(IN_ORDER)).fetchall()]

    async def forget_others(self, queries: Collection[str]) -> int:
        """Delete the positions of queries that are not configured any more; return their number."""
        async with self._database.connection() as connection:
            return (await connection.execute(FORGET_OTHERS, {"queries": list(queries)})).rowcount

    async def write(self, rows: PulledRows, position: SourcePosition, now: datetime) -> PulledCounts:
        """Write the samples of a part and the position after it, all or nothing.

        Raises DatabaseUnavailableError (retry), or DataRefusedError if PostgreSQL refuses a value: nothing is written.
        """
        if rows.recent:
            await self._samples.prepare(sample.time for sample in rows.recent)
        if rows.history:
            await self._samples.prepare((sample.time for sample in rows.history), history=True)
        try:
            async with self._database.connection() as connection:
                new, corrected = await pulled_samples.keep_corrected(connection, rows.recent)
                new += await pulled_samples.keep_history(connection, rows.history)
                await samples.touch_series(connection, rows.touched)
                await _write(connection, position, now)
                failpoint("sources.before_commit")
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise DataRefusedError(
                f"PostgreSQL refused rows of the {position.subject}: {str(error).splitlines()[0]}"
            ) from error
        failpoint("sources.after_commit")
        return PulledCounts(new, len(rows.recent) + len(rows.history) - new, corrected)

    async def problems(self, now: datetime) -> list[str]:
        """Return a sentence for each query that fails, or that nothing has read for SILENT_AFTER."""
        return [problem for position in await self.all() if (problem := _problem(position, now))]


async def _write(connection: Connection, position: SourcePosition, now: datetime) -> None:
    values = {
        "source": position.source,
        "query": position.query,
        "metric_name": position.metric_name,
        "service_name": position.service_name,
        "span_start": position.span_start,
        "span_end": position.span_end,
        "missing": Multirange([Range(start, end) for start, end in position.missing]),
        "succeeded_at": position.succeeded_at,
        "failing_since": position.failing_since,
        "error": position.error,
        "now": now,
    }
    await connection.execute(WRITE, values)


def _position(row: tuple[Any, ...]) -> SourcePosition:
    spans: Multirange[datetime] = row[6]
    missing = tuple((span.lower, span.upper) for span in spans if span.lower is not None and span.upper is not None)
    source, query, metric, service, start, end, _, succeeded_at, failing_since, error = row
    return SourcePosition(source, query, metric, service, start, end, missing, succeeded_at, failing_since, error)


def _problem(position: SourcePosition, now: datetime) -> str | None:
    if position.error is not None and position.failing_since is not None:
        return f"{position.subject}, fails since {position.failing_since:%Y-%m-%dT%H:%MZ}: {position.error}"
    last = position.succeeded_at
    if last is None or now - last > SILENT_AFTER:
        when = "never" if last is None else f"last at {last:%Y-%m-%dT%H:%MZ}"
        return f"{position.subject}, was read {when}; check that `predictive-scaling ingest` runs with its sources"
    return None
