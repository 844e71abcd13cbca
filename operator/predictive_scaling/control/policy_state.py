"""State of one policy between two ticks. Every assignment to it is a method here, named after what happened."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from predictive_scaling.control.current_forecasts import ForecastRequirement
from predictive_scaling.control.policy_memory import Acknowledgement, Backoff, OwnMetadata, ReconcileRetry
from predictive_scaling.decision.inputs import Decision, DecisionState, FloorChange, Observed, RaiseHold, Situation
from predictive_scaling.decision.node_headroom import HeadroomState
from predictive_scaling.decision.review import Problem
from predictive_scaling.resources.conditions import Condition
from predictive_scaling.resources.shadow_status import ShadowStatus
from predictive_scaling.resources.statuses import (
    AccuracyStatus,
    LastDecision,
    NodeHeadroomStatus,
    ScalingPolicyStatus,
    Takeover,
)
from predictive_scaling.resources.vocabulary import Reason

NEVER_WRITTEN = datetime(1, 1, 1, tzinfo=UTC)

Confirm = Callable[[Observed], Awaitable[None]]


@dataclass(slots=True)
class PolicyState:
    """State of one policy. Other modules read the fields and change them through the methods only."""

    uid: str
    decision_state: DecisionState
    acknowledged: Acknowledgement
    """Acknowledgement at our last write, or when our field was overwritten."""
    status_lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)
    """Held during a write of the status: another policy may hand its takeover on meanwhile, which no write may undo."""
    takeover: Takeover | None = None
    target: str | None = None
    """The target of the takeover, as the status writes it."""
    own_metadata: OwnMetadata | None = None
    previous_decision: str = ""
    """Id of the target's last decision that was carried out or recommended."""
    open_decision: str | None = None
    """Id of a decision whose intent is recorded and whose effect is not."""
    last_decision: LastDecision | None = None
    requirement: ForecastRequirement | None = None
    """The forecast that the last reconciliation requires; None if it requires none."""
    situation: Situation | None = None
    """Situation of the last decision."""
    decision: Decision | None = None
    """The last decision."""
    conditions: tuple[Condition, ...] = ()
    accuracy: AccuracyStatus | None = None
    headroom: HeadroomState | None = None
    """What node headroom remembers; None before its first computation."""
    node_headroom: NodeHeadroomStatus | None = None
    """Its node headroom; None if the policy does not request it."""
    shadow: ShadowStatus | None = None
    """What mode Auto would have done; None before the first account and outside of mode Recommend."""
    verified: tuple[bool, str | None, str] | None = None
    """Whether the newest verification succeeded, why not in a word, and its message."""
    conflict: str | None = None
    """The foreign writer of our field, until a person acknowledges."""
    confirm: Confirm | None = None
    """Checks whether the last write was made; None if its outcome is known."""
    backoff: Backoff | None = None
    raise_hold: RaiseHold | None = None
    """The last raise that did harm, until the policy or its pods change, or such a raise succeeds."""
    failure: Problem | None = None
    """Why the last decision could not be carried out."""
    retry: ReconcileRetry | None = None
    """When to reconcile again after failures; None if the last reconciliation succeeded."""
    written_status: ScalingPolicyStatus | None = None
    """The status that was last written, as far as known."""
    status_written_at: datetime = NEVER_WRITTEN
    deleting_since: float | None = None
    """The monotonic second at which we first saw it being deleted."""
    restoring: bool = False
    """Its target's minimum is being restored: a pending verification has not failed."""

    @property
    def floor(self) -> int | None:
        """The floor that we hold."""
        return self.decision_state.floor

    # What a decision does to the state.

    def require(self, requirement: "ForecastRequirement | None") -> None:
        """Set what has to be forecast for this policy."""
        self.requirement = requirement

    def decide(self, decision_state: DecisionState) -> None:
        """Remember a decision that was carried out or recommended."""
        self.decision_state = decision_state

    def hold_floor(self, decision_state: DecisionState) -> None:
        """Remember a decision that changes nothing: no write is waiting to be repeated."""
        self.decision_state, self.backoff = decision_state, None

    def keep_floor(self, decided: DecisionState) -> None:
        """Remember the observations of a decision whose floor was not written, and the floor from before it."""
        before = self.decision_state
        self.decision_state = replace(
            decided, floor=before.floor, changes=before.changes, floor_source=before.floor_source
        )

    def show(
        self,
        conditions: tuple[Condition, ...],
        situation: Situation | None = None,
        decision: Decision | None = None,
    ) -> None:
        """Remember what the status reports. Without a decision the last one stays."""
        self.conditions = conditions
        if situation is not None and decision is not None:
            self.situation, self.decision = situation, decision

    # The life of an intent, from its record to its verification.

    def open_intent(self, name: str) -> None:
        """Name the intent before it is recorded: an intent without a record can then be superseded too."""
        self.open_decision = name

    def close_intent(self) -> None:
        """Drop the open intent, which has ended."""
        self.open_decision = None

    def supersede_intent(self) -> None:
        """Drop the open intent, which was never carried out; the same step later gets another name."""
        if self.open_decision is not None:
            self.previous_decision, self.open_decision = self.open_decision, None

    def send_write(self, confirm: Confirm) -> None:
        """Remember that the target is being written: its response may get lost."""
        self.confirm = confirm

    def end_write(self) -> None:
        """Remember that the write was refused."""
        self.confirm = None

    async def confirm_write(self, observed: Observed) -> None:
        """Count a write whose response was lost as made, if the target shows it. Never raises."""
        confirm, self.confirm = self.confirm, None
        if confirm is not None:
            await confirm(observed)

    def apply_intent(self, takeover: Takeover, acknowledged: Acknowledgement, decision: Decision) -> None:
        """Remember that the target was written: earlier conflicts and refusals are over."""
        self.decision_state, self.confirm = decision.state, None
        if decision.reason is Reason.ROLLED_BACK:
            self.raise_hold = self.raise_hold and replace(self.raise_hold, is_reverted=True)
        self.takeover = takeover.model_copy(update={"taken_from": None, "replaces": None})
        self.acknowledged = acknowledged
        self.conflict, self.backoff, self.open_decision, self.restoring = None, None, None, False

    def record_decision(self, decision: LastDecision, *, is_previous: bool) -> None:
        """Remember the newest decision; the next one is named after it if `is_previous`."""
        self.last_decision = decision
        if is_previous:
            self.previous_decision = decision.name

    def continue_after(self, name: str) -> None:
        """Name the next decision after this one, which was made before a restart."""
        self.previous_decision = name

    def recall_change(self, change: FloorChange) -> None:
        """Count a change from before a restart to the steps of its period; a known or earlier one is left out."""
        known = self.decision_state.changes
        if not known or known[-1].at < change.at:
            self.decision_state = replace(self.decision_state, changes=(*known, change))

    def verify(self, verified: tuple[bool, str | None, str], summary: str) -> None:
        """Remember the verdict on the newest decision."""
        self.verified = verified
        if self.last_decision is not None:
            self.last_decision = self.last_decision.model_copy(update={"summary": summary})

    def hold_raises(self, hold: RaiseHold) -> None:
        """Hold raises back after one that did harm."""
        self.raise_hold = hold

    def release_raises(self) -> None:
        """Allow raises: the policy or its pods changed."""
        self.raise_hold = None

    def release_raises_to(self, floor: int) -> None:
        """Allow raises if one to `floor` succeeded and the lowest floor that did harm is not above it."""
        if self.raise_hold is not None and floor >= self.raise_hold.raised_to:
            self.raise_hold = None

    # Failures.

    def fail(self, problem: Problem | None) -> None:
        """Set why the decision could not be carried out; None if it was."""
        self.failure = problem

    def back_off(self, backoff: Backoff) -> None:
        """Wait after a refused write."""
        self.backoff = backoff

    def retry_at(self, retry: ReconcileRetry | None) -> None:
        """Wait after a failed reconciliation; None after one that succeeded."""
        self.retry = retry

    # Who owns the target.

    def take_over(self, takeover: Takeover, target: str) -> None:
        """Remember a takeover that was recorded in the status."""
        self.takeover, self.target = takeover, target
        written = self.written_status or ScalingPolicyStatus()
        self.written_status = written.model_copy(update={"takeover": takeover, "target": target})

    def confirm_takeover(self) -> None:
        """Remember that the target has what was recorded: what was there before is a foreign write from now on."""
        if self.takeover is not None:
            self.takeover = self.takeover.model_copy(update={"written": True, "taken_from": None, "replaces": None})

    def forget_takeover(self) -> None:
        """Forget the takeover, which is recorded again before the next write: the value to restore has changed."""
        self.takeover = None

    def enter_conflict(self, writer: str) -> None:
        """Remember the foreign writer of our field."""
        self.conflict = writer

    def acknowledge(self, acknowledged: Acknowledgement) -> None:
        """Remember a change by a person; it ends no conflict."""
        self.acknowledged = acknowledged

    def end_conflict(self, acknowledged: Acknowledgement) -> None:
        """Remember that nobody else writes our field, or that a person acknowledged it."""
        self.acknowledged, self.conflict = acknowledged, None

    def begin_restoring(self) -> None:
        """Remember that the target's minimum is being restored."""
        self.restoring = True

    def release(self) -> None:
        """Forget the target, whose minimum was restored."""
        self.takeover, self.target, self.conflict, self.verified, self.backoff = None, None, None, None, None
        self.raise_hold = None
        self.decision_state = replace(self.decision_state, floor=None, changes=(), floor_source=None)

    def seconds_deleting(self, monotonic: float) -> float:
        """The seconds since the policy was first seen being deleted. monotonic: the monotonic second now."""
        if self.deleting_since is None:
            self.deleting_since = monotonic
        return monotonic - self.deleting_since

    # What was written and measured.

    def note_metadata(self, metadata: OwnMetadata) -> None:
        """Remember the metadata that our newest request returned."""
        self.own_metadata = metadata

    def wrote_status(self, status: ScalingPolicyStatus, now: datetime) -> None:
        """Remember the status that was written."""
        self.written_status, self.status_written_at = status, now

    def note_accuracy(self, accuracy: AccuracyStatus) -> None:
        """Remember the newest scores of the forecasts."""
        self.accuracy = accuracy

    def remember_headroom(self, headroom: HeadroomState) -> None:
        """Remember what the next computation of node headroom needs."""
        self.headroom = headroom

    def note_headroom(self, status: NodeHeadroomStatus | None) -> None:
        """Remember the node headroom; None if the policy does not request it any longer."""
        self.node_headroom = status
        if status is None:
            self.headroom = None

    def note_shadow(self, shadow: ShadowStatus | None) -> None:
        """Remember the newest account of what mode Auto would have done; None while there is none."""
        self.shadow = shadow

    def shift(self, by: timedelta) -> None:
        """Shift all times after the clock was stepped, so that durations stay as they were."""
        self.decision_state = self.decision_state.shifted(by)
        self.backoff = self.backoff and replace(self.backoff, until=self.backoff.until + by)
        self.raise_hold = self.raise_hold and replace(self.raise_hold, until=self.raise_hold.until + by)
        self.headroom = self.headroom and self.headroom.shifted(by)
        self.retry = self.retry and replace(self.retry, until=self.retry.until + by)
        if self.status_written_at != NEVER_WRITTEN:
            self.status_written_at += by
