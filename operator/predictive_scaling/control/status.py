"""The status of policies: written whole, only when it changed, and only by the leader."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import Counter

from predictive_scaling.control.ownership import path_of
from predictive_scaling.control.state import PolicyState
from predictive_scaling.handlers.inventory import Inventory, PolicyRecord
from predictive_scaling.targets.client import Cluster, ObjectNotFoundError, ObjectRefusedError

log = structlog.get_logger(__name__)

WRITES = Counter("predictive_scaling_status_writes_total", "Writes of a ScalingPolicy's status.")


@dataclass(frozen=True, slots=True)
class StatusWriter:
    """Shows what a visit found."""

    cluster: Cluster
    inventory: Inventory

    async def show(self, record: PolicyRecord, state: PolicyState, status: Mapping[str, Any]) -> bool:
        """Write the status where it differs from what is there; says whether it did. Raises ClusterUnavailableError."""
        if status == state.written:
            return False
        replaced = [
            {"op": "test", "path": "/metadata/uid", "value": record.uid},
            {"op": "add", "path": "/status", "value": dict(status)},
        ]
        try:
            answer = await self.cluster.edit(f"{path_of(record.key)}/status", replaced)
        except ObjectNotFoundError:
            return False
        except ObjectRefusedError as error:
            log.warning("status_refused", policy=str(record.key), error=str(error))
            return False
        state.written = dict(status)
        self.inventory.wrote_policy(record.key, int(answer["metadata"]["resourceVersion"]))
        WRITES.inc()
        return True
