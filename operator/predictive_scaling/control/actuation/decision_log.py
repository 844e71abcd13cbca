"""Rows of decisions on their way to the database: written at once, or queued in memory while it is unavailable.

The queue is a shortcut, not the record: each decision is a ScalingDecision in the cluster too, and a row that was lost
with the process, or that the full queue did not take, is written from that object (records.py).
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow

log = structlog.get_logger(__name__)

QUEUED = Gauge(
    "predictive_scaling_decision_writes_queued",
    "Rows of decisions and changes of their status that wait in memory for the database.",
)
DROPPED = Counter(
    "predictive_scaling_decision_writes_dropped_total",
    "Writes of decisions that the full queue did not take or that the database refused.",
)
MAX_QUEUED = 20_000


class DecisionTable(Protocol):
    """The part of storage.ScalingDecisions that is used here."""

    async def intend(self, decision: ScalingDecisionRow) -> bool:
        """Insert a row; False when it is there already."""
        ...

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
        """Change the phase of a row; False if the transition is not allowed."""
        ...

    async def by_id(self, ids: Sequence[str]) -> Mapping[str, ScalingDecisionRow]:
        """The rows of these ids."""
        ...

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids that have a row."""
        ...

    async def ping(self) -> None:
        """Raises DatabaseUnavailableError when the database does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a decision's phase at a time."""

    id: str
    phase: DecisionPhase
    now: datetime
    outcome: str | None = None
    deadline_at: datetime | None = None
    cause: str | None = None


@dataclass(slots=True)
class DecisionLog:
    """Writes to the table in the order of the calls; safe for concurrent use."""

    table: DecisionTable
    max_queued: int = MAX_QUEUED
    unavailable: str | None = None
    """Why the last write failed; None if it succeeded."""
    lost: bool = False
    """Whether writes were dropped: the rows have to be written from the ScalingDecisions in the cluster."""
    not_shown: dict[str, ScalingDecisionRow] = field(default_factory=dict[str, ScalingDecisionRow])
    """Rows that ended otherwise than their ScalingDecisions show, such as cleared by a person."""
    _queue: deque[ScalingDecisionRow | Transition] = field(default_factory=deque[ScalingDecisionRow | Transition])
    _inserts: set[str] = field(default_factory=set[str])
    _draining: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def queued(self) -> int:
        """How many writes wait for the database."""
        return len(self._queue)

    async def intend(self, row: ScalingDecisionRow, *, may_wait: bool) -> None:
        """Insert the row of an intent; an existing row is not changed.

        may_wait: queue it while the database is unavailable; otherwise DatabaseUnavailableError is raised.
        """
        if row.id in self._inserts:
            return
        try:
            self._check()
            await self.table.intend(row)
        except DatabaseUnavailableError as error:
            self._put(row, error, may_wait=may_wait)

    async def transition(self, transition: Transition, *, may_wait: bool = True) -> ScalingDecisionRow | None:
        """Change a decision's phase. Return the row if it already ended differently, else None.

        A queued transition counts as made. may_wait: as for `intend`.
        """
        try:
            self._check()
            return await self._write(transition)
        except DatabaseUnavailableError as error:
            self._put(transition, error, may_wait=may_wait)
            return None

    async def flush(self) -> None:
        """Write what is queued, the oldest first; returns early while the database is unavailable."""
        async with self._draining:
            try:
                if self.unavailable is not None:
                    await self.table.ping()
                await self._drain()
            except DatabaseUnavailableError as error:
                self.note_unavailable(str(error))
            else:
                if self.unavailable is not None:
                    log.info("database_available", writes_dropped=self.lost)
                self.unavailable = None

    def _check(self) -> None:
        """Keep the order: until the queue is written, every write goes through it."""
        if self.unavailable is not None:
            raise DatabaseUnavailableError(self.unavailable)

    async def _drain(self) -> None:
        while self._queue:
            first = self._queue[0]
            try:
                if isinstance(first, Transition):
                    ended = await self._write(first)
                    if ended is not None:
                        self.not_shown[first.id] = ended
                else:
                    await self.table.intend(first)
            except DatabaseUnavailableError:
                raise
            except Exception:  # a row that the database refuses must not hold up those behind it
                DROPPED.inc()
                policy = first.policy_name if isinstance(first, ScalingDecisionRow) else None
                log.exception("decision_write_refused", policy=policy, decision=first.id)
            self._queue.popleft()
            if isinstance(first, ScalingDecisionRow):
                self._inserts.discard(first.id)
            QUEUED.set(len(self._queue))

    async def _write(self, transition: Transition) -> ScalingDecisionRow | None:
        is_open = await self.table.transition(
            transition.id,
            transition.phase,
            transition.now,
            outcome=transition.outcome,
            cause=transition.cause,
            deadline_at=transition.deadline_at,
        )
        if is_open:
            return None
        row = (await self.table.by_id([transition.id])).get(transition.id)
        # The same phase: an earlier attempt reached the database although its answer did not reach us.
        return None if row is None or row.phase is transition.phase else row

    def _put(self, write: ScalingDecisionRow | Transition, error: DatabaseUnavailableError, *, may_wait: bool) -> None:
        self.note_unavailable(str(error))
        if not may_wait:
            raise error
        if len(self._queue) >= self.max_queued:
            self.lost = True
            DROPPED.inc()
            return
        self._queue.append(write)
        if isinstance(write, ScalingDecisionRow):
            self._inserts.add(write.id)
        QUEUED.set(len(self._queue))

    def note_unavailable(self, problem: str) -> None:
        """Queue from now on, without asking the database, until `flush` finds it again."""
        if self.unavailable is None:
            log.warning("database_unavailable", error=problem)
        self.unavailable = problem
