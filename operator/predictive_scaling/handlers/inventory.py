"""What the watches know of the cluster: one slim record an object, and what our own writes answered meanwhile."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import structlog
from prometheus_client import Counter

from predictive_scaling.clock import monotonic
from predictive_scaling.decision.review import Problem
from predictive_scaling.errors import ClusterUnavailableError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.targets.client import Cluster, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscalerRecord, parse, path_of
from predictive_scaling.targets.workload_record import WorkloadRecord, WorkloadReference

log = structlog.get_logger(__name__)

Read = TypeVar("Read")

DRIFT = Counter(
    "predictive_scaling_index_drift_total", "Objects that the API server had and the watches did not show; stays 0."
)
_ON_ITS_WAY_SECONDS = 5.0

_LOOK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A ScalingPolicy as the watch last showed it; one that cannot be read stays, with what is wrong with it."""

    key: PolicyKey
    uid: str
    generation: int
    resource_version: int
    created_at: datetime
    deleted: bool
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    status: Mapping[str, Any]
    policy: ScalingPolicy | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A BusinessEvent as the watch last showed it."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: int
    created_at: datetime
    status: Mapping[str, Any]
    event: BusinessEvent | None
    problem: Problem | None = None


WorkloadKey = tuple[str, str, str]
"""Namespace, kind and name."""


@dataclass(slots=True)
class Inventory:
    """The newest that is known of every object we work with; reading it asks nobody.

    Only what is missing here is asked for by a request: a watch that lags must not make a target look gone.
    """

    cluster: Cluster
    namespaces: tuple[str, ...] = ()
    """What is watched; none means all."""
    is_complete: bool = False
    """Whether the indices were seen to hold all that there is."""
    _policies: Mapping[PolicyKey, Any] = field(default_factory=dict[PolicyKey, Any])
    _events: Mapping[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    _autoscalers: Mapping[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    _workloads: Mapping[WorkloadKey, Any] = field(default_factory=dict[WorkloadKey, Any])
    _written: dict[tuple[str, str], HorizontalPodAutoscalerRecord] = field(
        default_factory=dict[tuple[str, str], HorizontalPodAutoscalerRecord]
    )
    _unseen: dict[PolicyKey, tuple[int, float]] = field(default_factory=dict[PolicyKey, tuple[int, float]])
    _fingerprints: dict[str, int] = field(default_factory=dict[str, int])

    def bind(
        self,
        policies: Mapping[PolicyKey, Any],
        events: Mapping[tuple[str, str], Any],
        autoscalers: Mapping[tuple[str, str], Any],
        workloads: Mapping[WorkloadKey, Any],
    ) -> None:
        """Read from these indices; called once they exist."""
        self.is_complete = False
        self._policies, self._events = policies, events
        self._autoscalers, self._workloads = autoscalers, workloads

    async def wait_until_complete(self, patience_seconds: float = 30.0) -> None:
        """Until the indices hold every policy and event that the API server has.

        Who decides on half of the policies would take the wrong one for the owner of a target. Raises
        ClusterUnavailableError when that takes longer than `patience_seconds`.
        """
        until = monotonic() + patience_seconds
        while missing := await self._missing():
            if monotonic() > until:
                raise ClusterUnavailableError(f"The watches have not shown {missing} yet; nothing is decided before")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self.is_complete = True

    async def compare(self) -> None:
        """Count an object that the API server has and the index lacks; there should never be one.

        It is looked for twice: what was made a moment ago is only on its way.
        """
        if await self._missing() is None:
            return
        await asyncio.sleep(_ON_ITS_WAY_SECONDS)
        missing = await self._missing()
        if missing is not None:
            DRIFT.inc()
            log.warning("index_drift", missing=missing)

    async def _missing(self) -> str | None:
        root = f"/apis/{GROUP}/{VERSION}"
        for namespace in self.namespaces or (None,):
            where = f"{root}/namespaces/{namespace}" if namespace else root
            for item in await self.cluster.items(f"{where}/scalingpolicies"):
                key = PolicyKey(item["metadata"]["namespace"], item["metadata"]["name"])
                if key not in self._policies:
                    return f"ScalingPolicy {key}"
            for item in await self.cluster.items(f"{where}/businessevents"):
                key = PolicyKey(item["metadata"]["namespace"], item["metadata"]["name"])
                if key not in self._events:
                    return f"BusinessEvent {key}"
        return None

    def policies(self) -> list[PolicyRecord]:
        """All policies, in no order."""
        return _all(self._policies)

    def policy(self, key: PolicyKey) -> PolicyRecord | None:
        """One policy, or None where the watch knows of none."""
        return _only(self._policies, key)

    def events(self) -> list[EventRecord]:
        """All BusinessEvents, in no order."""
        return _all(self._events)

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        """The newest record of an HPA: the watch's, or what our last write answered while the watch has not seen it."""
        key = (namespace, name)
        watched: HorizontalPodAutoscalerRecord | None = _only(self._autoscalers, key)
        written = self._written.get(key)
        if written and watched and watched.uid == written.uid and written.resource_version > watched.resource_version:
            return written
        self._written.pop(key, None)
        if watched is not None:
            return watched
        try:
            return parse(await self.cluster.get(path_of(namespace, name)))
        except ObjectNotFoundError:
            return None

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """The newest record of a workload; kinds that are not watched are asked for."""
        watched: WorkloadRecord | None = _only(self._workloads, (namespace, reference.kind, reference.name))
        if watched is not None:
            return watched
        try:
            return WorkloadRecord.parse(await self.cluster.get(reference.path(namespace)))
        except (ObjectNotFoundError, ObjectRefusedError):
            return None

    def keep(self, record: HorizontalPodAutoscalerRecord) -> None:
        """Take over what a write of ours answered."""
        self._written[record.namespace, record.name] = record

    def is_news(self, body: Mapping[str, Any], *, gone: bool) -> bool:
        """Whether people changed an object since it was seen last; our own status writes are no news."""
        metadata = body["metadata"]
        uid = metadata["uid"]
        if gone:
            self._fingerprints.pop(uid, None)
            return True
        said = (metadata.get("generation"), metadata.get("annotations"), metadata.get("labels"))
        fingerprint = hash(repr((*said, metadata.get("deletionTimestamp"))))
        before = self._fingerprints.get(uid)
        self._fingerprints[uid] = fingerprint
        return before != fingerprint

    def wrote_policy(self, key: PolicyKey, resource_version: int) -> None:
        """Remember a write of ours to a policy until the watch shows it: one that it never shows tells a deaf watch."""
        self._unseen.setdefault(key, (resource_version, monotonic()))

    def deaf_for(self) -> float:
        """For how many seconds the watch has owed us the oldest of our own writes; 0 when it owes none."""
        for key, (version, _) in list(self._unseen.items()):
            record = self.policy(key)
            if record is None or record.resource_version >= version:
                del self._unseen[key]
        oldest = min((at for _, at in self._unseen.values()), default=None)
        return 0.0 if oldest is None else monotonic() - oldest


def _all(index: Mapping[Any, Any]) -> list[Any]:
    return _undisturbed(lambda: [record for store in index.values() for record in store])


def _only(index: Mapping[Any, Any], key: Any) -> Any:
    if key not in index:
        return None
    # After a quick re-creation both generations of an object can be in the store: the newest counts.
    return _undisturbed(lambda: max(index.get(key, ()), key=_version, default=None))


def _version(record: Any) -> int:
    return getattr(record, "resource_version", 0)


def _undisturbed(read: Callable[[], Read]) -> Read:
    """What `read` gives once no event comes in meanwhile: the indices are kept in another thread."""
    while True:
        try:
            return read()
        except RuntimeError:  # a dictionary changed while it was walked through
            continue
