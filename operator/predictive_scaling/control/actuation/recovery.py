"""What a former leader left unfinished is finished or ended, never doubled (semantics 28).

Each unfinished decision is resumed separately: a target that cannot be observed delays only its own policy.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.raise_holds import recovered_hold
from predictive_scaling.control.actuation.resumption import Resumption, UnfinishedDecision
from predictive_scaling.control.actuation.verification import Verification
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.decision.inputs import FloorChange
from predictive_scaling.errors import (
    ClusterUnavailableError,
    DatabaseUnavailableError,
    PredictiveScalingError,
    RequestFailedError,
)
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from predictive_scaling.targets.registry import TargetFinder

log = structlog.get_logger(__name__)

_MAX_PERIOD = timedelta(hours=24)
"""Of the steps of a policy, as the CustomResourceDefinition allows it."""
_FIRST_PAUSE_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 300.0
_MAX_DOUBLINGS = 10
_MAX_FAILURES_IN_A_ROW = 3
"""Consecutive requests without an API server; the next tick continues with the rest."""
_POLICIES_AT_ONCE = 8
_PASS_SECONDS = 10.0
"""No attempt begins later than this in a tick: targets that do not respond do not delay the policies for long."""


class DecisionHistory(Protocol):
    """The part of storage.ScalingDecisions that is read here."""

    async def unfinished(self) -> Sequence[ScalingDecisionRow]:
        """What a crash may have left, oldest first."""
        ...

    async def last_of_each(self, policies: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], ScalingDecisionRow]:
        """The newest decision of each of these policies."""
        ...

    async def since_of_each(self, since: Mapping[tuple[str, str], datetime]) -> Sequence[ScalingDecisionRow]:
        """The decisions of each of these policies after its time, oldest first."""
        ...

    async def by_id(self, ids: Sequence[str]) -> Mapping[str, ScalingDecisionRow]:
        """The decisions of these ids."""
        ...


class _Recorded(NamedTuple):
    """The decisions from before the start."""

    last: Sequence[ScalingDecisionRow]
    """The newest of each policy."""
    recent: Sequence[ScalingDecisionRow]
    """Those of the last period of each policy, oldest first: they count towards its steps."""
    unfinished: Sequence[ScalingDecisionRow]
    """Oldest first."""


@dataclass(slots=True)
class _Attempts:
    """The attempts of one tick."""

    until: float
    failures_in_a_row: int = 0

    @property
    def are_over(self) -> bool:
        """Whether the rest waits for the next tick."""
        return self.failures_in_a_row >= _MAX_FAILURES_IN_A_ROW or monotonic() >= self.until

    def note(self, error: PredictiveScalingError | None) -> None:
        """Record how an attempt ended. A failed request for one object says nothing about others."""
        is_away = isinstance(error, ClusterUnavailableError) and not isinstance(error, RequestFailedError)
        self.failures_in_a_row = self.failures_in_a_row + 1 if is_away else 0


@dataclass(slots=True)
class Recovery:
    """Runs whenever leadership is gained, from the database or, while that is unavailable, from ScalingDecisions."""

    cache: InformerCache
    history: DecisionHistory
    records: DecisionRecords
    states: PolicyStates
    verification: Verification
    find: TargetFinder
    clock: Clock
    _pending: dict[str, UnfinishedDecision] = field(default_factory=dict[str, UnfinishedDecision])
    _without_database: bool = False
    _resumption: Resumption = field(init=False)

    def __post_init__(self) -> None:
        self._resumption = Resumption(self.cache, self.records, self.states, self.verification, self.find, self.clock)

    def held(self) -> dict[str, str]:
        """Policies by uid that are not decided yet, with the reason."""
        return {
            pending.row.policy_uid: f"decision {name} of a former operator is taken up first: {pending.problem}"
            for name, pending in self._pending.items()
            if not pending.is_late
        }

    async def run(self) -> None:
        """Continue where the records end. Raises ClusterUnavailableError: run again then."""
        await self.records.load()
        recorded = await self._recorded()
        _for_each(recorded.recent, self._recall_change)
        _for_each(recorded.last, self._continue_after)
        waiting = [row for row in recorded.unfinished if row.id not in self.verification.names]
        self._pending = {row.id: UnfinishedDecision(row) for row in waiting}
        await self.resume()
        if recorded.unfinished:
            log.info("unfinished_decisions_taken_up", decisions=len(recorded.unfinished), pending=len(self._pending))

    async def resume(self) -> None:
        """Take up the decisions that are due, several policies at once; each that fails is tried again later.

        The decisions of a policy are taken up in their order, so that the newest one names the next.
        """
        await self._read_again([pending for pending in self._pending.values() if pending.failures and _is_due(pending)])
        policies: dict[str, list[UnfinishedDecision]] = {}
        for pending in self._pending.values():
            policies.setdefault(pending.row.policy_uid, []).append(pending)
        attempts = _Attempts(monotonic() + _PASS_SECONDS)
        slots = asyncio.Semaphore(_POLICIES_AT_ONCE)

        async def take_up(decisions: list[UnfinishedDecision]) -> None:
            async with slots:
                await self._take_up(decisions, attempts)

        async with asyncio.TaskGroup() as group:
            # Those that failed last come last: they do not keep others from being taken up.
            for decisions in sorted(policies.values(), key=lambda decisions: decisions[0].retry_at):
                group.create_task(take_up(decisions))

    async def _take_up(self, decisions: Sequence[UnfinishedDecision], attempts: _Attempts) -> None:
        for pending in decisions:
            if not _is_due(pending) or attempts.are_over:
                return
            try:
                await self._try(pending)
            except PredictiveScalingError as error:
                attempts.note(error)
                self._postpone(pending, error)
                return
            attempts.note(None)
            self._pending.pop(pending.row.id, None)

    async def catch_up(self) -> None:
        """Write what waits for the database, and read what could not be read while it was unavailable.

        Raises DatabaseUnavailableError, ClusterUnavailableError: the next run continues.
        """
        self.records.keep_only({record.key for record in self.cache.policies()})
        await self.records.flush()
        if self.records.log.unavailable is not None or not (self._without_database or self.records.log.lost):
            return
        await self.records.write_back()
        for row in await self.history.unfinished():
            if not self._is_known(row):
                self._pending[row.id] = UnfinishedDecision(row, is_late=True)
        self._without_database = self.records.log.lost = False

    async def _recorded(self) -> _Recorded:
        since = self._begin_of_periods()
        try:
            await self.records.write_back()
            last = await self.history.last_of_each(since)
            recent = await self.history.since_of_each(since)
            unfinished = await self.history.unfinished()
        except DatabaseUnavailableError as error:
            self.records.log.note_unavailable(str(error))
            self._without_database = True
            rows = await self.records.rows()
            log.warning("recovering_without_database", decisions=len(rows), error=str(error))
            newest = {(row.namespace, row.policy, row.policy_uid): row for row in rows}
            known = [row for row in rows if (row.namespace, row.policy) in since]
            recent = [row for row in known if row.created_at > since[row.namespace, row.policy]]
            return _Recorded(list(newest.values()), recent, [row for row in rows if not row.phase.is_final])
        self._without_database = False
        return _Recorded(list(last.values()), recent, unfinished)

    def _begin_of_periods(self) -> dict[tuple[str, str], datetime]:
        """Return by policy when the longest period of its steps began."""
        now = self.clock.now()
        return {record.key: now - _longest_period(record) for record in self.cache.policies()}

    def _recall_change(self, row: ScalingDecisionRow) -> None:
        state = self._resumption.state(row)
        if state is not None and _changed_floor(row) and row.created_at <= self.clock.now():
            state.recall_change(FloorChange(row.created_at, row.from_replicas, row.to_replicas))

    def _continue_after(self, row: ScalingDecisionRow) -> None:
        state = self._resumption.state(row)
        if state is None:
            return
        # An intent without effect is recomputed under the same name; so it is not the previous decision yet.
        if row.phase not in (DecisionPhase.PENDING, DecisionPhase.EXECUTING):
            state.continue_after(row.id)
        hold = recovered_hold(row, self.clock.now())
        if hold is not None:
            state.hold_raises(hold)

    async def _read_again(self, pending: Sequence[UnfinishedDecision]) -> None:
        """Drop decisions that a person has cleared."""
        if not pending:
            return
        try:
            rows = await self.history.by_id([waiting.row.id for waiting in pending])
        except DatabaseUnavailableError:
            return
        for row in rows.values():
            if row.phase.is_final:
                self._resumption.follow(self._pending.pop(row.id))

    async def _try(self, pending: UnfinishedDecision) -> None:
        try:
            await self._resumption.resume(pending)
        except PredictiveScalingError:
            raise
        except Exception as error:  # retries cannot repair it, and no policy may wait for it
            log.exception("decision_not_taken_up", policy=pending.row.policy_name, decision=pending.row.id)
            why = f"Could not be taken up after a restart: {type(error).__name__}: {error}"
            try:
                await self._resumption.end(pending, DecisionPhase.FAILED, why)
            except PredictiveScalingError:
                raise
            except Exception:  # it stays unfinished and can be cleared
                log.exception("unfinished_decision_not_ended", policy=pending.row.policy_name, decision=pending.row.id)

    def _postpone(self, pending: UnfinishedDecision, error: PredictiveScalingError) -> None:
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(pending.failures, _MAX_DOUBLINGS), _MAX_PAUSE_SECONDS)
        pending.failures += 1
        pending.retry_at = monotonic() + pause
        pending.problem = str(error)
        log.warning(
            "decision_taken_up_later",
            policy=pending.row.policy_name,
            decision=pending.row.id,
            seconds=pause,
            error=str(error),
        )

    def _is_known(self, row: ScalingDecisionRow) -> bool:
        state = self._resumption.state(row)
        is_open = state is not None and state.open_decision == row.id
        return is_open or row.id in self._pending or row.id in self.verification.names


def _for_each(rows: Iterable[ScalingDecisionRow], take: Callable[[ScalingDecisionRow], None]) -> None:
    for row in rows:
        try:
            take(row)
        except Exception:  # a failure of one policy affects no other; its reconciliation shows it
            log.exception("decision_not_read", policy=row.policy_name, decision=row.id)


def _longest_period(record: PolicyRecord) -> timedelta:
    """The longest period in which the steps of a policy are limited; the longest possible one of an invalid policy."""
    if record.policy is None:
        return _MAX_PERIOD
    return max(record.policy.spec.scale_up.period, record.policy.spec.scale_down.period)


def _is_due(pending: UnfinishedDecision) -> bool:
    return pending.retry_at <= monotonic()


def _changed_floor(row: ScalingDecisionRow) -> bool:
    """Whether the floor certainly became that of the decision: later steps of the same period count from it."""
    changed = (DecisionPhase.VERIFYING, DecisionPhase.SUCCEEDED, DecisionPhase.ROLLED_BACK, DecisionPhase.RECOMMENDED)
    is_written = row.phase is DecisionPhase.FAILED and row.cause != FailureCause.REFUSED
    return row.phase in changed or is_written
