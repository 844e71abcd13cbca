"""Carries a decision out: intent, take-over, a last check of the policy, the write (semantics 28)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

import structlog
from prometheus_client import Counter

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.client import Cluster
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.cluster.leadership import Leadership
from predictive_scaling.control.actuation import ownership
from predictive_scaling.control.actuation.assessment import has_floor
from predictive_scaling.control.actuation.decision_records import DecisionRecords, Intent
from predictive_scaling.control.actuation.headroom_writer import HeadroomWriter
from predictive_scaling.control.actuation.verification import ExpectedReplicas, Verification
from predictive_scaling.control.policy_memory import Acknowledgement, Backoff
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.target_claims import NO_CLAIMS, TargetClaims
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.decision.review import Problem
from predictive_scaling.errors import ClusterUnavailableError, TargetConflictError, TargetRefusedError
from predictive_scaling.failpoint import failpoint
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.statuses import LastDecision, Takeover
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause, Mode
from predictive_scaling.targets.port import Target, WithoutManagers

log = structlog.get_logger(__name__)

DECISIONS = Counter(
    "predictive_scaling_decisions_total", "Decisions by their phase after execution.", ["mode", "phase"]
)
FAILURES = Counter(
    "scaling_failures_total", "Decisions that ended Failed or RolledBack: refused, overwritten, or not verified."
)

_FIRST_PAUSE = timedelta(minutes=1)
_MAX_PAUSE = timedelta(minutes=30)
_MAX_DOUBLINGS = 10


class Outcome(Enum):
    """What became of a change in this tick."""

    APPLIED = "applied"
    RECOMMENDED = "recommended"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    """A person cleared it between intent and write."""
    REFUSED = "refused"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that changes the floor, and what it is carried out on."""

    intent: Intent
    state: PolicyState
    target: Target
    lead_time: timedelta
    claims: TargetClaims = NO_CLAIMS


@dataclass(frozen=True, slots=True)
class _Write:
    """A write that was sent to the target."""

    change: Change
    takeover: Takeover
    recorded_at: datetime | None
    """When its decision was recorded, by the API server's clock."""
    at: datetime


@dataclass(slots=True)
class Execution:
    """Carries changes out."""

    cluster: Cluster
    records: DecisionRecords
    leadership: Leadership
    verification: Verification
    headroom: HeadroomWriter
    events: KubernetesEvents
    clock: Clock
    patience: float

    async def carry_out(self, change: Change) -> Outcome:
        """Make or recommend a change.

        Raises ClusterUnavailableError, and where the floor is lowered DatabaseUnavailableError: the next tick does it
        under the same name.
        """
        intent = change.intent
        # The lines of the target, the cluster and the database in between have both as well.
        with structlog.contextvars.bound_contextvars(policy=str(intent.record.key), decision=intent.name):
            return await self._carry_out(change)

    async def _carry_out(self, change: Change) -> Outcome:
        intent, state = change.intent, change.state
        await self.supersede(change.state, intent, keep=intent.name)
        if intent.policy.spec.mode is not Mode.AUTO:
            await self.records.intend(intent, DecisionPhase.RECOMMENDED)
            state.decide(intent.decision.state)
            self._done(change, DecisionPhase.RECOMMENDED)
            return Outcome.RECOMMENDED
        # Named before it is recorded, so that an intent that lacks a record can be superseded.
        state.open_intent(intent.name)
        recorded_at = await self.records.intend(intent)
        takeover = await self._taken_over(change)
        failpoint("operator.after_intent")
        if not await ownership.is_current(self.cluster, intent.record, state):
            await self._end(change, DecisionPhase.SUPERSEDED, "The policy was edited between decision and write.")
            return Outcome.SUPERSEDED
        if not ownership.is_held(intent.record, state):
            # Somebody took our finalizer off: without it a deletion would leave the floor behind.
            await ownership.record_takeover(
                self.cluster, intent.record, state, str(intent.policy.spec.target), takeover
            )
        return await self._apply(change, takeover, recorded_at)

    async def supersede(self, state: PolicyState, intent: Intent, keep: str | None = None) -> None:
        """End an open intent that is no longer the decision."""
        name = state.open_decision
        if name is None or name == keep:
            return
        message = "Never carried out: a later reconciliation decided differently."
        await self.records.transition(intent.record.key, name, DecisionPhase.SUPERSEDED, message)
        state.supersede_intent()

    async def _apply(self, change: Change, takeover: Takeover, recorded_at: datetime | None) -> Outcome:
        intent, state, floor = change.intent, change.state, change.intent.decision.floor
        is_open = await self.records.transition(
            intent.record.key, intent.name, DecisionPhase.EXECUTING, may_wait=intent.raises
        )
        if not is_open:
            self._cancelled(change)
            return Outcome.CANCELLED
        if intent.raises and intent.policy.spec.node_headroom is not None:
            existing = max(intent.observed.current_replicas, intent.decision.before)
            await self.headroom.release_placeholders(intent.record.key, intent.record.uid, floor - existing)
        if not self.leadership.leads:
            raise ClusterUnavailableError(f"{intent.record.key}: leadership was lost before the write; not written")
        sent = _Write(change, takeover, recorded_at, self.clock.now())
        state.send_write(partial(self._confirm, sent))
        try:
            take = takeover.taken_from is not None and takeover.taken_from == intent.observed.foreign_write
            await change.target.apply(floor, take=take)
        except TargetConflictError as error:
            state.end_write()
            state.enter_conflict(str(error))
            await self._end(change, DecisionPhase.CANCELLED, f"Not written: {error}")
            return Outcome.CONFLICT
        except TargetRefusedError as error:
            state.end_write()
            await self._end(change, DecisionPhase.FAILED, f"Refused: {error}", FailureCause.REFUSED)
            self._back_off(change, error)
            return Outcome.REFUSED
        failpoint("operator.after_apply")
        await self._applied(sent)
        return Outcome.APPLIED

    async def _confirm(self, sent: _Write, observed: Observed) -> None:
        """Count a write whose response was lost as made, if the target shows it and nobody ended the decision."""
        intent = sent.change.intent
        is_open = sent.change.state.open_decision == intent.name and observed.uid == intent.observed.uid
        if is_open and has_floor(observed, intent.decision.floor):
            log.info("write_confirmed", policy=str(intent.record.key), decision=intent.name)
            await self._applied(sent)

    async def _applied(self, sent: _Write) -> None:
        """Count a write as made, whatever fails from here on."""
        change, takeover = sent.change, sent.takeover
        intent, state = change.intent, change.state
        state.apply_intent(takeover, Acknowledgement(intent.record.generation, takeover.resume), intent.decision)
        deadline = sent.at + max(self.patience * change.lead_time, timedelta(minutes=1))
        self.verification.expect(ExpectedReplicas.of(intent, state, change.target, sent.at, deadline, sent.recorded_at))
        self._done(change, DecisionPhase.VERIFYING)
        try:
            is_open = await self.records.transition(
                intent.record.key, intent.name, DecisionPhase.VERIFYING, deadline_at=deadline
            )
        except Exception as error:  # the target is written; verification updates the records when it ends
            log.warning("verifying_not_recorded", policy=str(intent.record.key), decision=intent.name, error=str(error))
            return
        if not is_open:
            self.verification.drop([intent.name])

    async def _taken_over(self, change: Change) -> Takeover:
        """Record the take-over before the first write, which may have been made from then on.

        A policy that acted on the target before this one recorded what has to be restored.
        """
        intent, state = change.intent, change.state
        observed, takeover, record = intent.observed, state.takeover, intent.record
        target = str(intent.policy.spec.target)
        if takeover is None or takeover.target_uid != observed.uid:
            first = change.claims.first_takeover(record, observed.uid)
            takeover = Takeover(
                target_uid=observed.uid,
                original_minimum=first.original_minimum if first else observed.minimum,
                since=first.since if first else self.clock.now(),
            )
        if not takeover.written:
            takeover = takeover.model_copy(update={"written": True, "taken_from": observed.foreign_write})
        acknowledgement = Acknowledgement.of(record)
        takeover = takeover.model_copy(
            update={"resume": acknowledgement.resume, "generation": acknowledgement.generation}
        )
        if isinstance(change.target, WithoutManagers):
            takeover = change.target.recorded(takeover, intent.decision.floor)
        if not (ownership.is_held(record, state) and ownership.is_recorded(state, target, takeover)):
            await ownership.record_takeover(self.cluster, record, state, target, takeover)
        return takeover

    def _back_off(self, change: Change, error: TargetRefusedError) -> None:
        state, now = change.state, self.clock.now()
        raises = change.intent.decision.floor > change.intent.decision.before
        before = state.backoff
        repeated = (
            before is not None and before.raises == raises and before.generation == change.intent.record.generation
        )
        failures = before.failures if before is not None and repeated else 0
        until = now + min(_FIRST_PAUSE * 2 ** min(failures, _MAX_DOUBLINGS), _MAX_PAUSE)
        problem = Problem(error.reason, f"{error}; tried again at {format_time(until)}")
        state.back_off(Backoff(until, failures + 1, change.intent.record.generation, raises, problem))
        if not repeated:
            self.events.emit(change.intent.record, EventReason.WRITE_REFUSED, str(error))

    async def _end(self, change: Change, phase: DecisionPhase, message: str, cause: FailureCause | None = None) -> None:
        intent = change.intent
        await self.records.transition(intent.record.key, intent.name, phase, message, cause=cause)
        change.state.close_intent()
        self._done(change, phase)

    def _cancelled(self, change: Change) -> None:
        """Drop an intent that was ended elsewhere. Should the same step be right still, it gets another name."""
        change.state.close_intent()
        self._done(change, DecisionPhase.CANCELLED)

    def _done(self, change: Change, phase: DecisionPhase) -> None:
        intent, decision = change.intent, change.intent.decision
        summary = f"{decision.before}->{decision.floor} {phase.value}"
        last = LastDecision(name=intent.name, at=self.clock.now(), summary=summary)
        # A superseded intent keeps its name until the watch shows the edit: the same step is then the same intent.
        change.state.record_decision(last, is_previous=phase is not DecisionPhase.SUPERSEDED)
        log.info(
            "floor_decided",
            policy=str(intent.record.key),
            decision=intent.name,
            phase=phase.value,
            before=decision.before,
            after=decision.floor,
            why=decision.message,
        )
        DECISIONS.labels(intent.policy.spec.mode.value, phase.value).inc()
        FAILURES.inc(phase is DecisionPhase.FAILED)
        if phase is DecisionPhase.VERIFYING:
            raised = decision.floor > decision.before
            self.events.emit(
                intent.record, EventReason.FLOOR_RAISED if raised else EventReason.FLOOR_LOWERED, decision.message
            )


def waits(change: Change, now: datetime) -> bool:
    """Whether a similar write was refused recently and its back-off has not ended."""
    backoff, intent = change.state.backoff, change.intent
    if backoff is None or now >= backoff.until or backoff.generation != intent.record.generation:
        return False
    return backoff.raises == (intent.decision.floor > intent.decision.before)
