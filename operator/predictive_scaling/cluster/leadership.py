"""Leader election by a Lease, based on this process's own monotonic clock.

Kubernetes does not guarantee that a Lease has only one leader at any time. A leader therefore checks a deadline before
each batch of writes, and its clients of the API server, AWS and PostgreSQL check it again before each write. The
deadline counts from before its last renewal was sent, and no request takes longer than the slack between that deadline
and the time at which another process may take the lease. Leases are always in real time.

A process that loses the lease never leads again, because its state (floors, take-overs, decisions) is older than the
actions of another leader. `lost` is set, and the process ends, as with client-go's leader election; a new process
starts without stale state.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import Gauge

from predictive_scaling.clock import WallClock, monotonic
from predictive_scaling.cluster.client import Cluster, ObjectConflictError, ObjectNotFoundError
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError

log = structlog.get_logger(__name__)

LEADER = Gauge("predictive_scaling_leader", "1 while this process leads and acts, 0 while it stands by.")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The durations of a lease."""

    duration_seconds: float = 15.0

    @property
    def reliance_seconds(self) -> float:
        """How long a leader may act after it sent a renewal: two thirds; the rest is slack for requests in flight."""
        return self.duration_seconds * 2 / 3

    @property
    def retry_seconds(self) -> float:
        """Time between two renewals."""
        return self.duration_seconds * 2 / 15


def process_identity() -> str:
    """Return a name for this process in the Lease: host, process and a random part."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"


@dataclass(slots=True)
class Leadership:
    """A candidate of the leader election."""

    cluster: Cluster
    namespace: str
    name: str
    terms: LeaseTerms = field(default_factory=LeaseTerms)
    identity: str = field(default_factory=process_identity)
    gained: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when leadership is gained; cleared by the recovery of the former leader's decisions."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when leadership was held and lost: this process may not lead again."""
    on_gained: Callable[[], None] = lambda: None
    """Called when leadership is gained."""
    _has_led: bool = False
    _relied_until: float = 0.0
    _seen: tuple[str, int] = ("", 0)
    _seen_at: float = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        return monotonic() < self._relied_until

    @property
    def is_over(self) -> bool:
        """Whether this process led and may not write any more: what it has in progress may be out of date."""
        return self._has_led and not self.leads

    async def campaign(self) -> None:
        """Take the lease if it is free, renew it if it is ours; do nothing once it was lost."""
        if self.is_over:
            self._lose("the lease was not renewed in time")
        if self.lost.is_set():
            return
        try:
            await self._try()
        except (ClusterUnavailableError, ObjectConflictError) as error:
            log.debug("lease_not_renewed", lease=self.name, error=str(error))
        except PredictiveScalingError as error:
            log.warning("lease_not_renewed", lease=self.name, error=str(error))
        if self.leads and not self._has_led:
            self._gain()
        elif self.is_over:
            self._lose("the lease was not renewed in time")

    async def release(self) -> None:
        """Release the lease, so that the next leader need not wait for it to expire."""
        LEADER.set(0)
        if not self.leads:
            return
        self._relied_until, self._has_led = 0.0, False
        try:
            lease = await self.cluster.get(self._path)
            if lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
                await self.cluster.replace(self._path, lease)
                log.info("lease_released", lease=self.name)
        except PredictiveScalingError as error:
            log.warning("lease_not_released", lease=self.name, error=str(error))

    async def _try(self) -> None:
        began = monotonic()
        try:
            lease = await self.cluster.get(self._path)
        except ObjectNotFoundError:
            await self.cluster.create(self._collection, self._new())
        else:
            if not self._may_take(lease):
                if self._has_led:
                    self._lose(f"{lease['spec']['holderIdentity']} holds the lease")
                return
            await self.cluster.replace(self._path, self._renewed(lease))
        self._relied_until = began + self.terms.reliance_seconds

    def _may_take(self, lease: Json) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self.identity):
            return True
        seen = (holder, ObjectMetadata.of(lease).resource_version)
        if seen != self._seen:
            self._seen, self._seen_at = seen, monotonic()
        return monotonic() - self._seen_at > float(spec.get("leaseDurationSeconds") or self.terms.duration_seconds)

    def _renewed(self, lease: Json) -> Json:
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self.identity:
            spec |= {"acquireTime": _now(), "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.terms.duration_seconds)),
            "renewTime": _now(),
        }
        return lease | {"spec": spec}

    def _new(self) -> Json:
        metadata = {"name": self.name, "namespace": self.namespace}
        empty: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
        return self._renewed(empty)

    def _gain(self) -> None:
        self._has_led = True
        LEADER.set(1)
        self.gained.set()
        log.info("leadership_gained", lease=self.name, identity=self.identity)
        self.on_gained()

    def _lose(self, why: str) -> None:
        self._relied_until = 0.0
        LEADER.set(0)
        if not self.lost.is_set():
            self.lost.set()
            log.error("leadership_lost", lease=self.name, identity=self.identity, why=why)

    @property
    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self.name}"


def _now() -> str:
    # The times of a Lease are for people and other clients; this client never reads them.
    now: datetime = WallClock().now()
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
