"""Rejected messages with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected message. `raw` holds its first RAW_BYTES."""

    topic: str
    partition: int
    offset: int
    reason: str
    """The reason of the rejection, such as missing_field."""
    detail: str
    """One sentence with the value and the allowed values."""
    raw: bytes
    raw_size: int
    """Size of the message in bytes."""
    received_at: datetime


RAW_BYTES = 4096

STAGE = "create temporary table if not exists incoming_dead_letters (like dead_letters) on commit delete rows"
COPY = """
copy incoming_dead_letters (topic, partition, message_offset, topic_id, reason, detail, raw, raw_size, received_at)
from stdin (format binary)
"""
TYPES = ["text", "int4", "int8", "text", "text", "text", "bytea", "int4", "timestamptz"]
KEEP = "insert into dead_letters select * from incoming_dead_letters on conflict do nothing"

NEWEST = """
select topic, partition, message_offset as "offset", reason, detail, raw, raw_size, received_at from dead_letters
order by received_at desc, topic, partition, message_offset desc
limit %(limit)s
"""

COUNTS = "select reason, count(*) from dead_letters where received_at >= %(since)s group by reason order by reason"


class DeadLetters:
    """The table `dead_letters`: one row for each position in a topic."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, limit: int = 50) -> list[DeadLetter]:
        """Return the newest dead letters."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(DeadLetter)) as cursor,
        ):
            await cursor.execute(NEWEST, {"limit": limit})
            return await cursor.fetchall()

    async def counts(self, since: datetime) -> dict[str, int]:
        """Return the number of dead letters since `since` by reason."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(COUNTS, {"since": since})).fetchall()
            return dict(rows)


async def keep(connection: Connection, letters: Sequence[DeadLetter], topic_id: str = "") -> None:
    """Write dead letters within the caller's transaction; existing rows stay unchanged.

    topic_id: Kafka's id of their topic, which distinguishes it from a deleted topic of the same name.
    """
    if not letters:
        return
    async with connection.cursor() as cursor:
        await cursor.execute(STAGE)
        async with cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for letter in letters:
                await copy.write_row(
                    (
                        letter.topic,
                        letter.partition,
                        letter.offset,
                        topic_id,
                        letter.reason,
                        letter.detail,
                        letter.raw[:RAW_BYTES],
                        letter.raw_size,
                        letter.received_at,
                    )
                )
        await cursor.execute(KEEP)
