"""Holds of raises that did harm: how long a raise is held back, across restarts, and what ends it (semantics 19)."""

from dataclasses import replace
from datetime import datetime, timedelta

from predictive_scaling.control.actuation.assessment import ExpectedReplicas, Verdict
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.decision.inputs import Observed, RaiseHold
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause, Limit, Reason
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow

FIRST_HOLD = timedelta(minutes=5)
MAX_HOLD = timedelta(hours=2)
UNKNOWN_RELEASE = ""
_MAX_DOUBLINGS = 10


def next_hold(expected: ExpectedReplicas, verdict: Verdict, generation: int, now: datetime) -> RaiseHold:
    """The back-off after a raise that did harm; twice as long as the last one for the same policy and release.

    generation: that of the policy now.
    """
    last = expected.state.raise_hold
    if last is not None and (
        last.generation != generation or last.template not in (UNKNOWN_RELEASE, expected.template)
    ):
        last = None
    raised_to = expected.to if last is None else min(last.raised_to, expected.to)
    if last is not None and now < last.until:
        # Another step of the same raise, or a raise to the current demand: the next attempt is not delayed further.
        return replace(last, floor=min(last.floor, expected.before), raised_to=raised_to, is_reverted=False)
    failures = 0 if last is None else last.failures
    return RaiseHold(
        floor=expected.before,
        raised_to=raised_to,
        until=now + min(FIRST_HOLD * 2 ** min(failures, _MAX_DOUBLINGS), MAX_HOLD),
        failures=failures + 1,
        generation=generation,
        template=expected.template,
        cause=(verdict.cause or FailureCause.TIMEOUT).value,
        message=verdict.message,
    )


def recovered_hold(row: ScalingDecisionRow, now: datetime) -> RaiseHold | None:
    """The hold that the newest decision of a policy shows after a restart; None if it shows none.

    The release and the number of failures are not recorded: the back-off is the first one. It lasts from now on if the
    raise is not reverted yet, otherwise from the decision on.
    """
    hold = RaiseHold(
        floor=row.from_replicas,
        raised_to=row.to_replicas,
        until=now + FIRST_HOLD,
        failures=1,
        generation=row.generation,
        template=UNKNOWN_RELEASE,
        cause=Reason.ROLLED_BACK.value,
        message=row.message,
    )
    if row.phase is DecisionPhase.ROLLED_BACK:
        return replace(hold, cause=row.cause or hold.cause, message=row.outcome or row.message)
    if row.reason == Reason.ROLLED_BACK:
        return replace(
            hold,
            floor=row.to_replicas,
            raised_to=row.from_replicas,
            until=row.created_at + FIRST_HOLD,
            is_reverted=row.phase in (DecisionPhase.VERIFYING, DecisionPhase.SUCCEEDED),
        )
    if Limit.ROLLED_BACK.value in row.limits:
        # A raise to the current demand while more was held back.
        raised_to = max(row.uncapped_replicas, row.to_replicas + 1)
        return replace(hold, raised_to=raised_to, until=row.created_at + FIRST_HOLD, is_reverted=True)
    return None


def current_hold(state: PolicyState, policy: ScalingPolicy, observed: Observed) -> RaiseHold | None:
    """The hold of a raise that did harm; a changed policy or a new release of the pods ends it.

    A restart does not know the release of the raise: the one that is observed first takes its place.
    """
    hold = state.raise_hold
    if hold is None:
        return None
    if hold.template == UNKNOWN_RELEASE:
        hold = replace(hold, template=observed.template)
        state.hold_raises(hold)
    is_new_release = observed.template not in (UNKNOWN_RELEASE, hold.template)
    if is_new_release or hold.generation != policy.metadata.generation:
        state.release_raises()
        return None
    return hold
