"""Indices that missed something of the cluster read as the cluster is, after the next comparison."""

import random
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import EventDict

from predictive_scaling.cluster import index_comparison as module
from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import parse
from predictive_scaling.cluster.index_comparison import DRIFT, IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.reviewed_objects import event_record, policy_record
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.target_claims import Claim, TargetClaims
from predictive_scaling.errors import ClusterUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from tests.support.builders import NOON
from tests.support.cluster import InMemoryCluster

OURS = "/apis/predictive-scaling.io/v1alpha1"
KEY = PolicyKey("shop", "checkout")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is not on its way."""
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    """What was logged."""
    with capture_logs() as found:
        yield found


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


class Watched:
    """A cluster, and indices that a test lets miss what it likes."""

    def __init__(self) -> None:
        self.cluster = InMemoryCluster()
        self.policies: dict[Any, Any] = {}
        self.events: dict[Any, Any] = {}
        self.autoscalers: dict[Any, Any] = {}
        self.workloads: dict[Any, Any] = {}
        self.informer_cache = InformerCache(self.cluster)
        self.informer_cache.bind(self.policies, self.events, self.autoscalers, self.workloads)
        self.comparison = IndexComparison(self.cluster, self.informer_cache)

    def has(self, plural: str, body: Json, root: str = OURS) -> None:
        """The API server has this object."""
        self.cluster.objects[f"{root}/namespaces/shop/{plural}/{body['metadata']['name']}"] = body

    def shows(self, body: Json) -> None:
        """The watch shows this policy."""
        record = policy_record(body)
        self.policies.setdefault(record.key, []).append(record)

    async def drift(self) -> float:
        """By how much the counter rises in a comparison."""
        before = DRIFT._value.get()  # pyright: ignore[reportPrivateUsage] (prometheus_client has no reader)
        await self.comparison.compare()
        return DRIFT._value.get() - before  # pyright: ignore[reportPrivateUsage]


async def test_a_policy_that_the_api_server_lacks_is_read_no_more_and_holds_no_target() -> None:
    watched = Watched()
    watched.shows(a_policy_body("old", "u0", 3))
    watched.shows(a_policy_body())
    watched.has("scalingpolicies", a_policy_body())
    assert await watched.drift() == 1
    assert [record.key.name for record in watched.informer_cache.policies()] == ["checkout"]
    assert watched.informer_cache.policy(PolicyKey("shop", "old")) is None
    states, records = PolicyStates(), watched.informer_cache.policies()
    claims = TargetClaims.of(Claim(record, states.of(record, NOON)) for record in records)
    assert claims.held() == {("shop", "hpa/checkout"): KEY}
    assert await watched.drift() == 0


async def test_an_event_that_the_api_server_lacks_is_read_no_more() -> None:
    watched = Watched()
    watched.events["shop", "sale"] = [event_record(an_event_body())]
    assert await watched.drift() == 1
    assert watched.informer_cache.events() == []


async def test_an_object_that_was_made_again_is_read_as_it_is_now() -> None:
    watched = Watched()
    watched.shows(a_policy_body(uid="before", version=3))
    watched.has("scalingpolicies", a_policy_body(uid="after", version=9))
    watched.autoscalers["shop", "checkout"] = [parse(an_hpa_body("before", 3, 12))]
    watched.has("horizontalpodautoscalers", an_hpa_body("after", 9, 2), "/apis/autoscaling/v2")
    watched.workloads["shop", "Deployment", "checkout"] = [WorkloadRecord.parse(a_deployment_body("before", 3, 12))]
    watched.has("deployments", a_deployment_body("after", 9, 2), "/apis/apps/v1")
    assert await watched.drift() == 3
    (policy,) = watched.informer_cache.policies()
    autoscaler = await watched.informer_cache.autoscaler("shop", "checkout")
    workload = await watched.informer_cache.workload("shop", WorkloadReference("apps/v1", "Deployment", "checkout"))
    assert autoscaler is not None
    assert workload is not None
    assert (policy.uid, autoscaler.uid, workload.uid) == ("after", "after", "after")
    assert (autoscaler.minimum, workload.desired) == (2, 2)
    assert await watched.drift() == 0


async def test_an_object_from_before_a_re_creation_does_not_come_back_when_the_newer_one_goes() -> None:
    watched = Watched()
    watched.shows(a_policy_body(uid="before", version=3))
    watched.shows(a_policy_body(uid="after", version=9))
    assert [record.uid for record in watched.informer_cache.policies()] == ["after"]
    watched.policies[KEY] = [record for record in watched.policies[KEY] if record.uid == "before"]
    assert watched.informer_cache.policies() == []
    assert watched.informer_cache.policy(KEY) is None


async def test_an_object_of_another_uid_is_another_one_although_its_version_is_lower() -> None:
    """As after the cluster's store was restored from a backup."""
    watched = Watched()
    watched.shows(a_policy_body(uid="before", version=50))
    watched.has("scalingpolicies", a_policy_body(uid="after", version=9))
    assert await watched.drift() == 1
    (policy,) = watched.informer_cache.policies()
    assert (policy.uid, policy.resource_version) == ("after", 9)


async def test_an_object_that_the_watch_lacks_or_has_in_an_older_version_is_read() -> None:
    watched = Watched()
    watched.shows(a_policy_body(version=3, target="before"))
    watched.has("scalingpolicies", a_policy_body(version=9, target="after"))
    watched.has("scalingpolicies", a_policy_body("orders", "u2", 4))
    assert await watched.drift() == 2
    assert {str(record.key): record.resource_version for record in watched.informer_cache.policies()} == {
        "shop/checkout": 9,
        "shop/orders": 4,
    }


async def test_what_a_list_does_not_know_yet_is_not_a_drift() -> None:
    watched = Watched()
    watched.shows(a_policy_body(version=12))
    watched.has("scalingpolicies", a_policy_body(version=9))
    assert await watched.drift() == 0
    assert watched.informer_cache.policies()[0].resource_version == 12


async def test_an_object_that_cannot_be_read_is_told_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    watched = Watched()
    watched.has("horizontalpodautoscalers", {"metadata": metadata("odd", "x", 5), "spec": {}}, "/apis/autoscaling/v2")
    watched.has("scalingpolicies", a_policy_body())
    assert await watched.drift() == 1
    assert await watched.drift() == 0
    assert [entry["object"] for entry in logs if entry["event"] == "object_unreadable"] == [
        "HorizontalPodAutoscaler shop/odd"
    ]


async def test_a_kind_that_may_not_be_listed_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    listed = watched.cluster.metadata

    async def refused(path: str, *, page: int = 500) -> list[Json]:
        if path.endswith("statefulsets"):
            raise ObjectRefusedError("forbidden")
        return await listed(path, page=page)

    monkeypatch.setattr(watched.cluster, "metadata", refused)
    watched.shows(a_policy_body())
    assert await watched.drift() == 1
    assert watched.informer_cache.policies() == []


async def test_corrections_are_forgotten_once_the_watch_has_caught_up() -> None:
    watched = Watched()
    watched.shows(a_policy_body(uid="before", version=3))
    watched.has("scalingpolicies", a_policy_body(uid="after", version=9))
    await watched.comparison.compare()
    assert watched.informer_cache.policy_index.corrections == 2
    watched.policies[KEY] = [policy_record(a_policy_body(uid="after", version=10))]
    await watched.comparison.compare()
    assert watched.informer_cache.policy_index.corrections == 0
    assert watched.informer_cache.policies()[0].resource_version == 10


async def test_a_watch_that_lists_again_is_compared_at_once_and_otherwise_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: seconds)
    watched = Watched()
    await watched.comparison.run()
    watched.shows(a_policy_body())
    await watched.comparison.run()
    assert len(watched.informer_cache.policies()) == 1
    watched.informer_cache.is_user_change({"metadata": {"uid": "u9"}}, gone=False, listed=True)
    await watched.comparison.run()
    assert watched.informer_cache.policies() == []
    watched.shows(a_policy_body("late", "u5"))
    seconds += 61
    await watched.comparison.run()
    assert watched.informer_cache.policies() == []


async def test_nothing_is_decided_while_most_of_the_cluster_is_not_shown_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    monkeypatch.setattr(module, "_MAX_READS_AT_START", 1)
    for number in range(3):
        watched.has("scalingpolicies", a_policy_body(f"p{number}", f"u{number}"))
    with pytest.raises(ClusterUnavailableError, match="3 objects yet, such as ScalingPolicy shop/p0"):
        await watched.comparison.wait_until_complete()
    assert not watched.informer_cache.is_complete
    watched.shows(a_policy_body("p0", "u0"))
    watched.shows(a_policy_body("p1", "u1"))
    await watched.comparison.wait_until_complete()
    assert watched.informer_cache.is_complete
    assert {record.key.name for record in watched.informer_cache.policies()} == {"p0", "p1", "p2"}


objects = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 3), st.integers(1, 9)))


@given(cluster=objects, shown=objects, seed=st.integers(0, 99))
async def test_after_a_comparison_the_index_is_the_cluster(
    cluster: dict[str, tuple[int, int]], shown: dict[str, tuple[int, int]], seed: int
) -> None:
    watched = Watched()
    for name, (uid, version) in cluster.items():
        watched.has("scalingpolicies", a_policy_body(name, f"{name}-{uid}", 100 + version))
    for name, (uid, version) in shown.items():
        # A watch never shows what is newer than the cluster.
        watched.shows(a_policy_body(name, f"{name}-{uid}", random.Random(seed).randint(1, version)))
    await watched.comparison.compare()
    await watched.comparison.compare()
    expected = {name: (f"{name}-{uid}", 100 + version) for name, (uid, version) in cluster.items()}
    records = watched.informer_cache.policies()
    assert {record.key.name: (record.uid, record.resource_version) for record in records} == expected
    assert len(records) == len(expected)
    assert all(watched.informer_cache.policy(record.key) == replace(record) for record in records)
