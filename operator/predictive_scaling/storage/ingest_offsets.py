"""The consumed offsets of a topic, authoritative because they are written with the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class IngestOffset:
    """The next offset to read of a partition. topic_id: Kafka's id of the topic, empty if it has none."""

    topic: str
    partition: int
    next_offset: int
    topic_id: str


ADVANCE = """
insert into ingest_offsets (topic, partition, next_offset, topic_id, updated_at)
values (%(topic)s, %(partition)s, %(next_offset)s, %(topic_id)s, %(now)s)
on conflict (topic, partition) do update
set next_offset = greatest(ingest_offsets.next_offset, excluded.next_offset), topic_id = excluded.topic_id,
    updated_at = excluded.updated_at
"""

# One history row per minute is precise enough for a rewind.
REMEMBER = """
insert into ingest_history (topic, partition, minute, next_offset)
values (%(topic)s, %(partition)s, date_bin('1 minute', %(now)s, 'epoch'), %(first_offset)s)
on conflict do nothing
"""

OF_TOPIC = (
    "select topic, partition, next_offset, topic_id from ingest_offsets where topic = %(topic)s order by partition"
)

FORGET = "delete from ingest_offsets where topic = %(topic)s and partition = %(partition)s"
FORGET_HISTORY = "delete from ingest_history where topic = %(topic)s and partition = %(partition)s"

AT = """
select distinct on (partition) partition, next_offset from ingest_history
where topic = %(topic)s and minute <= %(at)s
order by partition, minute desc
"""

REWIND = """
update ingest_offsets set next_offset = %(next_offset)s, updated_at = %(now)s
where topic = %(topic)s and partition = %(partition)s
"""

# Messages after the rewind time are read again, so their history rows would hold wrong offsets.
CUT_HISTORY = """
delete from ingest_history where topic = %(topic)s and partition = %(partition)s and next_offset > %(next_offset)s
"""


class IngestOffsets:
    """The tables `ingest_offsets` and `ingest_history`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_topic(self, topic: str) -> dict[int, IngestOffset]:
        """Return the offsets of all consumed partitions by number."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(IngestOffset)) as cursor,
        ):
            await cursor.execute(OF_TOPIC, {"topic": topic})
            return {row.partition: row for row in await cursor.fetchall()}

    async def forget(self, topic: str, partitions: Sequence[int]) -> None:
        """Delete the offsets of partitions whose topic was recreated."""
        async with self._database.connection() as connection, connection.cursor() as cursor:
            values = [{"topic": topic, "partition": partition} for partition in partitions]
            await cursor.executemany(FORGET, values)
            await cursor.executemany(FORGET_HISTORY, values)

    async def at(self, topic: str, at: datetime) -> dict[int, int]:
        """Return each partition's next offset at a product time, without partitions that were not yet consumed."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(AT, {"topic": topic, "at": at})).fetchall()
            return dict(rows)

    async def rewind(self, topic: str, offsets: Mapping[int, int], now: datetime) -> None:
        """Rewind partitions to these offsets."""
        async with self._database.connection() as connection, connection.cursor() as cursor:
            values = [
                {"topic": topic, "partition": partition, "next_offset": offset, "now": now}
                for partition, offset in offsets.items()
            ]
            await cursor.executemany(REWIND, values)
            await cursor.executemany(CUT_HISTORY, values)


async def advance(
    connection: Connection, topic: str, topic_id: str, spans: Mapping[int, tuple[int, int]], now: datetime
) -> None:
    """Advance partitions within the caller's transaction, never backwards.

    spans: for each partition the first offset of the batch and the next one after it.
    """
    values = [
        {
            "topic": topic,
            "partition": partition,
            "first_offset": first,
            "next_offset": end,
            "topic_id": topic_id,
            "now": now,
        }
        for partition, (first, end) in sorted(spans.items())
    ]
    async with connection.cursor() as cursor:
        await cursor.executemany(ADVANCE, values)
        await cursor.executemany(REMEMBER, values)
