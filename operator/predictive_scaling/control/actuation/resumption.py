"""Takes up a decision that a former operator left unfinished: verifies, opens or ends it (semantics 28)."""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.control.actuation.assessment import has_floor
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.verification import ExpectedReplicas, Verification
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import (
    ClusterUnavailableError,
    PredictiveScalingError,
    TargetNotFoundError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.storage.scaling_decisions import BEFORE, ScalingDecisionRow
from predictive_scaling.targets.port import Target, with_record
from predictive_scaling.targets.registry import TargetFinder, taken_group, target_named

log = structlog.get_logger(__name__)

_UNKNOWN_DEADLINE = timedelta(minutes=10)


@dataclass(slots=True)
class UnfinishedDecision:
    """A decision that was not taken up yet."""

    row: ScalingDecisionRow
    is_late: bool = False
    """Found after a newer decision of its policy: it does not describe the newest decision."""
    failures: int = 0
    retry_at: float = 0.0
    problem: str = "not looked at yet"


@dataclass(frozen=True, slots=True)
class Resumption:
    """Takes up decisions, one at a time."""

    cache: InformerCache
    records: DecisionRecords
    states: PolicyStates
    verification: Verification
    find: TargetFinder
    clock: Clock

    async def resume(self, unfinished: UnfinishedDecision) -> None:
        """Take up a decision. Raises PredictiveScalingError: try again later."""
        row, record, state = unfinished.row, self._record(unfinished.row), self.state(unfinished.row)
        if record is None or state is None:
            await self.end(unfinished, DecisionPhase.CANCELLED, "The policy was deleted.")
            return
        if unfinished.is_late and await self._ended_in_cluster(row):
            return
        try:
            target = with_record(self._target(row, record, state.takeover), state.takeover)
        except TargetUnsupportedError as error:
            why = f"Its target cannot be observed any more: {error}"
            await self.end(unfinished, DecisionPhase.CANCELLED, why)
            return
        observed = await _observed(target, row)
        if row.phase is not DecisionPhase.VERIFYING and not (observed and has_floor(observed, row.to_replicas)):
            if unfinished.is_late:
                await self.end(unfinished, DecisionPhase.SUPERSEDED, "Never carried out: later decisions were made.")
            else:
                state.open_intent(row.id)
            return
        await self._verify(record, state, target, observed, unfinished)

    async def end(self, unfinished: UnfinishedDecision, phase: DecisionPhase, message: str) -> None:
        """End a decision. Raises PredictiveScalingError: try again later."""
        row = unfinished.row
        await self.records.transition(_key(row), row.id, phase, message)
        self.follow(unfinished)
        log.warning(
            "unfinished_decision_ended", policy=row.policy_name, decision=row.id, phase=phase.value, message=message
        )

    def follow(self, unfinished: UnfinishedDecision) -> None:
        """Name the next decision of the policy differently: this decision has ended."""
        state = self.state(unfinished.row)
        if state is not None and not unfinished.is_late:
            state.continue_after(unfinished.row.id)

    def state(self, row: ScalingDecisionRow) -> PolicyState | None:
        """The state of the policy of a decision; None if the policy was deleted."""
        record = self._record(row)
        return self.states.of(record, self.clock.now()) if record is not None else None

    async def _ended_in_cluster(self, row: ScalingDecisionRow) -> bool:
        """Whether the ScalingDecision ended while the database was unavailable; the row then follows it."""
        shown = await self.records.was_listed(row)
        if shown is None or not shown.phase.is_final:
            return False
        if row.phase not in BEFORE[shown.phase]:
            # The row missed that the decision was carried out.
            await self.records.transition(_key(row), row.id, DecisionPhase.EXECUTING)
        cause = FailureCause(shown.cause) if shown.cause in set(FailureCause) else None
        await self.records.transition(_key(row), row.id, shown.phase, shown.outcome, cause=cause)
        return True

    async def _verify(
        self,
        record: PolicyRecord,
        state: PolicyState,
        target: Target,
        observed: Observed | None,
        unfinished: UnfinishedDecision,
    ) -> None:
        row, now = unfinished.row, self.clock.now()
        recorded_at = await self.records.recorded_at(row.namespace, row.id)
        if row.phase is DecisionPhase.PENDING and not await self._moved(unfinished, DecisionPhase.EXECUTING):
            return
        if not unfinished.is_late:
            state.continue_after(row.id)
            state.confirm_takeover()
        deadline = row.deadline_at or now + _UNKNOWN_DEADLINE
        if row.phase is not DecisionPhase.VERIFYING and not await self._moved(unfinished, DecisionPhase.VERIFYING):
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
                target_uid=observed.uid if observed else "",
                template=observed.template if observed else "",
                applied_at=row.started_at or now,
                deadline_at=deadline,
                recorded_at=recorded_at,
            )
        )

    async def _moved(self, unfinished: UnfinishedDecision, phase: DecisionPhase) -> bool:
        row = unfinished.row
        deadline = row.deadline_at or self.clock.now() + _UNKNOWN_DEADLINE
        if await self.records.transition(_key(row), row.id, phase, deadline_at=deadline):
            return True
        self.follow(unfinished)
        return False

    def _target(self, row: ScalingDecisionRow, record: PolicyRecord, takeover: Takeover | None) -> Target:
        """Return the target of the decision; the policy may name another target now."""
        spec = taken_group(takeover)
        if spec is None or str(spec) != row.target:
            spec = target_named(row.target)
        if spec is None and record.policy is not None and str(record.policy.spec.target) == row.target:
            spec = record.policy.spec.target
        if spec is None:
            raise TargetUnsupportedError(f"the policy does not name {row.target} any more")
        return self.find(record.key.namespace, spec)

    def _record(self, row: ScalingDecisionRow) -> PolicyRecord | None:
        record = self.cache.policy(_key(row))
        return record if record is not None and record.uid == row.policy_uid else None


async def _observed(target: Target, row: ScalingDecisionRow) -> Observed | None:
    """The target; None if it is gone, or is being verified and cannot be read, which ends at its deadline.

    Raises PredictiveScalingError where a later attempt may succeed: without the release of its pods no raise could be
    rolled back.
    """
    try:
        return await target.observe()
    except (TargetNotFoundError, TargetUnsupportedError):
        return None
    except ClusterUnavailableError:
        raise
    except PredictiveScalingError:
        if row.phase is not DecisionPhase.VERIFYING:
            raise
        return None


def _key(row: ScalingDecisionRow) -> PolicyKey:
    return PolicyKey(row.namespace, row.policy)
