"""Indices that missed changes agree with the cluster after the next comparison."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from predictive_scaling.cluster import index_comparison as module
from predictive_scaling.cluster.client import Json, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import parse
from predictive_scaling.cluster.index_comparison import DRIFT, IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.reviewed_objects import event_record, policy_record
from predictive_scaling.cluster.scaled_object_record import ScaledObjectRecord
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.target_claims import Claim, TargetClaims
from predictive_scaling.errors import ClusterUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from tests.support.builders import NOON
from tests.support.cluster import InMemoryCluster

pytestmark = pytest.mark.usefixtures("logs")

OURS = "/apis/predictive-scaling.io/v1alpha1"
KEY = PolicyKey("shop", "checkout")


@pytest.fixture(autouse=True)
def without_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every difference as a missed change at once."""
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)


def metadata(name: str, uid: str, version: int, **more: Any) -> Json:
    created = {"creationTimestamp": "2026-06-01T00:00:00Z", "generation": 1}
    return {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": str(version), **created, **more}


def a_policy_body(name: str = "checkout", uid: str = "u1", version: int = 5, target: str = "checkout") -> Json:
    spec = {
        "mode": "Auto",
        "target": {"horizontalPodAutoscaler": {"name": target}},
        "demand": {"metric": "requests_per_second", "perReplica": "100"},
        "replicas": {"min": 1, "max": 40},
    }
    return {"metadata": metadata(name, uid, version), "spec": spec}


def an_event_body(name: str = "sale", uid: str = "e1", version: int = 5) -> Json:
    start = datetime(2026, 7, 1, tzinfo=UTC)
    times = {"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()}
    return {"metadata": metadata(name, uid, version), "spec": {"policies": {"all": True}, **times}}


def an_hpa_body(uid: str = "h1", version: int = 5, minimum: int = 2) -> Json:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}
    spec = {"scaleTargetRef": reference, "minReplicas": minimum, "maxReplicas": 40}
    return {"metadata": metadata("checkout", uid, version), "spec": spec}


def a_deployment_body(uid: str = "d1", version: int = 5, replicas: int = 2) -> Json:
    return {"metadata": metadata("checkout", uid, version), "spec": {"replicas": replicas}}


class WatchedCluster:
    """A cluster, and indices that a test fills independently of it."""

    def __init__(self) -> None:
        self.cluster = InMemoryCluster()
        self.policies: dict[Any, Any] = {}
        self.events: dict[Any, Any] = {}
        self.autoscalers: dict[Any, Any] = {}
        self.workloads: dict[Any, Any] = {}
        self.scaled_objects: dict[Any, Any] = {}
        self.informer_cache = InformerCache(self.cluster)
        self.informer_cache.bind(self.policies, self.events, self.autoscalers, self.workloads, self.scaled_objects)
        self.comparison = IndexComparison(self.cluster, self.informer_cache)

    def add_to_api_server(self, plural: str, body: Json, root: str = OURS) -> None:
        """Add an object to the API server only."""
        self.cluster.objects[f"{root}/namespaces/shop/{plural}/{body['metadata']['name']}"] = body

    def add_to_watch(self, body: Json) -> None:
        """Add a policy to the watched index only."""
        record = policy_record(body)
        self.policies.setdefault(record.key, []).append(record)

    async def drift(self) -> float:
        """The increase of the drift counter in a comparison."""
        before = DRIFT._value.get()  # pyright: ignore[reportPrivateUsage] (prometheus_client has no reader)
        await self.comparison.compare()
        return DRIFT._value.get() - before  # pyright: ignore[reportPrivateUsage]


async def test_a_policy_missing_at_the_api_server_is_dropped_and_holds_no_target() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body("old", "u0", 3))
    watched.add_to_watch(a_policy_body())
    watched.add_to_api_server("scalingpolicies", a_policy_body())
    assert await watched.drift() == 1
    assert [record.key.name for record in watched.informer_cache.policies()] == ["checkout"]
    assert watched.informer_cache.policy(PolicyKey("shop", "old")) is None
    states, records = PolicyStates(), watched.informer_cache.policies()
    claims = TargetClaims.of(Claim(record, states.of(record, NOON)) for record in records)
    assert claims.held() == {("shop", "hpa/checkout"): KEY}
    assert await watched.drift() == 0


class ClusterWithoutKeda(InMemoryCluster):
    async def metadata(self, path: str, *, page: int = 500) -> list[Json]:
        if "keda.sh" in path:
            raise ObjectNotFoundError(f"GET {path}: 404 page not found")
        return await super().metadata(path, page=page)


async def test_a_cluster_that_lost_keda_has_no_scaled_objects_and_no_warning(logs: list[EventDict]) -> None:
    watched = WatchedCluster()
    watched.comparison.cluster = ClusterWithoutKeda()
    body = {"metadata": metadata("queue", "s1", 5), "spec": {"scaleTargetRef": {"name": "queue"}}}
    watched.scaled_objects["shop", "queue"] = [ScaledObjectRecord.parse(body)]
    assert await watched.drift() == 1
    assert watched.informer_cache.scaled_object_index.all() == []
    assert "index_not_compared" not in {entry["event"] for entry in logs}


async def test_an_event_missing_at_the_api_server_is_dropped() -> None:
    watched = WatchedCluster()
    watched.events["shop", "sale"] = [event_record(an_event_body())]
    assert await watched.drift() == 1
    assert watched.informer_cache.events() == []


async def test_a_re_created_object_is_read_in_its_current_form() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body(uid="before", version=3))
    watched.add_to_api_server("scalingpolicies", a_policy_body(uid="after", version=9))
    watched.autoscalers["shop", "checkout"] = [parse(an_hpa_body("before", 3, 12))]
    watched.add_to_api_server("horizontalpodautoscalers", an_hpa_body("after", 9, 2), "/apis/autoscaling/v2")
    watched.workloads["shop", "Deployment", "checkout"] = [WorkloadRecord.parse(a_deployment_body("before", 3, 12))]
    watched.add_to_api_server("deployments", a_deployment_body("after", 9, 2), "/apis/apps/v1")
    assert await watched.drift() == 3
    (policy,) = watched.informer_cache.policies()
    autoscaler = await watched.informer_cache.autoscaler("shop", "checkout")
    workload = await watched.informer_cache.workload("shop", WorkloadReference("apps/v1", "Deployment", "checkout"))
    assert autoscaler is not None
    assert workload is not None
    assert (policy.uid, autoscaler.uid, workload.uid) == ("after", "after", "after")
    assert (autoscaler.minimum, workload.desired) == (2, 2)
    assert await watched.drift() == 0


async def test_an_object_from_before_a_re_creation_does_not_return_after_a_deletion() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body(uid="before", version=3))
    watched.add_to_watch(a_policy_body(uid="after", version=9))
    assert [record.uid for record in watched.informer_cache.policies()] == ["after"]
    watched.policies[KEY] = [record for record in watched.policies[KEY] if record.uid == "before"]
    assert watched.informer_cache.policies() == []
    assert watched.informer_cache.policy(KEY) is None


async def test_an_object_with_another_uid_is_newer_despite_a_lower_version() -> None:
    """This is the case after a restore of the cluster's store from a backup."""
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body(uid="before", version=50))
    watched.add_to_api_server("scalingpolicies", a_policy_body(uid="after", version=9))
    assert await watched.drift() == 1
    (policy,) = watched.informer_cache.policies()
    assert (policy.uid, policy.resource_version) == ("after", 9)


async def test_an_object_missing_or_outdated_in_the_watch_is_read() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body(version=3, target="before"))
    watched.add_to_api_server("scalingpolicies", a_policy_body(version=9, target="after"))
    watched.add_to_api_server("scalingpolicies", a_policy_body("orders", "u2", 4))
    assert await watched.drift() == 2
    assert {str(record.key): record.resource_version for record in watched.informer_cache.policies()} == {
        "shop/checkout": 9,
        "shop/orders": 4,
    }


async def test_an_object_newer_than_the_list_is_no_drift() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body(version=12))
    watched.add_to_api_server("scalingpolicies", a_policy_body(version=9))
    assert await watched.drift() == 0
    assert watched.informer_cache.policies()[0].resource_version == 12


async def test_an_unreadable_object_is_logged_once_and_affects_no_other(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    watched = WatchedCluster()
    watched.add_to_api_server(
        "horizontalpodautoscalers", {"metadata": metadata("odd", "x", 5), "spec": {}}, "/apis/autoscaling/v2"
    )
    watched.add_to_api_server("scalingpolicies", a_policy_body())
    assert await watched.drift() == 1
    assert await watched.drift() == 0
    assert [entry["object"] for entry in logs if entry["event"] == "object_unreadable"] == [
        "HorizontalPodAutoscaler shop/odd"
    ]


async def test_a_kind_that_cannot_be_listed_affects_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = WatchedCluster()
    listed = watched.cluster.metadata

    async def refused(path: str, *, page: int = 500) -> list[Json]:
        if path.endswith("statefulsets"):
            raise ObjectRefusedError("forbidden")
        return await listed(path, page=page)

    monkeypatch.setattr(watched.cluster, "metadata", refused)
    watched.add_to_watch(a_policy_body())
    assert await watched.drift() == 1
    assert watched.informer_cache.policies() == []


async def test_corrections_are_dropped_once_the_watch_has_caught_up() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(a_policy_body(uid="before", version=3))
    watched.add_to_api_server("scalingpolicies", a_policy_body(uid="after", version=9))
    await watched.comparison.compare()
    assert watched.informer_cache.policy_index.corrections == 2
    watched.policies[KEY] = [policy_record(a_policy_body(uid="after", version=10))]
    await watched.comparison.compare()
    assert watched.informer_cache.policy_index.corrections == 0
    assert watched.informer_cache.policies()[0].resource_version == 10


async def test_a_relisted_watch_is_compared_at_once_and_otherwise_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: seconds)
    watched = WatchedCluster()
    await watched.comparison.run()
    watched.add_to_watch(a_policy_body())
    await watched.comparison.run()
    assert len(watched.informer_cache.policies()) == 1
    watched.informer_cache.is_user_change({"metadata": {"uid": "u9"}}, gone=False, listed=True)
    await watched.comparison.run()
    assert watched.informer_cache.policies() == []
    watched.add_to_watch(a_policy_body("late", "u5"))
    seconds += 61
    await watched.comparison.run()
    assert watched.informer_cache.policies() == []


async def test_the_cache_is_incomplete_while_most_objects_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = WatchedCluster()
    monkeypatch.setattr(module, "_MAX_READS_AT_START", 1)
    for number in range(3):
        watched.add_to_api_server("scalingpolicies", a_policy_body(f"p{number}", f"u{number}"))
    with pytest.raises(ClusterUnavailableError, match="3 objects yet, such as ScalingPolicy shop/p0"):
        await watched.comparison.wait_until_complete()
    assert not watched.informer_cache.is_complete
    watched.add_to_watch(a_policy_body("p0", "u0"))
    watched.add_to_watch(a_policy_body("p1", "u1"))
    await watched.comparison.wait_until_complete()
    assert watched.informer_cache.is_complete
    assert {record.key.name for record in watched.informer_cache.policies()} == {"p0", "p1", "p2"}


objects = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 3), st.integers(1, 9)))


@given(cluster=objects, watched_objects=objects, seed=st.integers(0, 99))
async def test_after_a_comparison_the_index_equals_the_cluster(
    cluster: dict[str, tuple[int, int]], watched_objects: dict[str, tuple[int, int]], seed: int
) -> None:
    watched = WatchedCluster()
    for name, (uid, version) in cluster.items():
        watched.add_to_api_server("scalingpolicies", a_policy_body(name, f"{name}-{uid}", 100 + version))
    for name, (uid, version) in watched_objects.items():
        # A watch never reports a version newer than the cluster.
        watched.add_to_watch(a_policy_body(name, f"{name}-{uid}", random.Random(seed).randint(1, version)))
    await watched.comparison.compare()
    await watched.comparison.compare()
    expected = {name: (f"{name}-{uid}", 100 + version) for name, (uid, version) in cluster.items()}
    records = watched.informer_cache.policies()
    assert {record.key.name: (record.uid, record.resource_version) for record in records} == expected
    assert len(records) == len(expected)
    assert all(watched.informer_cache.policy(record.key) == replace(record) for record in records)
