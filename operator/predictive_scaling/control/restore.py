"""Putting back what was there before us: the policy is deleted, leaves Auto, or names another target (semantics 16)."""

from dataclasses import dataclass, replace

import structlog

from predictive_scaling.clock import monotonic
from predictive_scaling.control import ownership
from predictive_scaling.control.events import Events, Happened
from predictive_scaling.control.state import PolicyState
from predictive_scaling.errors import (
    ClusterUnavailableError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
    TargetUnsupportedError,
)
from predictive_scaling.handlers.inventory import PolicyRecord
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.targets.client import Cluster
from predictive_scaling.targets.registry import TargetFinder, autoscaler_named

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 60.0
"""A deletion waits this long, in real time, for a target that cannot be restored; then it goes on without."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """Ends take-overs."""

    cluster: Cluster
    find: TargetFinder
    events: Events

    def is_wanted(self, record: PolicyRecord, state: PolicyState) -> bool:
        """Whether something of ours has to go: the policy is going, left Auto, or names another target."""
        held = state.takeover is not None or ownership.FINALIZER in record.finalizers
        if record.deleted or record.policy is None:
            return held and record.deleted
        spec = record.policy.spec
        moved = state.takeover is not None and state.target is not None and state.target != str(spec.target)
        return held and (spec.mode is not Mode.AUTO or moved)

    async def restore(self, record: PolicyRecord, state: PolicyState) -> None:
        """Put the target's minimum back and let the policy go.

        Raises ClusterUnavailableError while that cannot be done; a deletion stops waiting after PATIENCE_SECONDS.
        """
        state.gives_back = True
        try:
            await self._restore_target(record, state)
        except ClusterUnavailableError:
            if not self._waited_enough(record, state):
                raise
            log.warning("target_not_restored", policy=str(record.key), target=state.target)
        await ownership.release(self.cluster, record)
        state.takeover, state.target, state.conflict, state.verified = None, None, None, None
        state.memory = replace(state.memory, floor=None, changes=(), held_by=None)

    async def _restore_target(self, record: PolicyRecord, state: PolicyState) -> None:
        takeover = state.takeover
        spec = autoscaler_named(state.target or "") or (record.policy.spec.target if record.policy else None)
        if takeover is None or spec is None:
            return
        try:
            target = self.find(record.key.namespace, spec)
            if (await target.observe()).uid != takeover.target_uid:
                return
            await target.restore(takeover.original_minimum)
        except (TargetNotFoundError, TargetUnsupportedError):
            return
        except (TargetConflictError, TargetRefusedError) as error:
            self.events.about(record, Happened.CONFLICT_DETECTED, f"Not restored: {error}")
            return
        log.info("target_restored", policy=str(record.key), target=str(spec), minimum=takeover.original_minimum)
        self.events.about(record, Happened.RESTORED, f"{spec} has its minimum of {takeover.original_minimum} back")

    def _waited_enough(self, record: PolicyRecord, state: PolicyState) -> bool:
        if not record.deleted:
            return False
        state.deleting_since = state.deleting_since or monotonic()
        return monotonic() - state.deleting_since > PATIENCE_SECONDS
