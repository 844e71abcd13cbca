"""One policy in one tick: observe, decide, execute, report. Nothing here waits for data or for verification."""

from dataclasses import dataclass, replace
from typing import Any

import structlog

from predictive_scaling.cluster.client import ObjectConflictError, ObjectRefusedError
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import KubernetesEvents
from predictive_scaling.control import conflicts, transitions
from predictive_scaling.control.actuation.decision_records import Intent
from predictive_scaling.control.actuation.execution import Change, Execution, Outcome, waits
from predictive_scaling.control.actuation.restoration import Restoration
from predictive_scaling.control.actuation.verification import Verification
from predictive_scaling.control.guarded_reads import describe_error
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.situations import SituationReader, Tick
from predictive_scaling.control.status_writer import StatusWriter
from predictive_scaling.control.tuning_cache import TuningCache
from predictive_scaling.decision.conditions import ReconcileResult, VerificationState, policy_conditions
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Decision, Observed, Situation
from predictive_scaling.decision.review import Problem
from predictive_scaling.decision.status import policy_status, status_after_failure, status_without_decision
from predictive_scaling.errors import (
    DatabaseUnavailableError,
    TargetNotFoundError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.conditions import format_time, merge
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import ScalingPolicyStatus
from predictive_scaling.targets.port import Target, with_record
from predictive_scaling.targets.registry import TargetFinder
from predictive_scaling.telemetry.tracing import span

log = structlog.get_logger(__name__)

_UNWRITTEN = {
    Outcome.SUPERSEDED: "the policy was edited between decision and write",
    Outcome.CANCELLED: "the decision was ended before it was written",
}


@dataclass(frozen=True, slots=True)
class ReconcileOutcome:
    """Outcome of a reconciliation. situation, decision: None without a decision."""

    situation: Situation | None
    decision: Decision | None
    status: ScalingPolicyStatus


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles policies, one at a time or concurrently."""

    find: TargetFinder
    situations: SituationReader
    tunings: TuningCache
    execution: Execution
    verification: Verification
    restoration: Restoration
    status_writer: StatusWriter
    events: KubernetesEvents

    async def reconcile(self, record: PolicyRecord, state: PolicyState, tick: Tick) -> ReconcileOutcome | None:
        """Reconcile a policy; None if it is being deleted.

        Raises ClusterUnavailableError; the next tick repeats the reconciliation.
        """
        if self.restoration.is_due(record, state, tick.claims):
            await self.restoration.restore(record, state, tick.now, tick.claims)
        if record.deleted:
            return None
        if record.policy is None:
            return await self._show_problem(record, state, tick, stalled=record.problem)
        if record.uid in tick.recovering:
            problem = Problem("RecoveryPending", tick.recovering[record.uid])
            return await self._show_problem(record, state, tick, failure=problem)
        try:
            target = with_record(self.find(record.key.namespace, record.policy.spec.target), state.takeover)
            with span("observe target"):
                observed = await target.observe()
            _confirm_write(state, target, observed)
        except TargetUnsupportedError as error:
            return await self._show_problem(record, state, tick, stalled=Problem(error.reason, str(error)))
        except TargetNotFoundError as error:
            return await self._show_problem(record, state, tick, failure=Problem(error.reason, str(error)))
        if observed.missing is not None:
            return await self._show_problem(
                record, state, tick, failure=Problem(TargetNotFoundError.reason, observed.missing)
            )
        return await self._decide(record, record.policy, state, target, observed, tick)

    async def show_failure(
        self, record: PolicyRecord, state: PolicyState, tick: Tick, failure: Problem
    ) -> ReconcileOutcome:
        """Report why a reconciliation failed, and keep the rest of the status. Raises as Cluster does."""
        result = ReconcileResult(generation=record.generation, failure=failure)
        state.show(merge(state.conditions, policy_conditions(result), tick.now))
        status = status_after_failure(
            state.written_status or ScalingPolicyStatus(),
            record.generation,
            state.conditions,
            target=state.target,
            takeover=state.takeover,
        )
        await self.status_writer.write(record, state, status)
        return ReconcileOutcome(None, None, status)

    async def _decide(
        self,
        record: PolicyRecord,
        policy: ScalingPolicy,
        state: PolicyState,
        target: Target,
        observed: Observed,
        tick: Tick,
    ) -> ReconcileOutcome:
        await state.confirm_write(observed)
        conflict, conflict_reason = self._conflict(record, state, observed, tick)
        situation = self.situations.read(record, policy, state, observed, tick, conflict)
        situation, decision = self._decision_for(record, situation)
        change = Change(
            Intent(record, policy, observed, decision, situation.current_forecast, state.previous_decision),
            state,
            target,
            situation.lead_time,
            tick.claims,
        )
        state.fail(None)
        decision = await self._execute(change, tick)
        result = ReconcileResult(
            generation=record.generation,
            failure=state.failure,
            degraded=_without_database(tick.database_problem),
            conflict_reason=conflict_reason,
            **self._verification(state, tick),
        )
        conditions = merge(state.conditions, policy_conditions(result, situation, decision), tick.now)
        transitions.emit_transitions(self.events, record, state, conditions, decision)
        state.show(conditions, situation, decision)
        status = policy_status(
            situation,
            decision,
            conditions,
            last_decision=state.last_decision,
            accuracy=state.accuracy,
            takeover=state.takeover,
            advice=self.tunings.advice(policy, observed),
            node_headroom=state.node_headroom,
            learned=self.situations.learning.status(policy, observed),
            shadow=state.shadow,
            regressors=self.situations.forecasts.indicators.statuses(policy),
        )
        await self.status_writer.write(record, state, status)
        return ReconcileOutcome(situation, decision, status)

    def _decision_for(self, record: PolicyRecord, situation: Situation) -> tuple[Situation, Decision]:
        """The decision; where forecasts make it fail, as if there were none: a person's pin does not depend on them."""
        try:
            return situation, decide(situation)
        except Exception as error:
            log.exception("forecast_unusable", policy=str(record.key))
            failure = situation.forecast_failure or f"the forecast cannot be decided from: {describe_error(error)}"
        memory = replace(situation.state, reference_forecast=None)
        blind = replace(situation, current_forecast=None, events=(), tuned=None, state=memory, forecast_failure=failure)
        return blind, decide(blind)

    async def _execute(self, change: Change, tick: Tick) -> Decision:
        """The decision as executed: a floor that was not written is reported as it is, with the reason."""
        state, decision = change.state, change.intent.decision
        why = _waiting(tick.database_problem) or "it is not written yet"
        try:
            if not decision.changes:
                if change.intent.current_forecast is not None:
                    # Without a forecast, as right after a restart, an open intent may still be right.
                    await self.execution.supersede(state, change.intent)
                state.hold_floor(decision.state)
                return decision
            if not waits(change, tick.now) and (tick.database_problem is None or change.intent.raises):
                outcome = await self._carry_out(change)
                if outcome in (Outcome.APPLIED, Outcome.RECOMMENDED):
                    return decision
                why = _UNWRITTEN.get(outcome) or state.conflict or why
        except DatabaseUnavailableError as error:
            tick.database_problem = str(error)
            why = _waiting(tick.database_problem) or why
        except (ObjectRefusedError, ObjectConflictError, TargetNotFoundError) as error:
            state.fail(Problem(error.reason, str(error)))
        if state.backoff is not None and waits(change, tick.now):
            state.fail(state.backoff.problem)
        if state.failure is not None:
            why = state.failure.message
        state.keep_floor(decision.state)
        return replace(decision, floor=decision.before, message=f"Hold {decision.before}: {why}")

    async def _carry_out(self, change: Change) -> Outcome:
        intent, decision = change.intent, change.intent.decision
        attributes = {
            "predictive_scaling.decision.id": intent.name,
            "predictive_scaling.decision.from": decision.before,
            "predictive_scaling.decision.to": decision.floor,
        }
        with span("carry out decision", attributes) as execution:
            outcome = await self.execution.carry_out(change)
            execution.annotate({"predictive_scaling.decision.outcome": outcome.value})
            return outcome

    def _conflict(
        self, record: PolicyRecord, state: PolicyState, observed: Observed, tick: Tick
    ) -> tuple[str | None, str]:
        """Who holds the target instead of us, and the condition's word for it."""
        policy = conflicts.other_policy(record, tick.held)
        if policy is not None:
            return policy, "TargetHeldByPolicy"
        autoscaler = conflicts.other_autoscaler(observed)
        if autoscaler is not None:
            by_keda = (observed.owner or "").startswith("ScaledObject/")
            return autoscaler, "TargetManagedByKeda" if by_keda else "TargetManagedByAutoscaler"
        return conflicts.foreign_writer(record, state, observed), "ForeignWriter"

    def _verification(self, state: PolicyState, tick: Tick) -> dict[str, Any]:
        hold = state.raise_hold
        if hold is not None and tick.now < hold.until:
            message = f"{hold.message} Not repeated before {format_time(hold.until)}."
            return {
                "verification": VerificationState.FAILED,
                "verification_reason": hold.cause,
                "verification_message": message,
            }
        if state.previous_decision in self.verification.open_names:
            message = (
                "replicas are awaited"
                if state.last_decision is None
                else f"{state.last_decision.summary.split()[0]} is awaited"
            )
            return {"verification": VerificationState.PENDING, "verification_message": message}
        if state.verified is None:
            return {}
        succeeded, why, message = state.verified
        verdict = VerificationState.SUCCEEDED if succeeded else VerificationState.FAILED
        return {"verification": verdict, "verification_reason": why, "verification_message": message}

    async def _show_problem(
        self,
        record: PolicyRecord,
        state: PolicyState,
        tick: Tick,
        *,
        stalled: Problem | None = None,
        failure: Problem | None = None,
    ) -> ReconcileOutcome:
        state.require(None)
        result = ReconcileResult(generation=record.generation, stalled=stalled, failure=failure)
        conditions = merge(state.conditions, policy_conditions(result), tick.now)
        state.show(conditions)
        # An invalid spec names no target, but a taken-over target is restored even after a restart.
        target = state.target if state.takeover is not None else None
        if state.takeover is None and record.policy is not None:
            target = str(record.policy.spec.target)
        status = status_without_decision(record.generation, conditions, target=target, takeover=state.takeover)
        await self.status_writer.write(record, state, status)
        return ReconcileOutcome(None, None, status)


def _confirm_write(state: PolicyState, target: Target, observed: Observed) -> None:
    """Detect a write that took effect although AWS did not confirm it, such as one that took too long."""
    takeover = state.takeover
    if takeover is None or takeover.replaces is None or observed.uid != takeover.target_uid:
        return
    if observed.minimum == takeover.floor:
        state.confirm_takeover()
        with_record(target, state.takeover)


def _waiting(database_problem: str | None) -> str | None:
    return database_problem and f"a lower floor waits for the database: {database_problem}"


def _without_database(problem: str | None) -> Problem | None:
    if problem is None:
        return None
    return Problem(
        "DatabaseUnavailable",
        f"floors are raised, from the last forecast and from events, and lowered again once the database is back: "
        f"{problem}",
    )
