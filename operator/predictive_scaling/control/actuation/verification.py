"""Verifies in the background that replicas follow a write (semantics 19). Learns lead times, reverts harmful raises."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog
from prometheus_client import Counter, Histogram

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.actuation.assessment import (
    ExpectedReplicas,
    Verdict,
    assess_progress,
    needs_pods,
    next_hold,
)
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.pod_reader import PodReader
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.decision.decide import decide
from predictive_scaling.errors import ClusterUnavailableError, TargetNotFoundError
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.targets.port import Progress

__all__ = ["ExpectedReplicas", "Verification"]

log = structlog.get_logger(__name__)

SECONDS = Histogram(
    "predictive_scaling_verification_seconds",
    "Product time from raising a floor to ready replicas.",
    buckets=(5, 15, 30, 60, 120, 300, 600, 1200, 3600),
)
MAX_READS_PER_PASS = 50
"""Raises whose pods are read in one pass; the others wait for the next pass, so that no pass takes long."""
_READ_INTERVAL_SECONDS = 15.0
"""Between two reads of the pods of an open raise."""
ENDED = Counter("predictive_scaling_verifications_total", "Verifications by how they ended.", ["phase"])


@dataclass(slots=True)
class Verification:
    """All writes whose effect is awaited."""

    records: DecisionRecords
    lead_times: LeadTimes
    events: KubernetesEvents
    clock: Clock
    failures: Counter
    pods: PodReader
    _open: dict[str, ExpectedReplicas] = field(default_factory=dict[str, ExpectedReplicas])
    _ended: dict[str, tuple[ExpectedReplicas, Verdict]] = field(
        default_factory=dict[str, tuple[ExpectedReplicas, Verdict]]
    )
    _read_at: dict[str, float] = field(default_factory=dict[str, float])
    """The monotonic second of the last read of pods for each unhealthy raise that is open."""
    _reads_left: int = MAX_READS_PER_PASS

    def expect(self, expected: ExpectedReplicas) -> None:
        """Await the effect of a write; it is looked at from the next pass on."""
        self._open[expected.name] = expected

    def drop(self, names: Iterable[str]) -> None:
        """Await these no more: someone else ended them."""
        for name in names:
            self._open.pop(name, None)
            self._ended.pop(name, None)
            self._read_at.pop(name, None)

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
        self._reads_left = MAX_READS_PER_PASS
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
            expected, verdict = await self._assess(expected, await expected.target.progress())
        except TargetNotFoundError as error:
            verdict = Verdict(DecisionPhase.CANCELLED, str(error))
        except ClusterUnavailableError:
            return
        if verdict is not None:
            if expected.name not in self._open:
                return  # dropped while the target was observed
            if verdict.is_harmful:
                verdict = self._roll_back(expected, verdict)
            del self._open[expected.name]
            self._ended[expected.name] = (expected, verdict)
            self._report(expected, verdict, now - expected.applied_at)

    async def _assess(self, expected: ExpectedReplicas, progress: Progress) -> tuple[ExpectedReplicas, Verdict | None]:
        """The verdict; pods are read only where a raise is late, or fewer replicas are ready than before it."""
        noted = expected.with_write_time(progress)
        if expected.name in self._open:
            self._open[expected.name] = noted
        verdict = assess_progress(noted, progress, self.clock.now())
        if progress.source is None or not needs_pods(noted, progress, verdict):
            return noted, verdict
        if self._reads_left <= 0:
            return noted, None
        if verdict is None and monotonic() - self._read_at.get(noted.name, -math.inf) < _READ_INTERVAL_SECONDS:
            return noted, None
        self._read_at[noted.name] = monotonic()
        self._reads_left -= 1
        report = await self.pods.read(progress.source, creation_fails=progress.replicas < noted.to)
        return noted, assess_progress(noted, progress, self.clock.now(), report)

    def _roll_back(self, expected: ExpectedReplicas, verdict: Verdict) -> Verdict:
        """Hold raises back, so that the next reconciliation lowers the floor to that before the raise.

        Where the rules keep the floor, such as without data, during a pause, or for the current demand, the decision
        stays Failed.
        """
        state, situation, now = expected.state, expected.state.situation, self.clock.now()
        if situation is None or (situation.observed.template or expected.template) != expected.template:
            return verdict  # a new release started meanwhile: its pods are not those of the raise
        hold = next_hold(expected, verdict, situation, now)
        floor = decide(replace(situation, now=now, raise_hold=hold)).floor
        if floor >= expected.to:
            log.info("raise_not_rolled_back", decision=expected.name, floor=floor, message=verdict.message)
            return verdict
        state.hold_raises(hold)
        message = (
            f"{verdict.message} The floor returns to {floor}; the raise is not repeated before "
            f"{format_time(hold.until)}, unless the policy or the pod template changes."
        )
        return replace(verdict, phase=DecisionPhase.ROLLED_BACK, message=message)

    def _end_at_deadline(self, expected: ExpectedReplicas) -> None:
        now = self.clock.now()
        if now >= expected.deadline_at and self._open.pop(expected.name, None) is not None:
            verdict = Verdict(DecisionPhase.FAILED, "Timeout: the target could not be observed.", FailureCause.TIMEOUT)
            self._ended[expected.name] = (expected, verdict)
            self._report(expected, verdict, now - expected.applied_at)

    def _report(self, expected: ExpectedReplicas, verdict: Verdict, took: timedelta) -> None:
        ENDED.labels(verdict.phase.value).inc()
        self._read_at.pop(expected.name, None)
        succeeded = verdict.phase is DecisionPhase.SUCCEEDED
        if succeeded and verdict.measures_start and expected.to > max(expected.before, expected.ready_before):
            self.lead_times.learn(expected.target_uid, took)
            SECONDS.observe(took.total_seconds())
            expected.state.release_raises()
        if verdict.phase in (DecisionPhase.FAILED, DecisionPhase.ROLLED_BACK):
            self.failures.inc()
            is_failed = verdict.phase is DecisionPhase.FAILED
            reason = EventReason.VERIFICATION_FAILED if is_failed else EventReason.ROLLED_BACK
            self.events.emit(expected.record, reason, verdict.message)
        elif succeeded:
            self.events.emit(expected.record, EventReason.VERIFICATION_SUCCEEDED, verdict.message)
        if expected.is_newest:
            summary = f"{expected.before}->{expected.to} {verdict.phase.value}"
            expected.state.verify((succeeded, verdict.cause, verdict.message), summary)
        log.info("decision_ended", decision=expected.name, phase=verdict.phase.value, message=verdict.message)

    async def _record(self, expected: ExpectedReplicas, verdict: Verdict) -> None:
        try:
            await self.records.transition(
                expected.record.key, expected.name, verdict.phase, verdict.message, cause=verdict.cause
            )
        except ClusterUnavailableError as error:
            log.info("decision_not_recorded_yet", decision=expected.name, error=str(error))
            return
        self._ended.pop(expected.name, None)
