"""Occurrences of business events: what is learned from, and what the API lists."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class BusinessEventRow:
    """One occurrence of a BusinessEvent, half-open in time."""

    namespace: str
    name: str
    type: str | None
    start_time: datetime
    end_time: datetime
    multiplier: float | None
    min_replicas: int | None
    priority: int
    policies: tuple[str, ...] | list[str]
    """Names of the policies it matched when it was last seen."""
    updated_at: datetime
    learned_multiplier: float | None = None
    """Measured once the occurrence is over: demand during it, over what was to be expected without it."""


RECORD = """
insert into business_events (namespace, name, type, start_time, end_time, multiplier, min_replicas, priority, policies,
    updated_at, learned_multiplier)
values (%(namespace)s, %(name)s, %(type)s, %(start_time)s, %(end_time)s, %(multiplier)s, %(min_replicas)s, %(priority)s,
    %(policies)s, %(updated_at)s, %(learned_multiplier)s)
on conflict (namespace, name, start_time) do update
set type = excluded.type, end_time = excluded.end_time, multiplier = excluded.multiplier,
    min_replicas = excluded.min_replicas, priority = excluded.priority, policies = excluded.policies,
    updated_at = excluded.updated_at,
    learned_multiplier = coalesce(excluded.learned_multiplier, business_events.learned_multiplier)
"""

BETWEEN = """
select namespace, name, type, start_time, end_time, multiplier, min_replicas, priority, policies, updated_at,
    learned_multiplier
from business_events
where start_time < %(until)s and end_time > %(since)s
order by start_time, namespace, name
"""

FORGET = "delete from business_events where namespace = %(namespace)s and name = %(name)s and end_time > %(now)s"


class BusinessEvents:
    """The table `business_events`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, occurrences: Sequence[BusinessEventRow]) -> None:
        """Keep occurrences as they are now; what was learned stays unless it is given."""
        values = [asdict(row) | {"policies": list(row.policies)} for row in occurrences]
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, values)

    async def between(self, since: datetime, until: datetime) -> list[BusinessEventRow]:
        """Occurrences that touch [since, until), by start."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(BusinessEventRow)) as cursor,
        ):
            await cursor.execute(BETWEEN, {"since": since, "until": until})
            return await cursor.fetchall()

    async def forget(self, namespace: str, name: str, now: datetime) -> None:
        """A deleted event will not happen; what is over stays, as it is learned from."""
        async with self._database.connection() as connection:
            await connection.execute(FORGET, {"namespace": namespace, "name": name, "now": now})
