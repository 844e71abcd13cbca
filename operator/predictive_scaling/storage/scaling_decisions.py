"""Scaling decisions: recorded before their execution, and updated with its outcome."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from predictive_scaling.resources.vocabulary import DecisionPhase
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
            "before": stored(BEFORE[phase]),
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
        return await self._rows(UNFINISHED_DECISIONS, {"unfinished": stored(UNFINISHED)})

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
        return await self._rows(STUCK, {"unfinished": stored(UNFINISHED), "now": now})

    async def _rows(self, query: Any, values: Mapping[str, Any]) -> list[ScalingDecisionRow]:
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(ScalingDecisionRow)) as cursor,
        ):
            await cursor.execute(query, values)
            return await cursor.fetchall()


def stored(phases: Sequence[DecisionPhase]) -> list[str]:
    """Return phases as the table has them."""
    return [phase.stored for phase in phases]


def _batches(items: Sequence[Item]) -> list[list[Item]]:
    return [list(items[start : start + _BATCH_SIZE]) for start in range(0, len(items), _BATCH_SIZE)]
