"""Verifies that replicas follow a write, in the background (semantics 19). Learns lead times."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from prometheus_client import Counter, Histogram

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.actuation.decision_records import DecisionRecords, Intent
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.errors import ClusterUnavailableError, TargetNotFoundError
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.targets.port import Progress, Target

log = structlog.get_logger(__name__)

SECONDS = Histogram(
    "predictive_scaling_verification_seconds",
    "Product time from raising a floor to ready replicas.",
    buckets=(5, 15, 30, 60, 120, 300, 600, 1200, 3600),
)
ENDED = Counter("predictive_scaling_verifications_total", "Verifications by how they ended.", ["phase"])


@dataclass(frozen=True, slots=True)
class ExpectedReplicas:
    """A write whose effect is awaited."""

    name: str
    record: PolicyRecord
    state: PolicyState
    target: Target
    before: int
    to: int
    ready_before: int
    target_uid: str
    applied_at: datetime
    deadline_at: datetime

    @classmethod
    def of(
        cls,
        intent: Intent,
        state: PolicyState,
        target: Target,
        now: datetime,
        deadline: datetime,
    ) -> "ExpectedReplicas":
        """What an intent that was just carried out should lead to."""
        return cls(
            name=intent.name,
            record=intent.record,
            state=state,
            target=target,
            before=intent.decision.before,
            to=intent.decision.floor,
            ready_before=intent.observed.ready_replicas,
            target_uid=intent.observed.uid,
            applied_at=now,
            deadline_at=deadline,
        )

    @property
    def is_newest(self) -> bool:
        """Whether no later decision was made for the target."""
        return self.state.previous_decision == self.name


class Failure(StrEnum):
    """Why a decision ended Failed, in a word."""

    OVERWRITTEN = "Overwritten"
    QUOTA = "Quota"
    REPLICAS_NOT_MADE = "ReplicasNotMade"
    TIMEOUT = "Timeout"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a decision ended."""

    phase: DecisionPhase
    message: str
    failure: Failure | None = None
    measures_start: bool = True
    """Whether the replicas started since the write, so that a lead time can be learned."""


def assess_progress(expected: ExpectedReplicas, progress: Progress, now: datetime) -> Verdict | None:
    """How it ended, or None while it is still open.

    A raise is judged by its own floor and deadline, independent of later raises.
    """
    if expected.state.restoring:
        return Verdict(
            DecisionPhase.CANCELLED, "The policy restored its target's minimum before the effect was observed."
        )
    if expected.to < expected.before:
        return _judge_lowering(expected, progress)
    if progress.floor < expected.to and expected.is_newest:
        return _overwritten(expected, progress)
    if progress.ready_replicas >= expected.to:
        took = round((now - expected.applied_at).total_seconds())
        return Verdict(DecisionPhase.SUCCEEDED, f"{progress.ready_replicas} replicas were ready after {took} s.")
    if progress.held_by is not None and progress.floor >= expected.to:
        message = f"The target kept the minimum {expected.to}; {progress.held_by}."
        return Verdict(DecisionPhase.SUCCEEDED, message, measures_start=False)
    if progress.floor < expected.to:
        return Verdict(DecisionPhase.SUPERSEDED, "A later decision lowered the floor before its replicas were ready.")
    return _too_late(expected, progress) if now >= expected.deadline_at else None


def _judge_lowering(expected: ExpectedReplicas, progress: Progress) -> Verdict | None:
    if progress.floor == expected.to or not expected.is_newest:
        return Verdict(DecisionPhase.SUCCEEDED, f"The target kept the minimum {expected.to}.")
    return _overwritten(expected, progress)


def _overwritten(expected: ExpectedReplicas, progress: Progress) -> Verdict:
    message = f"Overwritten: the minimum is {progress.floor}, not {expected.to}."
    return Verdict(DecisionPhase.FAILED, message, Failure.OVERWRITTEN)


def _too_late(expected: ExpectedReplicas, progress: Progress) -> Verdict:
    waited = round((expected.deadline_at - expected.applied_at).total_seconds())
    failure = Failure.TIMEOUT
    if progress.failure is not None:
        failure = Failure.QUOTA if "quota" in progress.failure else Failure.REPLICAS_NOT_MADE
        why = f"Replicas cannot be made: {progress.failure}"
    elif progress.desired_replicas < expected.to:
        why = f"Timeout: the autoscaler still requests {progress.desired_replicas} replicas"
    elif progress.replicas < expected.to:
        why = f"Timeout: only {progress.replicas} replicas exist"
    else:
        why = f"Timeout: only {progress.ready_replicas} of {progress.replicas} replicas are ready"
    return Verdict(DecisionPhase.FAILED, f"{why}, {waited} s after the raise to {expected.to}.", failure)


@dataclass(slots=True)
class Verification:
    """All writes whose effect is awaited."""

    records: DecisionRecords
    lead_times: LeadTimes
    events: KubernetesEvents
    clock: Clock
    failures: Counter
    _open: dict[str, ExpectedReplicas] = field(default_factory=dict[str, ExpectedReplicas])
    _ended: dict[str, tuple[ExpectedReplicas, Verdict]] = field(
        default_factory=dict[str, tuple[ExpectedReplicas, Verdict]]
    )

    def expect(self, expected: ExpectedReplicas) -> None:
        """Await the effect of a write; it is looked at from the next pass on."""
        self._open[expected.name] = expected

    def drop(self, names: Iterable[str]) -> None:
        """Await these no more: someone else ended them."""
        for name in names:
            self._open.pop(name, None)
            self._ended.pop(name, None)

    def shift(self, by: timedelta) -> None:
        """Shift all times after the clock was stepped, so that durations stay as they were."""
        self._open = {
            name: replace(expected, applied_at=expected.applied_at + by, deadline_at=expected.deadline_at + by)
            for name, expected in self._open.items()
        }

    @property
    def open_names(self) -> frozenset[str]:
        """Decisions that are awaited."""
        return frozenset(self._open)

    @property
    def names(self) -> frozenset[str]:
        """Decisions that are awaited, or whose end is not recorded yet."""
        return frozenset(self._open) | frozenset(self._ended)

    async def run(self) -> None:
        """One pass over all of them. What ended but could not be recorded is recorded at a later pass."""
        for expected in list(self._open.values()):
            try:
                await self._check(expected)
            except Exception:  # a failure of one decision affects no other; its deadline ends it
                log.exception("verification_failed", decision=expected.name)
                self._end_at_deadline(expected)
        for expected, verdict in list(self._ended.values()):
            try:
                await self._record(expected, verdict)
            except Exception:  # the row and the object stay unfinished, and can be cleared
                log.exception("decision_not_recorded", decision=expected.name)
                self._ended.pop(expected.name, None)

    async def _check(self, expected: ExpectedReplicas) -> None:
        now = self.clock.now()
        try:
            verdict = assess_progress(expected, await expected.target.progress(), now)
        except TargetNotFoundError as error:
            verdict = Verdict(DecisionPhase.CANCELLED, str(error))
        except ClusterUnavailableError:
            return
        if verdict is not None:
            if self._open.pop(expected.name, None) is None:
                return  # dropped while the target was observed
            self._ended[expected.name] = (expected, verdict)
            self._report(expected, verdict, now - expected.applied_at)

    def _end_at_deadline(self, expected: ExpectedReplicas) -> None:
        now = self.clock.now()
        if now >= expected.deadline_at and self._open.pop(expected.name, None) is not None:
            verdict = Verdict(DecisionPhase.FAILED, "Timeout: the target could not be observed.", Failure.TIMEOUT)
            self._ended[expected.name] = (expected, verdict)
            self._report(expected, verdict, now - expected.applied_at)

    def _report(self, expected: ExpectedReplicas, verdict: Verdict, took: timedelta) -> None:
        ENDED.labels(verdict.phase.value).inc()
        succeeded = verdict.phase is DecisionPhase.SUCCEEDED
        if succeeded and verdict.measures_start and expected.to > max(expected.before, expected.ready_before):
            self.lead_times.learn(expected.target_uid, took)
            SECONDS.observe(took.total_seconds())
        if verdict.phase is DecisionPhase.FAILED:
            self.failures.inc()
            self.events.emit(expected.record, EventReason.VERIFICATION_FAILED, verdict.message)
        elif succeeded:
            self.events.emit(expected.record, EventReason.VERIFICATION_SUCCEEDED, verdict.message)
        if expected.is_newest:
            summary = f"{expected.before}->{expected.to} {verdict.phase.value}"
            expected.state.verify((succeeded, verdict.failure, verdict.message), summary)
        log.info("decision_ended", decision=expected.name, phase=verdict.phase.value, message=verdict.message)

    async def _record(self, expected: ExpectedReplicas, verdict: Verdict) -> None:
        try:
            await self.records.transition(expected.record.key, expected.name, verdict.phase, verdict.message)
        except ClusterUnavailableError as error:
            log.info("decision_not_recorded_yet", decision=expected.name, error=str(error))
            return
        self._ended.pop(expected.name, None)
