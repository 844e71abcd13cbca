"""What a poller needs of a kind of source: the rows of a query in a span."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.sources.configuration import AnySource, Query
from predictive_scaling.storage.source_positions import Span


@dataclass(frozen=True, slots=True)
class PulledPart:
    """The rows of a query. gaps: rows without a number. warnings: with any, rows may be missing."""

    measurements: Sequence[Measurement]
    gaps: int = 0
    warnings: Sequence[str] = ()


class SourceReader(Protocol):
    """Reads a source. max_part: the longest span of one request."""

    @property
    def source(self) -> AnySource:
        """The configuration of the source."""
        ...

    @property
    def max_part(self) -> timedelta:
        """The longest span of a request."""
        ...

    def newest_end(self, now: datetime) -> datetime:
        """Return the end of the newest span whose samples are complete at a time."""
        ...

    async def read(self, query: Query, span: Span) -> PulledPart:
        """Return the rows of a span.

        Raises SourceUnavailableError (retry later), SourceRefusedError, SourceTooLargeError (read a shorter span), and
        SettingsError for a file that cannot be read.
        """
        ...
