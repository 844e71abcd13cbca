"""Verifies in the background that replicas follow a write (semantics 19). Learns lead times, reverts harmful raises."""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter, Histogram

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.actuation.assessment import (
    ExpectedReplicas,
    Verdict,
    assess_progress,
    needs_pods,
)
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.pod_reader import PodReader
from predictive_scaling.control.actuation.raise_holds import next_hold
from predictive_scaling.control.learning import Learning
from predictive_scaling.decision.context import positive, trusted_demand
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import RaiseHold, Situation
from predictive_scaling.errors import (
    ClusterUnavailableError,
    TargetNotFoundError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.conditions import format_time
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.targets.port import ExplainsDelay, Progress, ReplicaSource, Target

__all__ = ["ExpectedReplicas", "Verification"]

log = structlog.get_logger(__name__)

SECONDS = Histogram(
    "predictive_scaling_verification_seconds",
    "Product time from raising a floor to ready replicas.",
    buckets=(5, 15, 30, 60, 120, 300, 600, 1200, 3600),
)
MAX_READS_PER_PASS = 50
"""Raises whose pods are read in one pass; the others wait for the next pass, so that no pass takes long."""
_TARGETS_AT_ONCE = 16
"""Targets that are observed at once, so that the waits for targets that do not respond do not add up."""
_READ_INTERVAL_SECONDS = 15.0
"""Between two reads of the pods of an open raise."""
MAX_UNDECIDED = timedelta(minutes=5)
"""How long a late raise stays open while its pods cannot be read, or while the demand that it serves is not known."""
MIN_NODE_WAIT = timedelta(seconds=10)
"""A pod that got its node later than this after its creation waited for one."""
_MIN_WAIT_SECONDS = 2.0
"""Times of pods are full seconds."""
ENDED = Counter("predictive_scaling_verifications_total", "Verifications by how they ended.", ["phase"])


@dataclass(slots=True)
class Verification:
    """All writes whose effect is awaited."""

    records: DecisionRecords
    learning: Learning
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
        self._open = {name: expected.shifted(by) for name, expected in self._open.items()}

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
        # Those whose pods were read last come last: reads that fail do not keep others from being read.
        awaited = sorted(self._open.values(), key=lambda expected: self._read_at.get(expected.name, -math.inf))
        slots = asyncio.Semaphore(_TARGETS_AT_ONCE)
        observed = await asyncio.gather(*(_progress_of(expected.target, slots) for expected in awaited))
        for name, progress in zip((expected.name for expected in awaited), observed, strict=True):
            expected = self._open.get(name)
            if expected is None:
                continue  # dropped while the targets were observed
            try:
                with structlog.contextvars.bound_contextvars(policy=str(expected.record.key), decision=name):
                    await self._check(expected, progress)
            except Exception as error:  # a failure of one decision affects no other; its deadline ends it
                log.exception("verification_failed", policy=str(expected.record.key), decision=name)
                self._end_at_deadline(expected, error)
        for expected, verdict in list(self._ended.values()):
            try:
                await self._record(expected, verdict)
            except Exception:  # the row and the object stay unfinished, and can be cleared
                log.exception("decision_not_recorded", policy=str(expected.record.key), decision=expected.name)
                self._ended.pop(expected.name, None)

    async def _check(self, expected: ExpectedReplicas, progress: Progress | Exception) -> None:
        now = self.clock.now()
        try:
            if isinstance(progress, Exception):
                raise progress
            expected, verdict = await self._assess(expected, progress)
        except (TargetNotFoundError, TargetUnsupportedError) as error:
            verdict = Verdict(DecisionPhase.CANCELLED, str(error))
        except ClusterUnavailableError:
            return
        if expected.name not in self._open:
            return  # dropped while its pods were read
        if verdict is not None and verdict.is_harmful:
            verdict = self._roll_back(expected, verdict)
        if verdict is not None:
            del self._open[expected.name]
            self._ended[expected.name] = (expected, verdict)
            self._report(expected, verdict)
            if isinstance(progress, Progress) and _measures_start(expected, verdict):
                await self._learn(expected, progress.source, now - expected.applied_at)

    async def _learn(self, expected: ExpectedReplicas, source: ReplicaSource | None, took: timedelta) -> None:
        """Learn the lead time from a raise whose replicas are ready."""
        SECONDS.observe(took.total_seconds())
        self.learning.learn_start(
            expected.record,
            expected.target_uid,
            took,
            with_new_node=await self._waited_for_node(expected, source),
            release=expected.template,
        )

    async def _waited_for_node(self, expected: ExpectedReplicas, source: ReplicaSource | None) -> bool | None:
        """Whether a pod of the raise waited for a node; None if its pods cannot be read for now."""
        if source is None or expected.written_at is None or self._reads_left <= 0:
            return None
        self._reads_left -= 1
        report = await self.pods.read(source, creation_fails=False)
        # The API server stamps full seconds.
        written_at = expected.written_at.replace(microsecond=0)
        waits = [
            pod.scheduled_after_seconds
            for pod in report.pods
            if pod.created_at >= written_at and pod.scheduled_after_seconds is not None
        ]
        if report.problem or not waits:
            return None
        return max(waits) >= max(_MIN_WAIT_SECONDS, self.clock.real_seconds(MIN_NODE_WAIT))

    async def _assess(self, expected: ExpectedReplicas, progress: Progress) -> tuple[ExpectedReplicas, Verdict | None]:
        """The verdict; pods are read only where a raise is late, or fewer replicas are ready than before it."""
        noted = expected.with_write_time(progress)
        if expected.name in self._open:
            self._open[expected.name] = noted
        verdict = assess_progress(noted, progress, self.clock.now())
        if verdict is not None and verdict.cause is FailureCause.TIMEOUT and isinstance(noted.target, ExplainsDelay):
            return noted, self._explained(noted, noted.target, progress)
        if progress.source is None or not needs_pods(noted, progress, verdict):
            return noted, verdict
        if self._reads_left <= 0:
            return noted, None
        was_read = monotonic() - self._read_at.get(noted.name, -math.inf) < _READ_INTERVAL_SECONDS
        if was_read and (verdict is None or noted.undecided_since is not None):
            return noted, None
        self._read_at[noted.name] = monotonic()
        self._reads_left -= 1
        report = await self.pods.read(progress.source, creation_fails=progress.replicas < noted.to)
        # Earlier reads of this pass took time, and the numbers have to agree with the pods.
        verdict = assess_progress(noted, await noted.target.progress(), self.clock.now(), report)
        if report.is_temporary:
            self._reads_left = 0
            is_failed = verdict is not None and verdict.phase is DecisionPhase.FAILED and not verdict.is_harmful
            if is_failed and self._stays_open(noted):
                return noted, None
        return noted, verdict

    def _explained(self, expected: ExpectedReplicas, target: ExplainsDelay, progress: Progress) -> Verdict | None:
        """The verdict on a late raise with the target's own explanation; None while that is pending."""
        now = self.clock.now()
        explanation = target.explain_delay(progress, self.clock.real_seconds(now - expected.applied_at))
        if explanation.is_pending and self._stays_open(expected):
            return None
        return assess_progress(expected, replace(progress, explanation=explanation), now)

    def _stays_open(self, expected: ExpectedReplicas) -> bool:
        """Whether a late raise stays open a while longer, because what decides its end cannot be observed for now."""
        now = self.clock.now()
        since = expected.undecided_since or now
        if expected.name in self._open:
            self._open[expected.name] = replace(expected, undecided_since=since)
        return now - since < MAX_UNDECIDED

    def _roll_back(self, expected: ExpectedReplicas, verdict: Verdict) -> Verdict | None:
        """Hold raises back, so that the next reconciliation lowers the floor to that before the raise.

        Where the rules keep the floor, such as during a pause or for the current demand, the decision ends Failed. None
        where a later pass decides: before the deadline, and for a limited time while the demand is not known.
        """
        situation, now = expected.state.situation, self.clock.now()
        # The pods of a new release are not those of the raise.
        if situation is not None and (situation.observed.template or expected.template) == expected.template:
            hold = next_hold(expected, verdict, situation.policy.metadata.generation, now)
            floor = decide(replace(situation, now=now, raise_hold=hold)).floor
            if floor < expected.to:
                return self._rolled_back(expected, verdict, hold, floor)
        if now < expected.deadline_at or (_lacks_data(situation, now) and self._stays_open(expected)):
            return None
        log.info(
            "raise_not_rolled_back",
            policy=str(expected.record.key),
            decision=expected.name,
            message=verdict.message,
        )
        return verdict

    def _rolled_back(self, expected: ExpectedReplicas, verdict: Verdict, hold: RaiseHold, floor: int) -> Verdict:
        expected.state.hold_raises(hold)
        message = (
            f"{verdict.message} The floor returns to {floor}; the raise is not repeated before "
            f"{format_time(hold.until)}, unless the policy or the pod template changes."
        )
        return replace(verdict, phase=DecisionPhase.ROLLED_BACK, message=message)

    def _end_at_deadline(self, expected: ExpectedReplicas, error: Exception) -> None:
        now = self.clock.now()
        if now >= expected.deadline_at and self._open.pop(expected.name, None) is not None:
            message = f"Timeout: the target could not be observed: {error}"
            verdict = Verdict(DecisionPhase.FAILED, message, FailureCause.TIMEOUT)
            self._ended[expected.name] = (expected, verdict)
            self._report(expected, verdict)

    def _report(self, expected: ExpectedReplicas, verdict: Verdict) -> None:
        ENDED.labels(verdict.phase.value).inc()
        self._read_at.pop(expected.name, None)
        succeeded = verdict.phase is DecisionPhase.SUCCEEDED
        if _measures_start(expected, verdict):
            expected.state.release_raises_to(expected.to)
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
        log.info(
            "decision_ended",
            policy=str(expected.record.key),
            decision=expected.name,
            phase=verdict.phase.value,
            message=verdict.message,
        )

    async def _record(self, expected: ExpectedReplicas, verdict: Verdict) -> None:
        try:
            await self.records.transition(
                expected.record.key, expected.name, verdict.phase, verdict.message, cause=verdict.cause
            )
        except ClusterUnavailableError as error:
            log.info(
                "decision_not_recorded_yet", policy=str(expected.record.key), decision=expected.name, error=str(error)
            )
            return
        self._ended.pop(expected.name, None)


async def _progress_of(target: Target, slots: asyncio.Semaphore) -> Progress | Exception:
    async with slots:
        try:
            return await target.progress()
        except Exception as error:  # it ends or delays the verification of this target only
            return error


def _measures_start(expected: ExpectedReplicas, verdict: Verdict) -> bool:
    """Whether replicas of the raise have started since the write."""
    starts = expected.to > max(expected.before, expected.ready_before)
    return verdict.phase is DecisionPhase.SUCCEEDED and verdict.measures_start and starts


def _lacks_data(situation: Situation | None, now: datetime) -> bool:
    """Whether the replicas that the demand needs are unknown, such as after a restart."""
    if situation is None:
        return True
    return trusted_demand(replace(situation, now=now)) is None or positive(situation.per_replica) is None
