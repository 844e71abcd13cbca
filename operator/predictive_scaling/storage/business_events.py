"""Occurrences of business events: what is learned from, and what the API lists."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
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

PAGE = """
select namespace, name, type, start_time, end_time, multiplier, min_replicas, priority, policies, updated_at,
    learned_multiplier
from business_events
where start_time < %(until)s and end_time > %(since)s
    and (%(start_time)s::timestamptz is null
        or (start_time, namespace, name) > (%(start_time)s, %(namespace)s, %(name)s))
order by start_time, namespace, name
limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some occurrences, by start. next_cursor: asks for those behind them; None at the end."""

    events: list[BusinessEventRow]
    next_cursor: str | None


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

    async def page(self, since: datetime, until: datetime, limit: int, cursor: str | None = None) -> EventPage:
        """A page of the occurrences that touch [since, until). Raises InvalidCursorError."""
        start_time, namespace, name = decode_cursor(cursor, datetime, str, str) if cursor else (None, None, None)
        values = {
            "since": since,
            "until": until,
            "start_time": start_time,
            "namespace": namespace,
            "name": name,
            "limit": limit + 1,
        }
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(BusinessEventRow)) as rows,
        ):
            await rows.execute(PAGE, values)
            found = await rows.fetchall()
        shown, last = found[:limit], found[:limit][-1:]
        more = len(found) > limit
        return EventPage(shown, encode_cursor(last[0].start_time, last[0].namespace, last[0].name) if more else None)

    async def forget(self, namespace: str, name: str, now: datetime) -> None:
        """A deleted event will not happen; what is over stays, as it is learned from."""
        async with self._database.connection() as connection:
            await connection.execute(FORGET, {"namespace": namespace, "name": name, "now": now})
