"""Writes samples that have no position in a topic, within the limits on series."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.clock import Clock
from predictive_scaling.ingest import metrics
from predictive_scaling.ingest.arrivals import Arrivals
from predictive_scaling.ingest.batch import Message, Read, admit, days_of
from predictive_scaling.ingest.limit_reports import LimitReports
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage
from predictive_scaling.ingest.series_register import REMEMBERED, SeriesRegister
from predictive_scaling.storage.ingest_batches import IngestBatches, Position
from predictive_scaling.storage.samples import Sample, Samples

_NO_POSITION = Position("", "", {})
_NO_MESSAGE = Message("", 0, 0, b"")


Store = Callable[[Sequence[Sample], Sequence[Sample]], Awaitable[int]]
"""Writes the admitted samples, and the newest of each series to register, in a transaction; returns the new ones."""


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write. stored: new and known samples. rejected: an entry per sample beyond a limit."""

    stored: int
    rejected: list[RejectedMessage]


class SampleWriter:
    """Writes one list of samples after the other; samples that were written before change nothing."""

    def __init__(
        self,
        batches: IngestBatches,
        samples: Samples,
        register: SeriesRegister,
        reports: LimitReports,
        arrivals: Arrivals,
        clock: Clock,
    ) -> None:
        self._arrivals = arrivals
        self._batches = batches
        self._samples = samples
        self._register = register
        self._reports = reports
        self._clock = clock
        self._writing = asyncio.Lock()

    def forget(self) -> None:
        """Discard what is known about series, because another process may have written some."""
        self._register.forget()

    async def write(self, samples: Sequence[Sample]) -> Written:
        """Write the samples within the limits. Raises DatabaseUnavailableError (retry), DataRefusedError."""

        async def store(admitted: Sequence[Sample], touched: Sequence[Sample]) -> int:
            new = await self._batches.write(admitted, touched, [], _NO_POSITION, self._clock.now())
            self._arrivals.note(admitted, self._clock.now())
            return new

        return await self.write_with(samples, store)

    async def write_with(self, samples: Sequence[Sample], store: Store) -> Written:
        """Write the samples within the limits by `store`, whose errors pass through. Their arrival is not counted."""
        async with self._writing:
            now = self._clock.now()
            parsed = Read([], [(_NO_MESSAGE, samples)], [], now)
            await load_active_series(self._register, self._samples, parsed.services, now)
            batch = admit(parsed, self._register)
            new = await store(batch.samples, batch.touched)
            self._register.learn(days_of(batch))
        metrics.SAMPLES.labels("new").inc(new)
        metrics.SAMPLES.labels("duplicate").inc(len(batch.samples) - new)
        self._reports.report(batch.refused, self._register)
        self._reports.show_usage(self._register, now.date(), changed=bool(batch.touched))
        rejected = [RejectedMessage(Reason(letter.reason), letter.detail) for letter in batch.dead_letters]
        return Written(len(batch.samples), rejected)


async def load_active_series(
    register: SeriesRegister, samples: Samples, services: Collection[str], now: datetime
) -> None:
    """Load from the database what the register does not know about these services yet."""
    register.advance(now.date())
    since = (now - register.limits.window - REMEMBERED).date()
    if register.needs_services:
        register.load_services(await samples.services(since))
    missing = register.missing(services)
    if missing:
        register.load(missing, await samples.series(missing, since))
