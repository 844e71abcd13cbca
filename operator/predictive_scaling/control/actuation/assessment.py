"""How a write ended, from what was observed of its target. Pure (semantics 19)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.actuation.decision_records import Intent
from predictive_scaling.control.actuation.failure_causes import (
    UNHEALABLE,
    Diagnosis,
    PodReport,
    creation_failure,
    diagnose_creation,
    diagnose_pods,
    pod_cause,
)
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.targets.port import Explanation, Progress, Target

_UNHEALTHY = UNHEALABLE | {FailureCause.PROBE_FAILING}
"""Causes by which new pods can take the ready pods with them, such as an overloaded database."""


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
    template: str = ""
    """The release of the workload's pods at the write."""
    saw_start: bool = True
    """False after a restart: how many replicas were ready before the write is unknown."""
    recorded_at: datetime | None = None
    """The time when the decision was recorded in the cluster, before the write, by the clock that stamps pods."""
    written_at: datetime | None = None
    """The time of the write by the clock that stamps pods; None until it was observed, and then no raise is rolled
    back."""
    undecided_since: datetime | None = None
    """Since when it is late and what decides its end could not be observed; None while it could."""

    @classmethod
    def of(
        cls,
        intent: Intent,
        state: PolicyState,
        target: Target,
        now: datetime,
        deadline: datetime,
        recorded_at: datetime | None,
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
            template=intent.observed.template,
            recorded_at=recorded_at,
        )

    @property
    def is_newest(self) -> bool:
        """Whether no later decision was made for the target."""
        return self.state.previous_decision == self.name

    @property
    def raises(self) -> bool:
        """Whether replicas are awaited."""
        return self.to >= self.before

    def shifted(self, by: timedelta) -> "ExpectedReplicas":
        """The same with times of our clock that was stepped by this duration."""
        return replace(
            self,
            applied_at=self.applied_at + by,
            deadline_at=self.deadline_at + by,
            undecided_since=self.undecided_since and self.undecided_since + by,
        )

    def with_write_time(self, progress: Progress) -> "ExpectedReplicas":
        """The same with the time of the write, read while the floor is still this one."""
        if self.written_at is not None or progress.floor != self.to:
            return self
        recorded_at = self.recorded_at if progress.floor_manager is None else None
        return replace(self, written_at=progress.floor_written_at or recorded_at)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a decision ended."""

    phase: DecisionPhase
    message: str
    cause: FailureCause | None = None
    is_harmful: bool = False
    """A raise that failed and that the floor before it would heal."""
    measures_start: bool = True
    """Whether the replicas started since the write, so that a lead time can be learned."""


def assess_progress(
    expected: ExpectedReplicas, progress: Progress, now: datetime, report: PodReport | None = None
) -> Verdict | None:
    """How it ended, or None while it is still open.

    A raise is judged by its own floor and deadline, independent of later raises. report: its pods, where they were
    read; without it a late raise ends with the cause that the workload's own numbers show.
    """
    if expected.state.restoring:
        return Verdict(
            DecisionPhase.CANCELLED, "The policy restored its target's minimum before the effect was observed."
        )
    if _is_cut_by_maximum(expected, progress):
        message = f"The target's maximum was lowered to {progress.maximum}, below the minimum {expected.to}."
        return Verdict(DecisionPhase.SUPERSEDED, message)
    if not expected.raises:
        return _assess_lowering(expected, progress)
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
    is_late = now >= expected.deadline_at
    is_harmful = report is not None and _does_harm(expected, progress, report, is_late=is_late)
    if not is_late and not is_harmful:
        return None
    waited = round((now - expected.applied_at).total_seconds())
    diagnosis = _diagnose(expected, progress, report or PodReport())
    message = f"{diagnosis.cause.value}: {diagnosis.details}, {waited} s after the raise to {expected.to}."
    return Verdict(DecisionPhase.FAILED, message, diagnosis.cause, is_harmful)


def has_floor(observed: Observed, floor: int) -> bool:
    """Whether a target shows that the operator wrote this floor."""
    return observed.minimum == floor and FIELD_MANAGER in observed.floor_managers


def needs_pods(expected: ExpectedReplicas, progress: Progress, verdict: Verdict | None) -> bool:
    """Whether the pods have to be read: the raise is late, or fewer replicas are ready than before it."""
    if progress.source is None or not expected.raises or expected.to == expected.before:
        return False
    if verdict is None:
        return _has_fewer_ready(expected, progress)
    return verdict.phase is DecisionPhase.FAILED and verdict.cause is not FailureCause.OVERWRITTEN


def _is_cut_by_maximum(expected: ExpectedReplicas, progress: Progress) -> bool:
    """Whether a user lowered the maximum below the floor, which the API server lowered with it."""
    return (
        progress.maximum is not None
        and progress.maximum < expected.to
        and progress.floor == progress.maximum
        and progress.floor_manager is None
    )


def _assess_lowering(expected: ExpectedReplicas, progress: Progress) -> Verdict | None:
    if progress.floor == expected.to or not expected.is_newest:
        excess = f"; {progress.excess}" if progress.excess else ""
        return Verdict(DecisionPhase.SUCCEEDED, f"The target kept the minimum {expected.to}{excess}.")
    return _overwritten(expected, progress)


def _overwritten(expected: ExpectedReplicas, progress: Progress) -> Verdict:
    writer = f"{progress.floor_manager} set it" if progress.floor_manager else "no field manager states it"
    message = f"Overwritten: the minimum is {progress.floor}, not {expected.to}; {writer}."
    return Verdict(DecisionPhase.FAILED, message, FailureCause.OVERWRITTEN)


def _has_fewer_ready(expected: ExpectedReplicas, progress: Progress) -> bool:
    return expected.saw_start and progress.ready_replicas < min(expected.ready_before, expected.to)


def _does_harm(expected: ExpectedReplicas, progress: Progress, report: PodReport, *, is_late: bool) -> bool:
    """Whether the floor before the raise would heal what its new pods do."""
    since = expected.written_at
    if expected.to == expected.before or since is None:
        return False
    new = [pod for pod in report.pods if pod.created_at >= since]
    causes = {cause for pod in new if (cause := pod_cause(pod)) is not None}
    if _has_fewer_ready(expected, progress) and FailureCause.CRASH_LOOP in causes:
        return True
    if not is_late or not causes & _UNHEALTHY:
        return False
    if _has_fewer_ready(expected, progress):
        return True
    # Times are full seconds: ready pods of the second of the write may have been ready before it.
    ready_then = expected.ready_before if expected.saw_start else expected.before
    maybe_older = min(sum(pod.created_at == since for pod in new if pod.is_ready), ready_then)
    none_is_ready = sum(pod.is_ready for pod in new) <= maybe_older
    return none_is_ready and causes <= UNHEALABLE


def _diagnose(expected: ExpectedReplicas, progress: Progress, report: PodReport) -> Diagnosis:
    """The cause that holds back most replicas."""
    missing = expected.to - progress.replicas
    refused = progress.failure or (creation_failure(report.events) if missing > 0 else None)
    pods = diagnose_pods(report)
    if refused is not None and (pods is None or missing >= pods.pods):
        return diagnose_creation(refused)
    if pods is not None:
        return pods
    explanation = progress.explanation or Explanation(None)
    if explanation.cause is not None:
        return Diagnosis(explanation.cause, explanation.details)
    problem = report.problem or explanation.details
    if progress.desired_replicas < expected.to:
        details = f"the autoscaler still requests {progress.desired_replicas} replicas"
    elif progress.replicas < expected.to:
        details = f"only {progress.replicas} replicas exist"
    else:
        details = f"only {progress.ready_replicas} of {progress.replicas} replicas are ready"
    return Diagnosis(FailureCause.TIMEOUT, f"{details}; {problem}" if problem else details)
