"""Compares the watches' indices with the API server: finds objects that are missing, outdated or deleted."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import Counter

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster import horizontal_pod_autoscaler_record
from predictive_scaling.cluster.client import Cluster, ObjectNotFoundError
from predictive_scaling.cluster.corrected_index import CorrectedIndex, Version
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.cluster.reviewed_objects import event_record, policy_record
from predictive_scaling.cluster.scaled_object_record import GROUP as KEDA_GROUP
from predictive_scaling.cluster.scaled_object_record import PLURAL as SCALED_OBJECTS_PLURAL
from predictive_scaling.cluster.scaled_object_record import VERSION as KEDA_VERSION
from predictive_scaling.cluster.scaled_object_record import ScaledObjectRecord
from predictive_scaling.cluster.workload_record import WorkloadRecord
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey

log = structlog.get_logger(__name__)

DRIFT = Counter(
    "predictive_scaling_index_drift_total",
    "Objects whose state in the watches differed from the API server; each was corrected.",
)
INTERVAL_SECONDS = 60.0
"""Between two comparisons; a change that a watch has lost is noticed this late."""
_GRACE_SECONDS = 5.0
"""A watch may deliver an event this late; a difference that lasts longer is a drift."""
_POLL_SECONDS = 0.2
_MAX_WAIT_SECONDS = 30.0
_MAX_READS_AT_START = 200
"""If more objects are missing, the watches are still reading their first list, and nothing is read individually."""
_READS_IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class WatchedKind:
    """A kind of object that is watched."""

    kind: str
    api: str
    """The path of its API group and version."""
    plural: str
    key: Callable[[str, str], Any]
    """Returns the index key of a namespace and name."""
    index: Callable[[InformerCache], CorrectedIndex[Any, Any]]
    parse: Callable[[Mapping[str, Any], InformerCache], Any]
    is_optional: bool = False
    """Whether a cluster may lack the kind; then it has no objects."""

    def collection(self, namespace: str | None) -> str:
        """Return the path of all objects of a namespace, or of all namespaces."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}" if namespace else f"{self.api}/{self.plural}"


_OURS, _APPS = f"/apis/{GROUP}/{VERSION}", "/apis/apps/v1"
POLICIES = WatchedKind(
    "ScalingPolicy",
    _OURS,
    "scalingpolicies",
    PolicyKey,
    lambda known: known.policy_index,
    lambda body, known: policy_record(body, known.services),
)
EVENTS = WatchedKind(
    "BusinessEvent",
    _OURS,
    "businessevents",
    lambda namespace, name: (namespace, name),
    lambda known: known.event_index,
    lambda body, _: event_record(body),
)
AUTOSCALERS = WatchedKind(
    "HorizontalPodAutoscaler",
    "/apis/autoscaling/v2",
    "horizontalpodautoscalers",
    lambda namespace, name: (namespace, name),
    lambda known: known.autoscaler_index,
    lambda body, _: horizontal_pod_autoscaler_record.parse(body),
)
DEPLOYMENTS, STATEFUL_SETS = (
    WatchedKind(
        kind,
        _APPS,
        plural,
        lambda namespace, name, kind=kind: (namespace, kind, name),
        lambda known: known.workload_index,
        lambda body, _: WorkloadRecord.parse(body),
    )
    for kind, plural in (("Deployment", "deployments"), ("StatefulSet", "statefulsets"))
)
SCALED_OBJECTS = WatchedKind(
    "ScaledObject",
    f"/apis/{KEDA_GROUP}/{KEDA_VERSION}",
    SCALED_OBJECTS_PLURAL,
    lambda namespace, name: (namespace, name),
    lambda known: known.scaled_object_index,
    lambda body, _: ScaledObjectRecord.parse(body),
    is_optional=True,
)
ALL_KINDS = (POLICIES, EVENTS, AUTOSCALERS, DEPLOYMENTS, STATEFUL_SETS, SCALED_OBJECTS)


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that differs between the list and the index."""

    kind: WatchedKind
    namespace: str
    name: str
    listed: Version | None
    """None if the API server does not list it."""

    @property
    def key(self) -> Any:
        """The key of the object in the index."""
        return self.kind.key(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"


@dataclass(slots=True)
class IndexComparison:
    """Compares listed metadata with the indices; reads only the objects that differ in full."""

    cluster: Cluster
    cache: InformerCache
    namespaces: tuple[str, ...] = ()
    """The watched namespaces; empty for all."""
    _compared_at: float = float("-inf")
    _unreadable: dict[str, int] = field(default_factory=dict[str, int])

    async def run(self) -> None:
        """Compare once a minute and after a watch listed its objects again. Raises ClusterUnavailableError."""
        if self.cache.take_relisted() or monotonic() - self._compared_at >= INTERVAL_SECONDS:
            await self.compare()

    async def wait_until_complete(self) -> None:
        """Wait until the indices hold every policy and event of the API server.

        With only some of the policies, a decision could take the wrong policy for the holder of a target. Objects that
        no watch shows are read. Raises ClusterUnavailableError while the watches are still far from complete.
        """
        differences = await self._differences((POLICIES, EVENTS), strict=True)
        remaining = await self._lasting(differences, _MAX_WAIT_SECONDS)
        if len(remaining) > _MAX_READS_AT_START:
            raise ClusterUnavailableError(
                f"The watches have not delivered {len(remaining)} objects yet, such as {remaining[0]}; decisions wait "
                "for them"
            )
        await self._correct(remaining)
        self.cache.is_complete = True

    async def compare(self) -> None:
        """Correct and count each object whose state in the index differs from the API server."""
        self._compared_at = monotonic()
        differences = await self._differences(ALL_KINDS)
        await self._correct(await self._lasting(differences, _GRACE_SECONDS))
        self.cache.purge()

    async def _differences(self, kinds: Iterable[WatchedKind], *, strict: bool = False) -> list[Difference]:
        differences: list[Difference] = []
        for kind in kinds:
            try:
                differences += await self._differences_of(kind)
            except ClusterUnavailableError:
                raise
            except PredictiveScalingError as error:
                if strict:
                    raise ClusterUnavailableError(f"{kind.kind} cannot be listed: {error}") from error
                log.warning("index_not_compared", kind=kind.kind, error=str(error))
        return differences

    async def _differences_of(self, kind: WatchedKind) -> list[Difference]:
        index, listed = kind.index(self.cache), dict[Any, Difference]()
        before = {key for key in index.known_keys() if self._is_of(kind, key)}
        for namespace in self.namespaces or (None,):
            for item in await self._list(kind, namespace):
                metadata = ObjectMetadata.of(item)
                version = Version(metadata.uid, metadata.resource_version)
                difference = Difference(kind, metadata.namespace, metadata.name, version)
                listed[difference.key] = difference
        # Objects that entered the index after the list was read may be missing in the list.
        extra = [Difference(kind, *_names(key), None) for key in before - listed.keys()]
        return [difference for difference in (*listed.values(), *extra) if self._differs(difference)]

    async def _list(self, kind: WatchedKind, namespace: str | None) -> list[dict[str, Any]]:
        try:
            return await self.cluster.metadata(kind.collection(namespace))
        except ObjectNotFoundError:
            if kind.is_optional:
                return []
            raise

    def _is_of(self, kind: WatchedKind, key: Any) -> bool:
        return len(key) < 3 or key[1] == kind.kind

    def _differs(self, difference: Difference) -> bool:
        shown, listed = difference.kind.index(self.cache).version(difference.key), difference.listed
        if listed is None or shown is None:
            unreadable = listed is not None and self._unreadable.get(listed.uid) == listed.resource_version
            return shown != listed and not unreadable
        return shown.uid != listed.uid or shown.resource_version < listed.resource_version

    async def _lasting(self, differences: Sequence[Difference], seconds: float) -> list[Difference]:
        """Return the differences that remain after `seconds`, or when the watches made no progress for some seconds."""
        started_at = progress_at = monotonic()
        remaining = [difference for difference in differences if self._differs(difference)]
        while remaining and monotonic() - started_at < seconds and monotonic() - progress_at < _GRACE_SECONDS:
            before = len(remaining)
            await asyncio.sleep(_POLL_SECONDS)
            remaining = [difference for difference in remaining if self._differs(difference)]
            if len(remaining) < before:
                progress_at = monotonic()
        return remaining

    async def _correct(self, differences: Sequence[Difference]) -> None:
        slots = asyncio.Semaphore(_READS_IN_FLIGHT)

        async def correct(difference: Difference) -> None:
            async with slots:
                await self._correct_one(difference)

        if differences:
            results = await asyncio.gather(*map(correct, differences), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _correct_one(self, difference: Difference) -> None:
        index, key = difference.kind.index(self.cache), difference.key
        shown = index.version(key)
        try:
            body = await self.cluster.get(f"{difference.kind.collection(difference.namespace)}/{difference.name}")
        except ObjectNotFoundError:
            if shown is not None:
                index.drop(key, shown.uid)
                self._count(difference, "deleted")
            return
        except ClusterUnavailableError:
            raise
        except PredictiveScalingError as error:
            log.warning("object_not_read", object=str(difference), error=str(error))
            return
        self._take(difference, body, shown)

    def _take(self, difference: Difference, body: Mapping[str, Any], shown: Version | None) -> None:
        metadata = ObjectMetadata.of(body)
        try:
            record = difference.kind.parse(body, self.cache)
        except Exception:  # no object may stop the comparison; it is left out, as in the watch
            self._unreadable[metadata.uid] = metadata.resource_version
            log.exception("object_unreadable", object=str(difference))
            return
        if shown is not None and shown.uid != record.uid:
            difference.kind.index(self.cache).drop(difference.key, shown.uid)
            what = "recreated"
        elif shown is not None and shown.resource_version >= record.resource_version:
            return
        else:
            what = "missing" if shown is None else "outdated"
        difference.kind.index(self.cache).put(difference.key, record)
        self._count(difference, what)

    def _count(self, difference: Difference, what: str) -> None:
        DRIFT.inc()
        log.warning("index_drift", object=str(difference), what=what)


def _names(key: Any) -> tuple[str, str]:
    return key[0], key[-1]
