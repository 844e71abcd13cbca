"""Decisions as the HTTP API lists them, and figures of all of them."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import groupby
from typing import Any

from psycopg.rows import args_row

from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.scaling_decisions import UNFINISHED, stored


@dataclass(frozen=True, slots=True)
class ListedDecision:
    """What lists show of a decision."""

    id: str
    created_at: datetime
    service_name: str
    namespace: str
    policy: str
    target: str
    decision_type: str
    status: str
    from_replicas: int
    to_replicas: int
    uncapped_replicas: int
    source: str
    reason: str
    message: str
    outcome: str | None
    cause: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """A page of decisions, newest first. next_cursor: cursor of the next page; None on the last page."""

    decisions: list[ListedDecision]
    next_cursor: str | None


_LISTED = ", ".join(field.name for field in fields(ListedDecision))

PAGE = f"""
select {_LISTED} from scaling_decisions
where (%(status)s::text is null or status = %(status)s)
    and (%(service)s::text is null or service_name = %(service)s)
    and (%(policy)s::text is null or policy = %(policy)s)
    and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s))
order by created_at desc, id desc
limit %(limit)s
"""

# The newest of each namespace from the index scaling_decisions_by_namespace: the decisions of others are not read.
PAGE_OF_NAMESPACES = f"""
select {_LISTED} from unnest(%(namespaces)s::text[]) as visible (name) cross join lateral (
    select * from scaling_decisions
    where namespace = visible.name
        and (%(status)s::text is null or status = %(status)s)
        and (%(service)s::text is null or service_name = %(service)s)
        and (%(policy)s::text is null or policy = %(policy)s)
        and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s))
    order by created_at desc, id desc
    limit %(limit)s) as newest
order by created_at desc, id desc
limit %(limit)s
"""

# The newest of each service from the index scaling_decisions_by_service.
NEWEST_OF_SERVICES = f"""
select {_LISTED} from unnest(%(services)s::text[]) as requested (name) cross join lateral (
    select * from scaling_decisions
    where service_name = requested.name
    order by created_at desc, id desc
    limit %(limit)s) as newest
order by service_name, created_at desc, id desc
"""

COUNT_STUCK = """
select count(*) from scaling_decisions
where status = any(%(unfinished)s) and deadline_at < %(now)s
    and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
"""

SUCCESS_RATE = """
select avg((status = 'succeeded')::int)::float8 from scaling_decisions
where finished_at >= %(since)s and status in ('succeeded', 'failed', 'rolled_back')
    and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
"""


class DecisionLists:
    """Reads the table `scaling_decisions`, which ScalingDecisions writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        limit: int = 50,
        *,
        phase: DecisionPhase | None = None,
        service: str | None = None,
        policy: str | None = None,
        namespaces: list[str] | None = None,
        cursor: str | None = None,
    ) -> DecisionPage:
        """Return a page of decisions, newest first. namespaces: None for all. Raises InvalidCursorError."""
        created_at, last_id = decode_cursor(cursor, datetime, str) if cursor else (None, None)
        values = {
            "status": None if phase is None else phase.stored,
            "service": service,
            "policy": policy,
            "namespaces": None if namespaces is None else sorted(set(namespaces)),
            "created_at": created_at,
            "id": last_id,
            "limit": limit + 1,
        }
        return _page(await self._listed(PAGE if namespaces is None else PAGE_OF_NAMESPACES, values), limit)

    async def newest_of(self, services: Sequence[str], limit: int) -> dict[str, DecisionPage]:
        """Return the first page of decisions of each of these services."""
        rows = await self._listed(NEWEST_OF_SERVICES, {"services": sorted(set(services)), "limit": limit + 1})
        found = {name: list(group) for name, group in groupby(rows, key=lambda row: row.service_name)}
        return {service: _page(found.get(service, []), limit) for service in services}

    async def count_stuck(self, now: datetime, namespaces: list[str] | None = None) -> int:
        """Return the number of stuck decisions. namespaces: None for all."""
        values = {"unfinished": stored(UNFINISHED), "now": now, "namespaces": namespaces}
        async with self._database.reading() as connection:
            row = await (await connection.execute(COUNT_STUCK, values)).fetchone()
            return row[0] if row else 0

    async def success_rate(self, since: datetime, namespaces: list[str] | None = None) -> float | None:
        """Return the share of executed decisions finished since `since` that succeeded; None without any.

        namespaces: None for all.
        """
        values = {"since": since, "namespaces": namespaces}
        async with self._database.reading() as connection:
            row = await (await connection.execute(SUCCESS_RATE, values)).fetchone()
            return row[0] if row else None

    async def _listed(self, query: Any, values: dict[str, Any]) -> list[ListedDecision]:
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=args_row(ListedDecision), binary=True) as cursor,
        ):
            await cursor.execute(query, values)
            return await cursor.fetchall()


def _page(rows: list[ListedDecision], limit: int) -> DecisionPage:
    """Return a page. rows: one more than `limit` if there are further pages."""
    cursor = encode_cursor(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
    return DecisionPage(rows[:limit], cursor)
