"""Writes the status of policies: completely, only when it changed, and only as the leader."""

from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import Counter

from predictive_scaling.clock import Clock, has_elapsed
from predictive_scaling.cluster.client import Cluster, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.resources.statuses import ScalingPolicyStatus

log = structlog.get_logger(__name__)

REFRESH = timedelta(minutes=5)

WRITES = Counter("predictive_scaling_status_writes_total", "Writes of a ScalingPolicy's status.")


@dataclass(frozen=True, slots=True)
class StatusWriter:
    """Writes the status of a policy.

    A newer forecast of the same floor is written every few minutes only: each write wakes every watch of policies,
    and the forecast itself is in the database and in the HTTP API at once.
    """

    cluster: Cluster
    cache: InformerCache
    clock: Clock

    async def write(self, record: PolicyRecord, state: PolicyState, status: ScalingPolicyStatus) -> bool:
        """Write the status if it differs; return whether it did. Raises ClusterUnavailableError."""
        async with state.status_lock:
            # Another policy may have handed its takeover on since the status was computed.
            return await self._write(record, state, status.model_copy(update={"takeover": state.takeover}))

    async def _write(self, record: PolicyRecord, state: PolicyState, status: ScalingPolicyStatus) -> bool:
        now = self.clock.now()
        if status == state.written_status:
            return False
        if not has_elapsed(REFRESH, state.status_written_at, now) and _significant(status) == _significant(
            state.written_status or ScalingPolicyStatus()
        ):
            return False
        replaced = [
            {"op": "test", "path": "/metadata/uid", "value": record.uid},
            {"op": "add", "path": "/status", "value": status.to_manifest()},
        ]
        try:
            answer = await self.cluster.edit(f"{path_of(record.key)}/status", replaced)
        except ObjectNotFoundError:
            return False
        except ObjectRefusedError as error:
            log.warning("status_refused", policy=str(record.key), error=str(error))
            return False
        state.wrote_status(status, now)
        self.cache.expect_policy_write(record.key, ObjectMetadata.of(answer).resource_version)
        WRITES.inc()
        return True


def _significant(status: ScalingPolicyStatus) -> object:
    """Return what is written at once: all but forecast, accuracy, shadow, and messages and times of conditions."""
    conditions = [(condition.type, condition.status, condition.reason) for condition in status.conditions]
    return status.model_copy(update={"forecast": None, "accuracy": None, "shadow": None, "conditions": ()}), conditions
