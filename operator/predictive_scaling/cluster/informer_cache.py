"""The newest known state of the cluster: a slim record of each watched object, updated by our own writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster.absent_objects import AbsentObjects
from predictive_scaling.cluster.client import Cluster, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.corrected_index import CorrectedIndex, OwnWrites, undisturbed
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord, parse, path_of
from predictive_scaling.cluster.namespace_limit import NamespaceLimit
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.cluster.scaled_object_record import ScaledObjectRecord
from predictive_scaling.cluster.scaled_objects import ScaledObjects
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.decision.review import Problem, limit_problem
from predictive_scaling.errors import TargetRefusedError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.namespace_patterns import UNRESTRICTED, NamespacePatterns
from predictive_scaling.resources.scaling_policy import ScalingPolicy


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A ScalingPolicy from the watch; an invalid one stays, with its problem."""

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
    blocked: ScalingPolicy | None = None
    """A valid policy that the installation does not allow, as `problem` says: nothing of it is read or forecast."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A BusinessEvent from the watch; an invalid one stays, with its problem."""

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

_SCALED_SECONDS = 5.0
"""HPAs are sorted by their workloads at most this often."""


@dataclass(slots=True)
class InformerCache:
    """The newest known record of every watched object; reading it sends no request.

    A missing record is requested once in a while: a lagging watch must not make a target look deleted.
    """

    cluster: Cluster
    services: NamespacePatterns = UNRESTRICTED
    """The services whose demand each namespace may read."""
    max_policies: int | None = None
    max_events: int | None = None
    """Maximum numbers of policies and events of a namespace; those beyond them are blocked. None: no limit."""
    is_complete: bool = False
    """Whether the indices were compared with the API server and hold all its policies and events."""
    policy_index: CorrectedIndex[PolicyKey, PolicyRecord] = field(
        default_factory=CorrectedIndex[PolicyKey, PolicyRecord]
    )
    event_index: CorrectedIndex[tuple[str, str], EventRecord] = field(
        default_factory=CorrectedIndex[tuple[str, str], EventRecord]
    )
    autoscaler_index: CorrectedIndex[tuple[str, str], HorizontalPodAutoscalerRecord] = field(
        default_factory=CorrectedIndex[tuple[str, str], HorizontalPodAutoscalerRecord]
    )
    workload_index: CorrectedIndex[WorkloadKey, WorkloadRecord] = field(
        default_factory=CorrectedIndex[WorkloadKey, WorkloadRecord]
    )
    scaled_object_index: CorrectedIndex[tuple[str, str], ScaledObjectRecord] = field(
        default_factory=CorrectedIndex[tuple[str, str], ScaledObjectRecord]
    )
    _written: OwnWrites[tuple[str, str], HorizontalPodAutoscalerRecord] = field(
        default_factory=OwnWrites[tuple[str, str], HorizontalPodAutoscalerRecord]
    )
    _written_scaled_objects: OwnWrites[tuple[str, str], ScaledObjectRecord] = field(
        default_factory=OwnWrites[tuple[str, str], ScaledObjectRecord]
    )
    _written_workloads: OwnWrites[WorkloadKey, WorkloadRecord] = field(
        default_factory=OwnWrites[WorkloadKey, WorkloadRecord]
    )
    _scaled_objects: ScaledObjects = field(init=False)
    _policy_limit: NamespaceLimit[PolicyRecord] = field(init=False)
    _event_limit: NamespaceLimit[EventRecord] = field(init=False)
    _scaled: dict[WorkloadKey, list[HorizontalPodAutoscalerRecord]] = field(
        default_factory=dict[WorkloadKey, list[HorizontalPodAutoscalerRecord]]
    )
    _scaled_until: float = 0.0
    _absent: AbsentObjects = field(default_factory=AbsentObjects)
    _unseen: dict[PolicyKey, tuple[int, float]] = field(default_factory=dict[PolicyKey, tuple[int, float]])
    _fingerprints: dict[str, int] = field(default_factory=dict[str, int])
    _relisted: bool = False

    def __post_init__(self) -> None:
        self._scaled_objects = ScaledObjects(self.cluster)
        self._policy_limit = NamespaceLimit(
            self.max_policies, lambda record: record.key, lambda record: not record.deleted, _block_policy
        )
        self._event_limit = NamespaceLimit(
            self.max_events, lambda record: (record.namespace, record.name), lambda _: True, _block_event
        )

    def bind(
        self,
        policies: Mapping[PolicyKey, Any],
        events: Mapping[tuple[str, str], Any],
        autoscalers: Mapping[tuple[str, str], Any],
        workloads: Mapping[WorkloadKey, Any],
        scaled_objects: Mapping[tuple[str, str], Any],
    ) -> None:
        """Use these indices; called as soon as they exist."""
        self.is_complete = False
        self.policy_index.bind(policies)
        self.event_index.bind(events)
        self.autoscaler_index.bind(autoscalers)
        self.workload_index.bind(workloads)
        self.scaled_object_index.bind(scaled_objects)

    def take_relisted(self) -> bool:
        """Return whether a watch listed its objects again since the last call: earlier events may be lost."""
        relisted, self._relisted = self._relisted, False
        return relisted

    def policies(self) -> list[PolicyRecord]:
        """Return all policies, in no particular order."""
        return self._policy_limit.apply(self.policy_index.all())

    def policy(self, key: PolicyKey) -> PolicyRecord | None:
        """Return a policy; None if the watch has none of this key."""
        record = self.policy_index.get(key)
        return None if record is None else self._policy_limit.of(record)

    def events(self) -> list[EventRecord]:
        """Return all BusinessEvents, in no particular order."""
        return self._event_limit.apply(self.event_index.all())

    async def autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        """Return the newest record of an HPA: from the watch, or from our last write until the watch delivers it."""
        key = (namespace, name)
        newest = self._written.newest(key, self.autoscaler_index.get(key))
        if newest is not None:
            return newest
        return await self._absent.request(
            (namespace, "HorizontalPodAutoscaler", name), lambda: self._request_autoscaler(namespace, name)
        )

    async def workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """Return the newest record of a workload; kinds that are not watched are requested."""
        watched = self.watched_workload(namespace, reference)
        if watched is not None:
            return watched
        if not reference.is_watched:
            return await self._request_workload(namespace, reference)
        key = (namespace, reference.kind, reference.name)
        return await self._absent.request(key, lambda: self._request_workload(namespace, reference))

    async def scaled_object(self, namespace: str, name: str) -> ScaledObjectRecord | None:
        """Return the newest record of a ScaledObject: from the watch or our last write.

        Raises KedaNotInstalledError if the API server does not serve ScaledObjects.
        """
        key = (namespace, name)
        newest = self._written_scaled_objects.newest(key, self.scaled_object_index.get(key))
        if newest is not None:
            return newest
        return await self._absent.request(
            (namespace, "ScaledObject", name), lambda: self._scaled_objects.read(namespace, name)
        )

    def remember(self, record: HorizontalPodAutoscalerRecord | ScaledObjectRecord) -> None:
        """Keep the response of our own write."""
        if isinstance(record, ScaledObjectRecord):
            self._written_scaled_objects.put((record.namespace, record.name), record)
        else:
            self._written.put((record.namespace, record.name), record)

    def watched_workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        """Return the newest record from the watch or our last write; None for an unknown object or another kind."""
        if not reference.is_watched:
            return None
        key = (namespace, reference.kind, reference.name)
        return self._written_workloads.newest(key, self.workload_index.get(key))

    def remember_workload(self, namespace: str, reference: WorkloadReference, record: WorkloadRecord) -> None:
        """Keep the response of our own write, if the kind is watched."""
        if reference.is_watched:
            self._written_workloads.put((namespace, reference.kind, reference.name), record)

    async def autoscaler_of(self, namespace: str, reference: WorkloadReference) -> HorizontalPodAutoscalerRecord | None:
        """Return an HPA that scales a workload; None if there is none. A new HPA is found within a few seconds."""
        if monotonic() >= self._scaled_until:
            self._scaled, self._scaled_until = {}, monotonic() + _SCALED_SECONDS
            for record in self.autoscaler_index.all():
                key = (record.namespace, record.workload.kind, record.workload.name)
                self._scaled.setdefault(key, []).append(record)
        records = self._scaled.get((namespace, reference.kind, reference.name), ())
        return next((record for record in records if record.scales(reference)), None)

    def is_user_change(self, body: Mapping[str, Any], *, gone: bool, listed: bool = False) -> bool:
        """Whether a user changed an object since its last event; our own status writes do not count.

        listed: it is part of the initial list of a watch, not an event.
        """
        self._relisted |= listed
        metadata = ObjectMetadata.of(body)
        uid = metadata.uid
        if gone:
            self._fingerprints.pop(uid, None)
            return True
        spec_key = (metadata.generation, metadata.annotations, metadata.labels)
        fingerprint = hash(repr((*spec_key, metadata.deleted_at)))
        before = self._fingerprints.get(uid)
        self._fingerprints[uid] = fingerprint
        return before != fingerprint

    def expect_policy_write(self, key: PolicyKey, resource_version: int) -> None:
        """Remember our write to a policy until the watch delivers it; a missing delivery reveals a silent watch."""
        self._unseen.setdefault(key, (resource_version, monotonic()))

    def watch_lag_seconds(self) -> float:
        """Return for how many seconds the oldest of our own writes has not been delivered; 0 if all are delivered."""
        self._forget_delivered()
        oldest = min((at for _, at in self._unseen.values()), default=None)
        return 0.0 if oldest is None else monotonic() - oldest

    def purge(self) -> None:
        """Remove state of deleted objects and corrections that the watches have made obsolete."""
        indices = (self.policy_index, self.event_index, self.autoscaler_index, self.workload_index)
        for index in (*indices, self.scaled_object_index):
            index.purge()
        self._forget_delivered()
        uids = {record.uid for record in (*self.policies(), *self.events())}
        for uid in undisturbed(lambda: set(self._fingerprints)) - uids:
            self._fingerprints.pop(uid, None)
        self._written.purge(self.autoscaler_index)
        self._written_scaled_objects.purge(self.scaled_object_index)
        self._written_workloads.purge(self.workload_index)
        self._absent.purge()

    async def _request_autoscaler(self, namespace: str, name: str) -> HorizontalPodAutoscalerRecord | None:
        try:
            return parse(await self.cluster.get(path_of(namespace, name)))
        except ObjectNotFoundError:
            return None
        except ObjectRefusedError as error:
            raise TargetRefusedError(
                f"the operator may not read HorizontalPodAutoscaler {namespace}/{name}; grant its service account get, "
                f"list, watch and patch on horizontalpodautoscalers.autoscaling. The API server's message: {error}"
            ) from error

    async def _request_workload(self, namespace: str, reference: WorkloadReference) -> WorkloadRecord | None:
        try:
            return WorkloadRecord.parse(await self.cluster.get(reference.path(namespace)))
        except (ObjectNotFoundError, ObjectRefusedError):
            return None

    def _forget_delivered(self) -> None:
        for key, (version, _) in list(self._unseen.items()):
            record = self.policy(key)
            if record is None or record.resource_version >= version:
                del self._unseen[key]


def _block_policy(record: PolicyRecord, maximum: int) -> PolicyRecord:
    if record.policy is None:
        return record
    setting = "PREDICTIVE_SCALING_MAX_POLICIES_PER_NAMESPACE"
    problem = limit_problem("ScalingPolicies", record.key.namespace, maximum, setting)
    return replace(record, policy=None, problem=problem, blocked=record.policy)


def _block_event(record: EventRecord, maximum: int) -> EventRecord:
    if record.event is None:
        return record
    setting = "PREDICTIVE_SCALING_MAX_EVENTS_PER_NAMESPACE"
    return replace(record, event=None, problem=limit_problem("BusinessEvents", record.namespace, maximum, setting))
