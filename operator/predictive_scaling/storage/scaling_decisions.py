"""Scaling decisions: recorded before their execution, and updated with its outcome."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

from psycopg.rows import args_row, class_row
from psycopg.types.json import Jsonb

from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.database import Database

Item = TypeVar("Item")


UNFINISHED = tuple(phase for phase in DecisionPhase if not phase.is_final)
"""The phases of decisions that a crash may leave behind."""

_BATCH_SIZE = 1000
"""Number of policies or ids per statement, which ends well within the statement time-out of a tick."""

# The allowed previous phases of each phase. Executing again is a retry; a failed scale-up can be rolled back.
BEFORE: Mapping[DecisionPhase, Sequence[DecisionPhase]] = {
    DecisionPhase.PENDING: (),
    DecisionPhase.EXECUTING: UNFINISHED,
    DecisionPhase.VERIFYING: (DecisionPhase.EXECUTING,),
    DecisionPhase.SUCCEEDED: (DecisionPhase.EXECUTING, DecisionPhase.VERIFYING),
    DecisionPhase.FAILED: UNFINISHED,
    DecisionPhase.ROLLED_BACK: (DecisionPhase.EXECUTING, DecisionPhase.VERIFYING, DecisionPhase.FAILED),
    DecisionPhase.RECOMMENDED: (DecisionPhase.PENDING,),
    DecisionPhase.SUPERSEDED: UNFINISHED,
    DecisionPhase.CANCELLED: UNFINISHED,
}


@dataclass(frozen=True, slots=True)
class ScalingDecisionRow:
    """A decision. id: the hash in the name of the ScalingDecision; a decision recomputed after a crash has the same."""

    id: str
    created_at: datetime
    service_name: str
    namespace: str
    policy: str
    policy_uid: str
    generation: int
    target: str
    """Kind and name, such as `HorizontalPodAutoscaler/checkout`."""
    decision_type: str
    """scale_up or scale_down."""
    status: str
    """The phase as stored, such as rolled_back."""
    from_replicas: int
    to_replicas: int
    uncapped_replicas: int
    source: str
    """Forecast, Event, Minimum or Fallback, as in the resource."""
    reason: str
    message: str
    mode: str
    """Recommend or Auto, as in the resource."""
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    """Time from which an unfinished decision counts as stuck."""
    forecast: dict[str, Any] | None = None
    limits: tuple[str, ...] | list[str] = ()
    event: str | None = None
    outcome: str | None = None
    """The outcome as a sentence; None while the decision is unfinished. `message` has its reason."""
    cause: str | None = None
    """The cause of failed or rolled_back in one word, such as Quota; None for other phases."""

    @property
    def policy_name(self) -> str:
        """Namespace and name of the policy, as logs name it."""
        return f"{self.namespace}/{self.policy}"

    @property
    def phase(self) -> DecisionPhase:
        """The phase of the decision."""
        return DecisionPhase.from_stored(self.status)


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
_COLUMNS = """id, created_at, service_name, namespace, policy, policy_uid, generation, target, decision_type, status,
from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts, started_at, finished_at,
deadline_at, forecast, limits, event, outcome, cause"""

INTEND = """
insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid, generation, target,
    decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts,
    started_at, finished_at, deadline_at, forecast, limits, event, outcome, cause)
values (%(id)s, %(created_at)s, %(service_name)s, %(namespace)s, %(policy)s, %(policy_uid)s, %(generation)s, %(target)s,
    %(decision_type)s, %(status)s, %(from_replicas)s, %(to_replicas)s, %(uncapped_replicas)s, %(source)s, %(reason)s,
    %(message)s, %(mode)s, %(attempts)s, %(started_at)s, %(finished_at)s, %(deadline_at)s, %(forecast)s, %(limits)s,
    %(event)s, %(outcome)s, %(cause)s)
on conflict (id) do nothing
"""

TRANSITION = """
update scaling_decisions
set status = %(status)s,
    reason = coalesce(%(reason)s, reason),
    outcome = coalesce(%(outcome)s, outcome),
    cause = coalesce(%(cause)s, cause),
    deadline_at = coalesce(%(deadline_at)s, deadline_at),
    attempts = attempts + %(attempt)s,
    started_at = case when %(attempt)s = 1 then coalesce(started_at, %(now)s) else started_at end,
    finished_at = case when %(final)s then %(now)s end
where id = %(id)s and status = any(%(before)s)
"""

UNFINISHED_DECISIONS = (
    f"select {_COLUMNS} from scaling_decisions where status = any(%(unfinished)s) order by created_at, id"
)

BY_ID = f"select {_COLUMNS} from scaling_decisions where id = any(%(ids)s)"

KNOWN = "select id from scaling_decisions where id = any(%(ids)s)"

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

LAST = f"""
select {_COLUMNS} from scaling_decisions
where namespace = %(namespace)s and policy = %(policy)s
order by created_at desc, id desc
limit 1
"""

# One lookup in the index scaling_decisions_by_policy per policy, independent of its number of decisions.
LAST_OF_EACH = f"""
select newest.*
from unnest(%(namespaces)s::text[], %(policies)s::text[]) as requested (namespace, policy)
cross join lateral (
    select {_COLUMNS} from scaling_decisions as decision
    where decision.namespace = requested.namespace and decision.policy = requested.policy
    order by created_at desc, id desc
    limit 1
) as newest
"""

SINCE_OF_EACH = f"""
select recent.*
from unnest(%(namespaces)s::text[], %(policies)s::text[], %(since)s::timestamptz[])
    as requested (namespace, policy, since)
cross join lateral (
    select {_COLUMNS} from scaling_decisions as decision
    where decision.namespace = requested.namespace and decision.policy = requested.policy
        and decision.created_at > requested.since
) as recent
order by recent.created_at, recent.id
"""

STUCK = f"""
select {_COLUMNS} from scaling_decisions
where status = any(%(unfinished)s) and deadline_at < %(now)s
order by deadline_at, id
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


class ScalingDecisions:
    """The table `scaling_decisions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intend(self, decision: ScalingDecisionRow) -> bool:
        """Record a decision before its execution. Returns False if the id already exists."""
        values = asdict(decision)
        values["forecast"] = None if decision.forecast is None else Jsonb(decision.forecast)
        values["limits"] = list(decision.limits)
        async with self._database.connection() as connection:
            return (await connection.execute(INTEND, values)).rowcount == 1

    async def transition(
        self,
        id: str,  # noqa: A002 (the column's name)
        phase: DecisionPhase,
        now: datetime,
        *,
        reason: str | None = None,
        outcome: str | None = None,
        cause: str | None = None,
        deadline_at: datetime | None = None,
    ) -> bool:
        """Change the phase of a decision. EXECUTING counts and starts an attempt; a final phase finishes it.

        Returns False without a change if the decision does not exist or the transition is not allowed: a finished
        decision never changes. reason, outcome, cause and deadline_at stay unchanged when None.
        """
        values = {
            "id": id,
            "status": phase.stored,
            "before": _stored(BEFORE[phase]),
            "attempt": int(phase is DecisionPhase.EXECUTING),
            "final": phase.is_final,
            "now": now,
            "reason": reason,
            "outcome": outcome,
            "cause": cause,
            "deadline_at": deadline_at,
        }
        async with self._database.connection() as connection:
            return (await connection.execute(TRANSITION, values)).rowcount == 1

    async def unfinished(self) -> list[ScalingDecisionRow]:
        """Return the unfinished decisions, oldest first; a crash may leave some."""
        return await self._rows(UNFINISHED_DECISIONS, {"unfinished": _stored(UNFINISHED)})

    async def by_id(self, ids: Sequence[str]) -> dict[str, ScalingDecisionRow]:
        """Return the decisions of these ids that exist."""
        rows: dict[str, ScalingDecisionRow] = {}
        for batch in _batches(ids):
            rows |= {row.id: row for row in await self._rows(BY_ID, {"ids": batch})}
        return rows

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids that exist."""
        known: set[str] = set()
        async with self._database.connection() as connection:
            for batch in _batches(ids):
                known |= {row[0] for row in await (await connection.execute(KNOWN, {"ids": batch})).fetchall()}
        return known

    async def ping(self) -> None:
        """Raise DatabaseUnavailableError if the database does not respond."""
        await self._database.ping()

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

    async def last(self, namespace: str, policy: str) -> ScalingDecisionRow | None:
        """Return the newest decision of a policy."""
        rows = await self._rows(LAST, {"namespace": namespace, "policy": policy})
        return rows[0] if rows else None

    async def last_of_each(self, policies: Iterable[tuple[str, str]]) -> dict[tuple[str, str], ScalingDecisionRow]:
        """Return the newest decision of each of these policies (namespace, name) that has decisions."""
        last: dict[tuple[str, str], ScalingDecisionRow] = {}
        for batch in _batches(sorted(set(policies))):
            values = {"namespaces": [key[0] for key in batch], "policies": [key[1] for key in batch]}
            last |= {(row.namespace, row.policy): row for row in await self._rows(LAST_OF_EACH, values)}
        return last

    async def since_of_each(self, since: Mapping[tuple[str, str], datetime]) -> list[ScalingDecisionRow]:
        """Return the decisions of each of these policies (namespace, name) after its time, oldest first."""
        rows: list[ScalingDecisionRow] = []
        for batch in _batches(sorted(since)):
            values = {
                "namespaces": [key[0] for key in batch],
                "policies": [key[1] for key in batch],
                "since": [since[key] for key in batch],
            }
            rows += await self._rows(SINCE_OF_EACH, values)
        return rows

    async def stuck(self, now: datetime) -> list[ScalingDecisionRow]:
        """Return the unfinished decisions whose deadline has passed, by deadline."""
        return await self._rows(STUCK, {"unfinished": _stored(UNFINISHED), "now": now})

    async def count_stuck(self, now: datetime, namespaces: list[str] | None = None) -> int:
        """Return the number of stuck decisions. namespaces: None for all."""
        values = {"unfinished": _stored(UNFINISHED), "now": now, "namespaces": namespaces}
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

    async def _rows(self, query: Any, values: Mapping[str, Any]) -> list[ScalingDecisionRow]:
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(ScalingDecisionRow)) as cursor,
        ):
            await cursor.execute(query, values)
            return await cursor.fetchall()


def _page(rows: list[ListedDecision], limit: int) -> DecisionPage:
    """Return a page. rows: one more than `limit` if there are further pages."""
    cursor = encode_cursor(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
    return DecisionPage(rows[:limit], cursor)


def _stored(phases: Sequence[DecisionPhase]) -> list[str]:
    return [phase.stored for phase in phases]


def _batches(items: Sequence[Item]) -> list[list[Item]]:
    return [list(items[start : start + _BATCH_SIZE]) for start in range(0, len(items), _BATCH_SIZE)]
