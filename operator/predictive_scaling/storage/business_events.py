"""Occurrences of business events, for learning and for the API."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row

from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.database import Database


class EventName(NamedTuple):
    """Namespace and name of a BusinessEvent."""

    namespace: str
    name: str


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
    """Names of the policies that it matched at the last update."""
    updated_at: datetime
    learned_multiplier: float | None = None
    """Measured after the occurrence: demand during it over the expected demand without it."""
    confirmed_at: datetime | None = None
    """Time at which the occurrence had ended while still scheduled, so that it took place; None while it is planned."""
    observed_multiplier: float | None = None
    """Measured during the occurrence: the highest demand over ten minutes, over its baseline. None if not declared."""
    multiplier_verdict: str | None = None
    """A MultiplierVerdict; None until it is known."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule of a BusinessEvent."""

    fingerprint: str
    """A hash of the times of the event."""

    since: datetime | None
    """Time of the edit that set this schedule; None for the first schedule."""


@dataclass(frozen=True, slots=True)
class EventHistory:
    """The target state of the table for a BusinessEvent."""

    schedule: Schedule
    covered_since: datetime
    """Occurrences that ended earlier stay unchanged."""

    starts: Collection[datetime]
    """Starts of all occurrences from then on; other planned occurrences are deleted."""

    excluded: Collection[datetime] = ()
    """Starts that excludeDates removes, including past starts."""

    corrects_within: timedelta | None = None
    """Maximum difference to a recorded start that an edit corrects; None without a correction."""


@dataclass(frozen=True, slots=True)
class ObservedOccurrence:
    """The multiplier that was observed during an occurrence, and how it compares with the declared one."""

    namespace: str
    name: str
    start_time: datetime
    multiplier: float
    verdict: str | None


@dataclass(frozen=True, slots=True)
class LearnedOccurrence:
    """The measured factor of a past occurrence on demand."""

    namespace: str
    name: str
    start_time: datetime
    multiplier: float


RECORD = """
insert into business_events (namespace, name, type, start_time, end_time, multiplier, min_replicas, priority, policies,
    updated_at, learned_multiplier, confirmed_at)
values (%(namespace)s, %(name)s, %(type)s, %(start_time)s, %(end_time)s, %(multiplier)s, %(min_replicas)s, %(priority)s,
    %(policies)s, %(updated_at)s, %(learned_multiplier)s, %(confirmed_at)s)
on conflict (namespace, name, start_time) do update
set type = excluded.type, end_time = excluded.end_time, multiplier = excluded.multiplier,
    min_replicas = excluded.min_replicas, priority = excluded.priority, policies = excluded.policies,
    updated_at = excluded.updated_at,
    learned_multiplier = coalesce(excluded.learned_multiplier, business_events.learned_multiplier),
    confirmed_at = case when excluded.end_time = business_events.end_time
        then coalesce(business_events.confirmed_at, excluded.confirmed_at) else excluded.confirmed_at end
"""

RECORD_LEARNED = """
update business_events as known set learned_multiplier = learned.multiplier
from unnest(%(namespaces)s::text[], %(names)s::text[], %(starts)s::timestamptz[], %(multipliers)s::float8[])
    as learned (namespace, name, start_time, multiplier)
where known.namespace = learned.namespace and known.name = learned.name and known.start_time = learned.start_time
    and known.learned_multiplier is distinct from learned.multiplier
"""

RECORD_OBSERVED = """
update business_events set observed_multiplier = %(multiplier)s, multiplier_verdict = %(verdict)s
where namespace = %(namespace)s and name = %(name)s and start_time = %(start_time)s
"""

BETWEEN = """
select namespace, name, type, start_time, end_time, multiplier, min_replicas, priority, policies, updated_at,
    learned_multiplier, confirmed_at, observed_multiplier, multiplier_verdict
from business_events
where start_time < %(until)s and end_time > %(since)s
order by start_time, namespace, name
"""

PAGE = """
select namespace, name, type, start_time, end_time, multiplier, min_replicas, priority, policies, updated_at,
    learned_multiplier, observed_multiplier, multiplier_verdict
from business_events
where start_time < %(until)s and end_time > %(since)s
    and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
    and (%(start_time)s::timestamptz is null
        or (start_time, namespace, name) > (%(start_time)s, %(namespace)s, %(name)s))
order by start_time, namespace, name
limit %(limit)s
"""

SCHEDULES = "select namespace, name, schedule, since from business_event_schedules"

SET_SCHEDULE = """
insert into business_event_schedules (namespace, name, schedule, since)
values (%(namespace)s, %(name)s, %(schedule)s, %(since)s)
on conflict (namespace, name) do update set schedule = excluded.schedule, since = excluded.since
"""

DROP_SCHEDULE = "delete from business_event_schedules where namespace = %(namespace)s and name = %(name)s"

DROP_MOVED = """
delete from business_events
where namespace = %(namespace)s and name = %(name)s and end_time > %(covered_since)s
    and (confirmed_at is null or start_time = any(%(excluded)s)) and start_time <> all(%(starts)s)
"""

DROP_CORRECTED = """
delete from business_events
where namespace = %(namespace)s and name = %(name)s and start_time <> all(%(starts)s) and start_time = (
    select max(start_time) from business_events
    where namespace = %(namespace)s and name = %(name)s and confirmed_at is not null
        and start_time between %(earliest)s and %(latest)s
)
"""

CONFIRM = """
update business_events set confirmed_at = %(seen_until)s
where namespace = %(namespace)s and name = %(name)s and confirmed_at is null and end_time <= %(seen_until)s
"""

DROP_PLANNED = """
delete from business_events where namespace = %(namespace)s and name = %(name)s and confirmed_at is null
"""

NAMES = """
select namespace, name from business_event_schedules
union
select namespace, name from business_events where confirmed_at is null
"""


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of occurrences, by start. next_cursor: cursor of the next page; None on the last page."""

    events: list[BusinessEventRow]
    next_cursor: str | None


class BusinessEvents:
    """The tables `business_events` and `business_event_schedules`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, occurrences: Sequence[BusinessEventRow]) -> None:
        """Upsert occurrences; learned multipliers and confirmations are kept unless the rows set them."""
        async with self._database.connection() as connection:
            await _record(connection, occurrences)

    async def record_learned(self, learned: Sequence[LearnedOccurrence]) -> None:
        """Record changed multipliers of occurrences; unknown occurrences are ignored."""
        values = {
            "namespaces": [occurrence.namespace for occurrence in learned],
            "names": [occurrence.name for occurrence in learned],
            "starts": [occurrence.start_time for occurrence in learned],
            "multipliers": [occurrence.multiplier for occurrence in learned],
        }
        async with self._database.connection() as connection:
            await connection.execute(RECORD_LEARNED, values)

    async def record_observed(self, observed: ObservedOccurrence) -> None:
        """Record what was observed during an occurrence; an unknown occurrence is ignored."""
        async with self._database.connection() as connection:
            await connection.execute(RECORD_OBSERVED, asdict(observed))

    async def between(self, since: datetime, until: datetime) -> list[BusinessEventRow]:
        """Return the occurrences that overlap [since, until), by start."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(BusinessEventRow)) as cursor,
        ):
            await cursor.execute(BETWEEN, {"since": since, "until": until})
            return await cursor.fetchall()

    async def page(
        self,
        since: datetime,
        until: datetime,
        limit: int,
        *,
        namespaces: list[str] | None = None,
        cursor: str | None = None,
    ) -> EventPage:
        """Return a page of the occurrences that overlap [since, until). Raises InvalidCursorError.

        namespaces: None for all.
        """
        start_time, namespace, name = decode_cursor(cursor, datetime, str, str) if cursor else (None, None, None)
        values = {
            "since": since,
            "until": until,
            "namespaces": namespaces,
            "start_time": start_time,
            "namespace": namespace,
            "name": name,
            "limit": limit + 1,
        }
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(BusinessEventRow)) as rows,
        ):
            await rows.execute(PAGE, values)
            fetched = await rows.fetchall()
        shown, last = fetched[:limit], fetched[:limit][-1:]
        more = len(fetched) > limit
        return EventPage(shown, encode_cursor(last[0].start_time, last[0].namespace, last[0].name) if more else None)

    async def schedules(self) -> dict[EventName, Schedule]:
        """Return the schedules of all existing BusinessEvents."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(SCHEDULES)).fetchall()
        return {EventName(namespace, name): Schedule(schedule, since) for namespace, name, schedule, since in rows}

    async def names(self) -> set[EventName]:
        """Return the BusinessEvents with a schedule or with planned occurrences."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(NAMES)).fetchall()
        return {EventName(*row) for row in rows}

    async def replace(self, name: EventName, history: EventHistory, changed: Sequence[BusinessEventRow]) -> None:
        """Update the rows of an event to its schedule, in one transaction.

        Planned occurrences that are no longer scheduled are deleted; past occurrences stay. changed: the rows to write.
        """
        event = name._asdict()
        schedule = {"schedule": history.schedule.fingerprint, "since": history.schedule.since}
        moved = {
            "covered_since": history.covered_since,
            "starts": list(history.starts),
            "excluded": list(history.excluded),
        }
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(SET_SCHEDULE, event | schedule)
            dropped = await connection.execute(DROP_MOVED, event | moved)
            if history.corrects_within is not None and history.starts and not dropped.rowcount:
                near = {
                    "starts": list(history.starts),
                    "earliest": min(history.starts) - history.corrects_within,
                    "latest": max(history.starts) + history.corrects_within,
                }
                await connection.execute(DROP_CORRECTED, event | near)
            await _record(connection, changed)

    async def cancel(self, name: EventName, seen_until: datetime | None) -> None:
        """Delete the planned occurrences of a deleted event; past occurrences stay for learning.

        seen_until: when the event last existed; None if unknown, as after a restart: then only confirmed occurrences
        stay.
        """
        event = name._asdict()
        async with self._database.connection() as connection, connection.transaction():
            if seen_until is not None:
                await connection.execute(CONFIRM, event | {"seen_until": seen_until})
            await connection.execute(DROP_PLANNED, event)
            await connection.execute(DROP_SCHEDULE, event)


async def _record(connection: AsyncConnection, occurrences: Sequence[BusinessEventRow]) -> None:
    values = [asdict(row) | {"policies": list(row.policies)} for row in occurrences]
    if values:
        async with connection.cursor() as cursor:
            await cursor.executemany(RECORD, values)
