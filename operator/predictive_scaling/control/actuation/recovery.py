"""What a former leader left unfinished is finished or ended, never doubled (semantics 28).

Each unfinished decision is resumed separately: a target that cannot be observed delays only its own policy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.control.actuation.assessment import recovered_hold
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.verification import ExpectedReplicas, Verification
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.errors import (
    ClusterUnavailableError,
    DatabaseUnavailableError,
    PredictiveScalingError,
    TargetNotFoundError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.vocabulary import DecisionPhase, Reason
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from predictive_scaling.targets.port import Target, with_record
from predictive_scaling.targets.registry import TargetFinder, target_named

log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 300.0
_MAX_FAILURES_IN_A_ROW = 3
"""Consecutive requests without an API server; the next tick continues with the rest."""


class DecisionHistory(Protocol):
    """The part of storage.ScalingDecisions that is read here."""

    async def unfinished(self) -> Sequence[ScalingDecisionRow]:
        """What a crash may have left, oldest first."""
        ...

    async def last_of_each(self, policies: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], ScalingDecisionRow]:
        """The newest decision of each of these policies."""
        ...

    async def by_id(self, ids: Sequence[str]) -> Mapping[str, ScalingDecisionRow]:
        """The decisions of these ids."""
        ...


@dataclass(slots=True)
class _Pending:
    """An unfinished decision that was not taken up yet."""

    row: ScalingDecisionRow
    is_late: bool = False
    """Found after a newer decision of its policy: it does not describe the newest decision."""
    failures: int = 0
    retry_at: float = 0.0
    problem: str = "not looked at yet"


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
    _pending: dict[str, _Pending] = field(default_factory=dict[str, _Pending])
    _without_database: bool = False

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
        last, unfinished = await self._recorded()
        for row in last:
            try:
                self._continue_after(row)
            except Exception:  # a failure of one policy affects no other; its reconciliation shows it
                log.exception("last_decision_not_read", decision=row.id)
        self._pending = {row.id: _Pending(row) for row in unfinished if row.id not in self.verification.names}
        await self.resume()
        if unfinished:
            log.info("unfinished_decisions_taken_up", decisions=len(unfinished), pending=len(self._pending))

    async def resume(self) -> None:
        """Take up the decisions that are pending and due; each that fails is tried again later, longer each time."""
        due = [pending for pending in self._pending.values() if pending.retry_at <= monotonic()]
        await self._read_again([pending for pending in due if pending.failures])
        in_a_row = 0
        for pending in due:
            if pending.row.id not in self._pending:
                continue
            if in_a_row >= _MAX_FAILURES_IN_A_ROW:
                return
            try:
                await self._try(pending)
            except PredictiveScalingError as error:
                in_a_row = in_a_row + 1 if isinstance(error, ClusterUnavailableError) else 0
                self._postpone(pending, error)
            else:
                in_a_row = 0
                del self._pending[pending.row.id]

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
                self._pending[row.id] = _Pending(row, is_late=True)
        self._without_database = self.records.log.lost = False

    async def _recorded(self) -> tuple[list[ScalingDecisionRow], list[ScalingDecisionRow]]:
        """Return the newest decision of each policy, and all unfinished decisions."""
        keys = [record.key for record in self.cache.policies()]
        try:
            await self.records.write_back()
            last = await self.history.last_of_each(keys)
            unfinished = await self.history.unfinished()
        except DatabaseUnavailableError as error:
            self.records.log.note_unavailable(str(error))
            self._without_database = True
            rows = await self.records.rows()
            log.warning("recovering_without_database", decisions=len(rows), error=str(error))
            newest = {(row.namespace, row.policy, row.policy_uid): row for row in rows}
            return list(newest.values()), [row for row in rows if not row.phase.is_final]
        self._without_database = False
        return list(last.values()), list(unfinished)

    def _continue_after(self, row: ScalingDecisionRow) -> None:
        state = self._state(row)
        # An intent without effect is recomputed under the same name; so it is not the previous decision yet.
        if state is not None and row.phase not in (DecisionPhase.PENDING, DecisionPhase.EXECUTING):
            state.continue_after(row.id)
            if row.reason == Reason.ROLLED_BACK:
                state.hold_raises(recovered_hold(row))

    async def _read_again(self, pending: Sequence[_Pending]) -> None:
        """Drop decisions that a person has cleared."""
        if not pending:
            return
        try:
            rows = await self.history.by_id([waiting.row.id for waiting in pending])
        except DatabaseUnavailableError:
            return
        for row in rows.values():
            if row.phase.is_final:
                self._follow(row)
                del self._pending[row.id]

    async def _try(self, pending: _Pending) -> None:
        try:
            await self._resume(pending)
        except PredictiveScalingError:
            raise
        except Exception as error:  # retries cannot repair it, and no policy may wait for it
            log.exception("decision_not_taken_up", decision=pending.row.id)
            why = f"Could not be taken up after a restart: {type(error).__name__}: {error}"
            try:
                await self._end(pending.row, DecisionPhase.FAILED, why)
            except PredictiveScalingError:
                raise
            except Exception:  # it stays unfinished and can be cleared
                log.exception("unfinished_decision_not_ended", decision=pending.row.id)

    def _postpone(self, pending: _Pending, error: PredictiveScalingError) -> None:
        pause = min(_FIRST_PAUSE_SECONDS * 2**pending.failures, _MAX_PAUSE_SECONDS)
        pending.failures += 1
        pending.retry_at = monotonic() + pause
        pending.problem = str(error)
        log.warning("decision_taken_up_later", decision=pending.row.id, seconds=pause, error=str(error))

    async def _resume(self, pending: _Pending) -> None:
        row, record = pending.row, self._record(pending.row)
        state = self._state(row)
        if record is None or state is None:
            await self._end(row, DecisionPhase.CANCELLED, "The policy was deleted.")
            return
        if pending.is_late and await self._ended_in_cluster(row):
            return
        try:
            target = with_record(self._target(row, record), state.takeover)
        except TargetUnsupportedError as error:
            await self._end(row, DecisionPhase.CANCELLED, f"Its target cannot be observed any more: {error}")
            return
        if row.phase is not DecisionPhase.VERIFYING and not await _had_effect(target, row):
            if pending.is_late:
                await self._end(row, DecisionPhase.SUPERSEDED, "Never carried out: later decisions were made.")
            else:
                state.open_intent(row.id)
            return
        await self._verify(record, state, target, pending)

    async def _ended_in_cluster(self, row: ScalingDecisionRow) -> bool:
        """Whether the ScalingDecision ended while the database was unavailable; the row then follows it."""
        shown = await self.records.was_listed(row)
        if shown is None or not shown.phase.is_final:
            return False
        if shown.phase is DecisionPhase.SUCCEEDED and row.phase is DecisionPhase.PENDING:
            await self.records.transition(self._key(row), row.id, DecisionPhase.EXECUTING)
        await self.records.transition(self._key(row), row.id, shown.phase, shown.outcome)
        return True

    async def _verify(self, record: PolicyRecord, state: PolicyState, target: Target, pending: _Pending) -> None:
        row, now = pending.row, self.clock.now()
        if row.phase is DecisionPhase.PENDING and not await self._moved(row, DecisionPhase.EXECUTING):
            return
        if not pending.is_late:
            state.continue_after(row.id)
            state.confirm_takeover()
        deadline = row.deadline_at or now + timedelta(minutes=10)
        try:
            observed = await target.observe()
            uid, template = observed.uid, observed.template
        except PredictiveScalingError:
            uid, template = "", ""
        if row.phase is not DecisionPhase.VERIFYING and not await self._moved(row, DecisionPhase.VERIFYING):
            return
        self.verification.expect(
            ExpectedReplicas(
                name=row.id,
                record=record,
                state=state,
                target=target,
                before=row.from_replicas,
                to=row.to_replicas,
                # The start of the replicas was not observed: no lead time is learned from it.
                ready_before=row.to_replicas,
                saw_start=False,
                target_uid=uid,
                template=template,
                applied_at=row.started_at or now,
                deadline_at=deadline,
            )
        )

    async def _moved(self, row: ScalingDecisionRow, phase: DecisionPhase) -> bool:
        deadline = row.deadline_at or self.clock.now() + timedelta(minutes=10)
        if await self.records.transition(self._key(row), row.id, phase, deadline_at=deadline):
            return True
        self._follow(row)
        return False

    async def _end(self, row: ScalingDecisionRow, phase: DecisionPhase, message: str) -> None:
        await self.records.transition(self._key(row), row.id, phase, message)
        self._follow(row)
        log.warning("unfinished_decision_ended", decision=row.id, phase=phase.value, message=message)

    def _follow(self, row: ScalingDecisionRow) -> None:
        """Name the next decision of the policy differently: this decision has ended."""
        pending, state = self._pending.get(row.id), self._state(row)
        if state is not None and pending is not None and not pending.is_late:
            state.continue_after(row.id)

    def _target(self, row: ScalingDecisionRow, record: PolicyRecord) -> Target:
        """Return the target of the decision; the policy may name another target now."""
        spec = target_named(row.target)
        if spec is None and record.policy is not None and str(record.policy.spec.target) == row.target:
            spec = record.policy.spec.target
        if spec is None:
            raise TargetUnsupportedError(f"the policy does not name {row.target} any more")
        return self.find(record.key.namespace, spec)

    def _is_known(self, row: ScalingDecisionRow) -> bool:
        state = self._state(row)
        is_open = state is not None and state.open_decision == row.id
        return is_open or row.id in self._pending or row.id in self.verification.names

    def _key(self, row: ScalingDecisionRow) -> PolicyKey:
        return PolicyKey(row.namespace, row.policy)

    def _record(self, row: ScalingDecisionRow) -> PolicyRecord | None:
        record = self.cache.policy(self._key(row))
        return record if record is not None and record.uid == row.policy_uid else None

    def _state(self, row: ScalingDecisionRow) -> PolicyState | None:
        record = self._record(row)
        return self.states.of(record, self.clock.now()) if record is not None else None


async def _had_effect(target: Target, row: ScalingDecisionRow) -> bool:
    try:
        observed = await target.observe()
    except TargetNotFoundError:
        return False
    return observed.minimum == row.to_replicas and FIELD_MANAGER in observed.floor_managers
