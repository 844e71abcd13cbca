"""Restores the original minimum: the policy is deleted, leaves Auto, or names another target (semantics 16)."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster.client import Cluster, ObjectConflictError, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.actuation import ownership
from predictive_scaling.control.policy_memory import Acknowledgement
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.target_claims import NO_CLAIMS, Claim, TargetClaims
from predictive_scaling.decision.reactive import floor_to_restore
from predictive_scaling.errors import (
    ClusterUnavailableError,
    RequestFailedError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.statuses import TakenGroup, Takeover
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.targets.port import with_record
from predictive_scaling.targets.registry import TargetFinder, taken_group, target_named

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 60.0
"""A deletion waits this long, in real time, for a target that cannot be restored; then it completes without."""
GROUP_TIMEOUT_SECONDS = 660.0
"""The same for an Auto Scaling group: longer than its cooldown and the longest pause of its account together."""

_REFUSED = (ObjectRefusedError, ObjectConflictError, ObjectNotFoundError)


@dataclass(frozen=True, slots=True)
class Restoration:
    """Ends take-overs."""

    cluster: Cluster
    find: TargetFinder
    events: KubernetesEvents

    def is_due(self, record: PolicyRecord, state: PolicyState, claims: TargetClaims = NO_CLAIMS) -> bool:
        """Whether our finalizer or our floor has to be removed.

        The policy is being deleted, left Auto, names another target, or another policy acts on its target.
        """
        held = self.holds(record, state)
        if held and (record.deleted or claims.heir(record, state) is not None):
            return True
        stated = record.policy or record.blocked
        if not held or stated is None:
            return False
        spec = stated.spec
        moved = state.takeover is not None and state.target is not None and _is_other(spec.target, state)
        return spec.mode is not Mode.AUTO or moved

    def holds(self, record: PolicyRecord, state: PolicyState) -> bool:
        """Whether a policy has a target to restore, or our finalizer."""
        return state.takeover is not None or ownership.is_held(record, state)

    async def restore(
        self, record: PolicyRecord, state: PolicyState, now: datetime, claims: TargetClaims = NO_CLAIMS
    ) -> None:
        """Restore the target's minimum, or hand the take-over to the policy that acts on it; then remove the finalizer.

        Raises ClusterUnavailableError while that cannot be done, TargetRefusedError or ObjectRefusedError while the
        API server refuses it; a deletion stops waiting after TIMEOUT_SECONDS or GROUP_TIMEOUT_SECONDS.
        """
        state.begin_restoring()
        try:
            await self._end_takeover(record, state, now, claims)
        except (ClusterUnavailableError, TargetRefusedError, *_REFUSED) as error:
            if not self._is_overdue(record, state):
                raise
            self._give_up(record, state, error)
        await ownership.release(self.cluster, record, state)
        state.release()

    async def _end_takeover(
        self, record: PolicyRecord, state: PolicyState, now: datetime, claims: TargetClaims
    ) -> None:
        heir = claims.heir(record, state)
        if heir is None:
            await self._restore_target(record, state, now)
        elif state.takeover is not None and state.target is not None:
            await self._hand_over(record, state.takeover, state.target, heir)

    async def _hand_over(self, record: PolicyRecord, takeover: Takeover, target: str, heir: Claim) -> None:
        """Record on the other policy what is to be restored: the minimum from before the first take-over."""
        recorded = heir.state.takeover
        if recorded is not None and recorded.target_uid != takeover.target_uid:
            raise RequestFailedError(f"{heir.record.key} must restore {heir.state.target} before {target}")
        if recorded is not None and recorded.since <= takeover.since:
            return
        acknowledgement = Acknowledgement.of(heir.record)
        handed = (recorded or takeover).model_copy(
            update={
                "original_minimum": takeover.original_minimum,
                "since": takeover.since,
                "generation": acknowledgement.generation,
                "resume": acknowledgement.resume,
                "auto_scaling_group": _reached_by(heir, takeover),
            }
        )
        # Earlier writes to the target do not let the other policy take the field from a third party.
        heir.state.acknowledge(acknowledgement)
        await ownership.record_takeover(self.cluster, heir.record, heir.state, target, handed)
        log.info("takeover_handed_over", policy=str(record.key), to=str(heir.record.key), target=target)

    async def _restore_target(self, record: PolicyRecord, state: PolicyState, now: datetime) -> None:
        takeover = state.takeover
        spec = taken_group(takeover) or target_named(state.target or "")
        spec = spec or (record.policy.spec.target if record.policy else None)
        if takeover is None or spec is None:
            return
        try:
            target = with_record(self.find(record.key.namespace, spec), takeover)
            observed = await target.observe()
            if observed.uid != takeover.target_uid:
                return
            floor = floor_to_restore(takeover.original_minimum, observed, state.situation, now)
            await target.restore(floor)
        except TargetNotFoundError:
            return
        except TargetUnsupportedError as error:
            self._give_up(record, state, error)
            return
        except TargetConflictError as error:
            self.events.emit(record, EventReason.CONFLICT_DETECTED, f"Not restored: {error}")
            return
        except (TargetRefusedError, ObjectRefusedError) as error:
            original = takeover.original_minimum
            raise TargetRefusedError(f"{spec} has not got its minimum of {original} back: {error}") from error
        log.info("target_restored", policy=str(record.key), target=str(spec), minimum=floor)
        original = takeover.original_minimum
        note = f"{spec} has its minimum of {original} back"
        if floor != original:
            note = f"{spec} has {floor} replicas, which its demand may need; before the policy it had {original}"
        self.events.emit(record, EventReason.RESTORED, note)

    def _give_up(self, record: PolicyRecord, state: PolicyState, error: Exception) -> None:
        log.warning("target_not_restored", policy=str(record.key), target=state.target, error=str(error))
        if state.takeover is not None:
            original = state.takeover.original_minimum
            note = f"{state.target} keeps its minimum; set it to {original}, as it was before the policy. {error}"
            self.events.emit(record, EventReason.NOT_RESTORED, note)

    def _is_overdue(self, record: PolicyRecord, state: PolicyState) -> bool:
        if not record.deleted:
            return False
        is_group = state.takeover is not None and state.takeover.auto_scaling_group is not None
        return state.seconds_deleting(monotonic()) > (GROUP_TIMEOUT_SECONDS if is_group else TIMEOUT_SECONDS)


def _reached_by(heir: Claim, takeover: Takeover) -> TakenGroup | None:
    """Return the group of a take-over as its heir reaches it: its namespace may be allowed another role only."""
    group, policy = takeover.auto_scaling_group, heir.record.policy
    named = policy.spec.target.auto_scaling_group if policy is not None else None
    return group if group is None or named is None else group.model_copy(update={"role_arn": named.role_arn})


def _is_other(target: TargetSpec, state: PolicyState) -> bool:
    """Whether a policy names another target than the one that was taken over."""
    if state.target != str(target):
        return True
    taken, named = taken_group(state.takeover), target.auto_scaling_group
    if taken is None or taken.auto_scaling_group is None or named is None:
        return False
    # Another role may reach the same group; the take-over stays, and the restoration uses the role that took it over.
    return (taken.auto_scaling_group.region, taken.auto_scaling_group.field) != (named.region, named.field)
