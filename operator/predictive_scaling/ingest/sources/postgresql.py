"""Reads PostgreSQL databases by SQL queries of the installation."""

import math
from datetime import datetime, timedelta

from predictive_scaling.errors import SourceRefusedError
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.sources.configuration import (
    PostgreSQLQuery,
    PostgreSQLSource,
    Query,
    connection_url,
)
from predictive_scaling.ingest.sources.readers import PulledPart
from predictive_scaling.ingest.sources.spans import floor
from predictive_scaling.storage.source_positions import Span
from predictive_scaling.storage.source_queries import SourceDatabase

MAX_PART = timedelta(days=1)


class PostgreSQLReader:
    """Connects for each part, so that a changed password or a failover needs no restart."""

    def __init__(self, source: PostgreSQLSource) -> None:
        self._source = source

    @property
    def source(self) -> PostgreSQLSource:
        return self._source

    @property
    def max_part(self) -> timedelta:
        return MAX_PART

    def newest_end(self, now: datetime) -> datetime:
        """The end of the newest complete step."""
        return floor(now - self._source.delay, self._source.step)

    async def read(self, query: Query, span: Span) -> PulledPart:
        assert isinstance(query, PostgreSQLQuery)  # noqa: S101 (a source has queries of its own kind only)
        database = SourceDatabase(connection_url(self._source), self._source.timeout, self._source.max_rows)
        measurements: list[Measurement] = []
        gaps = 0
        for row in await database.rows(query.query, *span):
            service = query.service if query.service is not None else row.service
            if service is None:
                raise SourceRefusedError(
                    f"the query for {query.metric} returns no column service; add it, or set service in the source"
                )
            if not span[0] <= row.time < span[1]:
                raise SourceRefusedError(
                    f"the query for {query.metric} returned a row of {row.time.isoformat()}, outside of the span from "
                    f"{span[0].isoformat()} to {span[1].isoformat()}; write time >= %(from)s and time < %(to)s"
                )
            if math.isnan(row.value):
                gaps += 1
            else:
                measurements.append(Measurement(service, query.metric, row.value, row.time, row.labels))
        return PulledPart(measurements, gaps)
