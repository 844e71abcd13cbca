"""The transaction of ingest: samples, rollups, series, dead letters and offsets, all or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from predictive_scaling.errors import DataRefusedError
from predictive_scaling.failpoint import failpoint
from predictive_scaling.storage import dead_letters, ingest_offsets, samples
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.dead_letters import DeadLetter
from predictive_scaling.storage.samples import Sample, Samples


@dataclass(frozen=True, slots=True)
class Position:
    """The offsets of a batch. spans: for each partition the first offset and the one after the last."""

    topic: str
    topic_id: str
    spans: Mapping[int, tuple[int, int]]


class IngestBatches:
    """Writes batches idempotently."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._samples = Samples(database)

    async def write(
        self,
        new: Sequence[Sample],
        touched: Sequence[Sample],
        letters: Sequence[DeadLetter],
        position: Position,
        now: datetime,
    ) -> int:
        """Write a batch and advance its offsets; return the number of new samples.

        touched: the newest sample of each series to register. Raises DatabaseUnavailableError (retry), or
        DataRefusedError if PostgreSQL refuses a value: nothing is written then.
        """
        await self._samples.prepare(sample.time for sample in new)
        try:
            async with self._database.connection() as connection:
                count = await samples.keep(connection, new)
                await samples.touch_series(connection, touched)
                await dead_letters.keep(connection, letters, position.topic_id)
                await ingest_offsets.advance(connection, position.topic, position.topic_id, position.spans, now)
                failpoint("ingest.before_commit")
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise DataRefusedError(f"PostgreSQL refused rows of a batch: {str(error).splitlines()[0]}") from error
        failpoint("ingest.after_commit")
        return count
