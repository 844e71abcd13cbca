"""Records of the watches, and responses to own writes that are newer than the watch."""

from dataclasses import replace
from typing import Any

import pytest

from predictive_scaling.cluster import absent_objects
from predictive_scaling.cluster import informer_cache as module
from predictive_scaling.cluster.client import ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import HorizontalPodAutoscalerRecord, parse, path_of
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.workload_record import WorkloadRecord, WorkloadReference
from predictive_scaling.errors import TargetRefusedError
from predictive_scaling.resources.metadata import PolicyKey
from tests.support.cluster import InMemoryCluster
from tests.support.control import a_record

KEY = PolicyKey("shop", "checkout")


def an_hpa(version: int = 7, minimum: int = 2, uid: str = "hpa-uid", **parts: Any) -> dict[str, Any]:
    metadata = {"name": "checkout", "namespace": "shop", "uid": uid, "resourceVersion": str(version)}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
        "minReplicas": minimum,
        "maxReplicas": 40,
    }
    return {"metadata": metadata | parts.pop("metadata", {}), "spec": spec | parts.pop("spec", {}), **parts}


class WatchedCluster:
    """An informer cache whose indices a test fills."""

    def __init__(self) -> None:
        self.cluster = InMemoryCluster()
        self.policies: dict[Any, Any] = {}
        self.autoscalers: dict[Any, Any] = {}
        self.workloads: dict[Any, Any] = {}
        self.informer_cache = InformerCache(self.cluster)
        self.informer_cache.bind(self.policies, {}, self.autoscalers, self.workloads, {})

    def add_to_watch(self, record: HorizontalPodAutoscalerRecord) -> None:
        self.autoscalers["shop", "checkout"] = [record]


async def test_a_record_comes_from_the_watch_without_a_request() -> None:
    watched = WatchedCluster()
    watched.cluster.reachable = False
    watched.add_to_watch(parse(an_hpa()))
    record = await watched.informer_cache.autoscaler("shop", "checkout")
    assert record is not None
    assert record.minimum == 2


async def test_an_own_write_counts_until_the_watch_has_caught_up() -> None:
    watched = WatchedCluster()
    watched.add_to_watch(parse(an_hpa(version=7, minimum=2)))
    watched.informer_cache.remember(parse(an_hpa(version=9, minimum=5)))
    records = [await watched.informer_cache.autoscaler("shop", "checkout")]
    watched.add_to_watch(parse(an_hpa(version=10, minimum=3)))
    records.append(await watched.informer_cache.autoscaler("shop", "checkout"))
    assert [record.minimum for record in records if record] == [5, 3]


async def test_a_write_to_an_hpa_that_was_re_created_is_ignored() -> None:
    watched = WatchedCluster()
    watched.informer_cache.remember(parse(an_hpa(version=9, minimum=5)))
    watched.add_to_watch(parse(an_hpa(version=8, minimum=2, uid="another")))
    record = await watched.informer_cache.autoscaler("shop", "checkout")
    assert record is not None
    assert record.minimum == 2


async def test_an_object_missing_in_the_watch_is_requested_before_it_counts_as_deleted() -> None:
    watched = WatchedCluster()
    watched.cluster.objects[path_of("shop", "checkout")] = an_hpa(minimum=4)
    record = await watched.informer_cache.autoscaler("shop", "checkout")
    assert record is not None
    assert record.minimum == 4
    assert await watched.informer_cache.autoscaler("shop", "gone") is None
    assert await watched.informer_cache.workload("shop", WorkloadReference("apps/v1", "Deployment", "gone")) is None


class RefusedReads:
    """An informer cache without watched objects; the API server answers each of its requests with `error`."""

    def __init__(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        self.paths: list[str] = []
        self._error = error
        watched = WatchedCluster()
        self.informer_cache = watched.informer_cache
        monkeypatch.setattr(watched.cluster, "get", self._get)
        monkeypatch.setattr(absent_objects, "monotonic", lambda: self.seconds)

    async def _get(self, path: str) -> Any:
        self.paths.append(path)
        raise self._error

    async def read(self, kind: str) -> Any:
        if kind == "HorizontalPodAutoscaler":
            return await self.informer_cache.autoscaler("shop", "checkout")
        if kind == "ScaledObject":
            return await self.informer_cache.scaled_object("shop", "checkout")
        return await self.informer_cache.workload("shop", WorkloadReference("apps/v1", kind, "checkout"))


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "Deployment", "ScaledObject"])
async def test_an_object_that_does_not_exist_is_not_requested_in_every_tick(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = RefusedReads(ObjectNotFoundError('scaledobjects.keda.sh "checkout" not found'), monkeypatch)
    for seconds, requests in ((0, 1), (0, 1), (29, 1), (32, 2)):
        reads.seconds += seconds
        assert await reads.read(kind) is None
        assert len(reads.paths) == requests


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
async def test_a_target_that_may_not_be_read_is_not_requested_in_every_tick(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = RefusedReads(ObjectRefusedError("forbidden"), monkeypatch)
    for seconds, requests in ((0, 1), (0, 1), (29, 1), (32, 2)):
        reads.seconds += seconds
        with pytest.raises(TargetRefusedError, match=f"may not read {kind} shop/checkout; grant"):
            await reads.read(kind)
        assert len(reads.paths) == requests


async def test_answers_about_deleted_policies_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = RefusedReads(ObjectNotFoundError("not found"), monkeypatch)
    await reads.read("HorizontalPodAutoscaler")
    reads.seconds += 61
    reads.informer_cache.purge()
    informer_cache: Any = reads.informer_cache
    assert informer_cache._absent._answers == {}


async def test_an_object_that_the_watch_shows_counts_at_once_though_it_was_absent() -> None:
    watched = WatchedCluster()
    assert await watched.informer_cache.autoscaler("shop", "checkout") is None
    watched.add_to_watch(parse(an_hpa(minimum=4)))
    record = await watched.informer_cache.autoscaler("shop", "checkout")
    assert record is not None
    assert record.minimum == 4


async def test_the_watch_lag_is_the_age_of_the_oldest_missing_write(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: seconds)
    watched = WatchedCluster()
    watched.policies[KEY] = [a_record()]
    watched.informer_cache.expect_policy_write(KEY, 50)
    seconds += 90
    watched.informer_cache.expect_policy_write(KEY, 60)
    assert watched.informer_cache.watch_lag_seconds() == 90
    watched.policies[KEY] = [replace(a_record(), resource_version=55)]
    assert watched.informer_cache.watch_lag_seconds() == 0


async def test_own_status_writes_are_no_user_changes() -> None:
    informer_cache = WatchedCluster().informer_cache
    body = {"metadata": {"uid": "u", "generation": 1, "resourceVersion": "1"}, "status": {}}
    assert informer_cache.is_user_change(body, gone=False)
    assert not informer_cache.is_user_change(body | {"status": {"floor": 9}}, gone=False)
    edited = {"metadata": {"uid": "u", "generation": 1, "annotations": {"predictive-scaling.io/paused": "true"}}}
    assert informer_cache.is_user_change(edited, gone=False)
    assert informer_cache.is_user_change(edited, gone=True)


async def test_state_of_deleted_objects_is_dropped() -> None:
    watched = WatchedCluster()
    watched.informer_cache.is_user_change({"metadata": {"uid": "gone", "generation": 1}}, gone=False)
    watched.informer_cache.expect_policy_write(KEY, 50)
    watched.informer_cache.remember(parse(an_hpa()))
    watched.informer_cache.purge()
    informer_cache: Any = watched.informer_cache
    assert (informer_cache._fingerprints, informer_cache._unseen, informer_cache._written._written) == ({}, {}, {})


def test_an_hpa_record_has_all_inputs_of_a_decision() -> None:
    time = "2026-06-17T12:00:{:02}Z"
    fields = {"f:spec": {"f:minReplicas": {}}}
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 64}}}
    body = an_hpa(
        metadata={
            "ownerReferences": [{"kind": "ScaledObject", "name": "queue", "controller": True}],
            "managedFields": [
                {"manager": "kubectl", "time": time.format(1), "fieldsV1": fields},
                {"manager": "helm", "time": time.format(9), "fieldsV1": fields},
                {"manager": "other", "time": time.format(5), "fieldsV1": {"f:spec": {"f:maxReplicas": {}}}},
            ],
        },
        spec={"metrics": [cpu]},
        status={
            "currentReplicas": 3,
            "desiredReplicas": 4,
            "currentMetrics": [current],
            "conditions": [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}],
        },
    )
    record = parse(body)
    assert record.floor_managers == ("helm", "kubectl")
    assert record.owner == "ScaledObject/queue"
    assert (record.target_utilization, record.utilization, record.scaled_to_zero) == (0.8, 0.64, True)
    assert (record.current_replicas, record.desired_replicas) == (3, 4)


def test_a_workload_that_cannot_create_replicas_has_the_failure() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: pods"}
    metadata = {"uid": "u", "resourceVersion": "7"}
    status = {"replicas": 5, "conditions": [failure]}
    record = WorkloadRecord.parse({"metadata": metadata, "spec": {"replicas": 9}, "status": status})
    assert (record.desired, record.existing, record.ready) == (9, 5, 0)
    assert record.failure == "FailedCreate: exceeded quota: pods"


DEPLOYMENT = WorkloadReference("apps/v1", "Deployment", "checkout")


def a_workload(version: int, replicas: int, uid: str = "uid") -> WorkloadRecord:
    return WorkloadRecord(replicas, replicas, replicas, None, uid=uid, resource_version=version)


def test_an_own_write_to_a_workload_counts_until_the_watch_has_caught_up() -> None:
    watched = WatchedCluster()
    key = ("shop", "Deployment", "checkout")
    watched.workloads[key] = [a_workload(7, 2)]
    watched.informer_cache.remember_workload("shop", DEPLOYMENT, a_workload(9, 5))
    records = [watched.informer_cache.watched_workload("shop", DEPLOYMENT)]
    watched.workloads[key] = [a_workload(10, 3)]
    records.append(watched.informer_cache.watched_workload("shop", DEPLOYMENT))
    watched.workloads[key] = [a_workload(8, 4, uid="another")]
    records.append(watched.informer_cache.watched_workload("shop", DEPLOYMENT))
    assert [record.desired for record in records if record] == [5, 3, 4]
    del watched.workloads[key]
    assert watched.informer_cache.watched_workload("shop", DEPLOYMENT) is None


def test_a_custom_resource_of_the_same_kind_is_not_taken_for_a_deployment() -> None:
    watched = WatchedCluster()
    watched.workloads["shop", "Deployment", "checkout"] = [a_workload(7, 2)]
    custom = WorkloadReference("example.com/v1", "Deployment", "checkout")
    assert watched.informer_cache.watched_workload("shop", custom) is None


async def test_the_hpa_of_a_workload_is_found_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    watched = WatchedCluster()
    informer_cache = watched.informer_cache
    assert await informer_cache.autoscaler_of("shop", DEPLOYMENT) is None
    watched.add_to_watch(parse(an_hpa()))
    now[0] += 6
    record = await informer_cache.autoscaler_of("shop", DEPLOYMENT)
    assert record is not None
    assert record.name == "checkout"
    assert await informer_cache.autoscaler_of("other", DEPLOYMENT) is None
    assert await informer_cache.autoscaler_of("shop", WorkloadReference("apps/v1", "StatefulSet", "checkout")) is None
    assert await informer_cache.autoscaler_of("shop", WorkloadReference("a.io/v1", "Deployment", "checkout")) is None
