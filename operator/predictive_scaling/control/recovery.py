"""What a former leader left unfinished is finished or given over to the next decision, never doubled (semantics 28)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.control.records import DecisionRecords
from predictive_scaling.control.state import PolicyState, States
from predictive_scaling.control.verification import Expected, Verification
from predictive_scaling.errors import PredictiveScalingError, TargetNotFoundError
from predictive_scaling.handlers.inventory import Inventory, PolicyRecord
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.scaling_decisions import DecisionStatus, ScalingDecisionRow
from predictive_scaling.targets.client import FIELD_MANAGER
from predictive_scaling.targets.registry import TargetFinder

log = structlog.get_logger(__name__)


class DecisionHistory(Protocol):
    """The part of storage.ScalingDecisions that is read here."""

    async def unfinished(self) -> Sequence[ScalingDecisionRow]:
        """What a crash may have left, oldest first."""
        ...

    async def last_of_each(self) -> Mapping[tuple[str, str], ScalingDecisionRow]:
        """The newest decision of every policy."""
        ...


@dataclass(frozen=True, slots=True)
class Recovery:
    """Runs once whenever leadership is gained."""

    inventory: Inventory
    history: DecisionHistory
    records: DecisionRecords
    states: States
    verification: Verification
    find: TargetFinder
    clock: Clock

    async def run(self) -> None:
        """Take up where the records end. Raises as the database and the cluster do: run again then."""
        await self.records.load()
        for row in (await self.history.last_of_each()).values():
            self._continue_after(row)
        unfinished = await self.history.unfinished()
        for row in unfinished:
            await self._take_up(row)
        if unfinished:
            log.info("unfinished_decisions_taken_up", decisions=len(unfinished))

    def _continue_after(self, row: ScalingDecisionRow) -> None:
        state = self._state(row)
        # An intent without effect is recomputed under the same name; so it is not yet the previous one.
        if state is not None and row.status not in (DecisionStatus.PENDING, DecisionStatus.EXECUTING):
            state.previous = row.id

    async def _take_up(self, row: ScalingDecisionRow) -> None:
        if row.id in self.verification.open_names:
            return
        key, record, state = PolicyKey(row.namespace, row.policy), self._record(row), self._state(row)
        if record is None or state is None or record.policy is None:
            await self.records.move(key, row.id, DecisionPhase.CANCELLED, "The policy is gone.")
            return
        if row.status != DecisionStatus.VERIFYING and not await self._had_effect(record, row):
            state.open_decision = row.id
            return
        state.previous = row.id
        if state.takeover is not None:
            state.takeover = state.takeover.model_copy(update={"written": True})
        if row.status == DecisionStatus.PENDING:
            await self.records.move(key, row.id, DecisionPhase.EXECUTING)
        await self._verify(record, state, row)

    async def _had_effect(self, record: PolicyRecord, row: ScalingDecisionRow) -> bool:
        if record.policy is None:
            return False
        try:
            observed = await self.find(record.key.namespace, record.policy.spec.target).observe()
        except TargetNotFoundError:
            return False
        return observed.minimum == row.to_replicas and FIELD_MANAGER in observed.floor_managers

    async def _verify(self, record: PolicyRecord, state: PolicyState, row: ScalingDecisionRow) -> None:
        if record.policy is None:
            return
        now = self.clock.now()
        target = self.find(record.key.namespace, record.policy.spec.target)
        deadline = row.deadline_at or now + timedelta(minutes=10)
        try:
            observed = await target.observe()
        except PredictiveScalingError:
            observed = None
        self.verification.expect(
            Expected(
                name=row.id,
                record=record,
                state=state,
                target=target,
                before=row.from_replicas,
                to=row.to_replicas,
                # How long the replicas took was not seen: nothing is learned from this one.
                ready_before=row.to_replicas,
                target_uid=observed.uid if observed else "",
                applied_at=row.started_at or now,
                deadline_at=deadline,
            )
        )
        if row.status != DecisionStatus.VERIFYING:
            await self.records.move(record.key, row.id, DecisionPhase.VERIFYING, deadline_at=deadline)

    def _record(self, row: ScalingDecisionRow) -> PolicyRecord | None:
        record = self.inventory.policy(PolicyKey(row.namespace, row.policy))
        return record if record is not None and record.uid == row.policy_uid else None

    def _state(self, row: ScalingDecisionRow) -> PolicyState | None:
        record = self._record(row)
        return self.states.of(record, self.clock.now()) if record is not None else None
