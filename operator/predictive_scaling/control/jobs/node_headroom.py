"""Reserves headroom for the next raise of each policy that requests it (semantics 30).

Each pass compares the objects that exist with those that should: nothing is remembered that a restart would lose.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.client import ObjectRefusedError
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.control.actuation.headroom_objects import HeadroomRequest
from predictive_scaling.control.actuation.headroom_writer import HeadroomRefusedError, HeadroomSnapshot, HeadroomWriter
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.decision.node_headroom import node_headroom, resumed_headroom
from predictive_scaling.errors import ClusterUnavailableError, TargetNotFoundError, TargetUnsupportedError
from predictive_scaling.resources.statuses import NodeHeadroomStatus
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.targets.records import workload_of

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class NodeHeadroomController:
    """Creates, scales and deletes the objects that reserve headroom."""

    writer: HeadroomWriter
    cache: InformerCache
    states: PolicyStates
    clock: Clock
    leads: Callable[[], bool]
    in_flight: int
    """Maximum number of policies that are written concurrently."""
    _must_read: bool = True
    """Objects may exist although no policy requests headroom: after a start, and until none was listed."""

    async def run(self) -> None:
        """One pass over all policies. Raises ClusterUnavailableError if the API server cannot be reached."""
        if not self.leads() or not self.cache.is_complete:
            self._must_read = True
            return
        requesting = [record for record in self.cache.policies() if _requests_headroom(record)]
        self._forget_status()
        if not requesting and not self._must_read:
            return
        snapshot = await self.writer.read()
        self._must_read = bool(snapshot.objects)
        slots = asyncio.Semaphore(self.in_flight)
        kept = {path for record in self.cache.policies() if _is_invalid(record) for path in snapshot.of(record.uid)}

        async def keep(record: PolicyRecord) -> None:
            async with slots:
                kept.update(await self._keep_isolated(record, snapshot))

        async with asyncio.TaskGroup() as group:
            for record in requesting:
                group.create_task(keep(record))
        surplus = snapshot.objects.keys() - kept

        async def delete(path: str) -> None:
            async with slots:
                if self.leads():
                    await self.writer.delete(path)

        async with asyncio.TaskGroup() as group:
            for path in surplus:
                group.create_task(delete(path))

    async def _keep_isolated(self, record: PolicyRecord, snapshot: HeadroomSnapshot) -> set[str]:
        """Keep the headroom of one policy. Never raises: a failure is shown in its status. Return the paths to keep."""
        try:
            return await self._keep(record, snapshot)
        except (HeadroomRefusedError, ObjectRefusedError, TargetNotFoundError, TargetUnsupportedError) as error:
            state = self.states.of(record, self.clock.now())
            replicas = state.node_headroom.replicas if state.node_headroom else 0
            state.note_headroom(NodeHeadroomStatus(replicas=replicas, message=str(error)))
        except ClusterUnavailableError as error:
            log.warning("node_headroom_not_written", policy=str(record.key), error=str(error))
        except Exception:  # a failure of one policy affects no other
            log.exception("node_headroom_failed", policy=str(record.key))
        return set(snapshot.of(record.uid))

    async def _keep(self, record: PolicyRecord, snapshot: HeadroomSnapshot) -> set[str]:
        state, own, policy = self.states.of(record, self.clock.now()), snapshot.of(record.uid), record.policy
        situation, decision = state.situation, state.decision
        if situation is None or decision is None or policy is None or policy.spec.node_headroom is None:
            return set(own)
        if state.open_decision is not None:  # a raise that is being written has released its placeholders
            return set(own)
        if state.floor is not None and state.floor > decision.floor:
            # A raise was written whose reconciliation has not ended: its placeholders are not created again.
            decision = replace(decision, floor=state.floor)
        existing = max((existing.replicas for existing in own.values()), default=0)
        remembered = state.headroom or resumed_headroom(existing, situation.observed.current_replicas, situation.now)
        replicas, remembered = node_headroom(situation, decision, remembered)
        state.remember_headroom(remembered)
        state.note_headroom(NodeHeadroomStatus(replicas=replicas))
        if policy.spec.mode is not Mode.AUTO:
            return set()
        if (not replicas and not own) or not self.leads():
            return set(own)
        workload = await workload_of(self.cache, record.key.namespace, policy.spec.target)
        if state.open_decision is not None:  # opened meanwhile
            return set(own)
        request = HeadroomRequest(record.key, record.uid, replicas, workload, situation.observed.template)
        written = await self.writer.ensure(request, policy.spec.node_headroom.method, snapshot)
        state.note_headroom(written.status(replicas))
        return {written.path}

    def _forget_status(self) -> None:
        for record in self.cache.policies():
            state = self.states.known(record.uid)
            if state is None or state.node_headroom is None:
                continue
            if not _requests_headroom(record) and not _is_invalid(record):
                state.note_headroom(None)


def _requests_headroom(record: PolicyRecord) -> bool:
    policy = record.policy
    return (
        policy is not None
        and not record.deleted
        and policy.spec.node_headroom is not None
        and policy.spec.mode is not Mode.OFF
    )


def _is_invalid(record: PolicyRecord) -> bool:
    """Whether the request of a policy is unknown, which is not the same as none: its headroom stays."""
    return record.policy is None and not record.deleted
