"""The adapter of workloads on an API server in memory: custom resources, their pods, and what verification reads."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.cluster.api_discovery import ApiDiscovery
from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.control.actuation.assessment import assess_progress
from predictive_scaling.errors import TargetNotFoundError, TargetRefusedError
from predictive_scaling.resources.target import WorkloadTarget
from predictive_scaling.targets.port import ReplicaSource
from predictive_scaling.targets.records import LiveRecords
from predictive_scaling.targets.workload import Workload
from tests.support.builders import NOON
from tests.support.cluster import InMemoryCluster, Json
from tests.support.control import an_expected
from tests.support.pods import a_container, a_pod_body

ROLLOUTS = "/apis/argoproj.io/v1alpha1"
WEB = f"{ROLLOUTS}/namespaces/shop/rollouts/web"
APPS = "/apis/apps/v1"
PODS = "/api/v1/namespaces/shop/pods"


class ListingCluster(InMemoryCluster):
    """Records which collections are listed."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[str] = []

    async def items(self, path: str, *, page: int = 500, **query: str) -> list[Json]:
        self.lists.append(path)
        return await super().items(path, page=page, **query)


def a_body(spec: dict[str, Any], *managers: str, field: str = "f:replicas") -> Json:
    entries = [
        {"manager": manager, "time": NOON.isoformat(), "fieldsV1": {"f:spec": {field: {}}}} for manager in managers
    ]
    metadata = {
        "name": "web",
        "namespace": "shop",
        "uid": "uid-of-web",
        "resourceVersion": "1",
        "managedFields": entries,
    }
    return {"metadata": metadata, "spec": spec, "status": {"replicas": 2}}


def a_rollout(spec: dict[str, Any], *managers: str) -> tuple[ListingCluster, Workload]:
    """Rollout shop/web, which counts no ready replicas: its /scale selects three pods, of which two are ready."""
    cluster = ListingCluster()
    resources = [{"name": name, "kind": "Rollout", "namespaced": True} for name in ("rollouts", "rollouts/scale")]
    cluster.objects[ROLLOUTS] = {"metadata": {}, "resources": resources}
    cluster.objects[WEB] = a_body(spec, *managers)
    status = {"replicas": 3, "selector": "app=web"}
    cluster.objects[f"{WEB}/scale"] = {"metadata": {"resourceVersion": "1"}, "status": status}
    ready = a_container(state={"running": {}}) | {"ready": True}
    for index in range(3):
        cluster.objects[f"{PODS}/web-{index}"] = a_pod_body(ready, name=f"web-{index}", ready=index < 2)
    target = WorkloadTarget(api_version="argoproj.io/v1alpha1", kind="Rollout", name="web")
    return cluster, Workload(cluster, ApiDiscovery(cluster), LiveRecords(cluster), "shop", target)


def a_deployment(*managers: str) -> Workload:
    cluster = InMemoryCluster()
    resources = [
        {"name": name, "kind": "Deployment", "namespaced": True} for name in ("deployments", "deployments/scale")
    ]
    cluster.objects[APPS] = {"metadata": {}, "resources": resources}
    spec = {"replicas": 9, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": []}}}
    cluster.objects[f"{APPS}/namespaces/shop/deployments/web"] = a_body(spec, *managers)
    target = WorkloadTarget(api_version="apps/v1", kind="Deployment", name="web")
    return Workload(cluster, ApiDiscovery(cluster), LiveRecords(cluster), "shop", target)


async def test_a_custom_resource_without_a_value_for_its_replicas_is_refused() -> None:
    _, workload = a_rollout({})
    with pytest.raises(TargetRefusedError, match=r"spec\.replicas of .* is not set"):
        await workload.observe()


async def test_pods_are_listed_to_observe_a_custom_resource_and_not_to_write_it() -> None:
    cluster, workload = a_rollout({"replicas": 2}, FIELD_MANAGER)
    assert (await workload.observe()).ready_replicas == 2
    assert cluster.lists.count(PODS) == 1
    cluster.lists.clear()
    await workload.apply(4)
    assert PODS not in cluster.lists
    assert (await workload.progress()).ready_replicas == 2
    assert cluster.lists == [PODS]


async def test_pods_that_are_being_deleted_are_not_ready() -> None:
    cluster, workload = a_rollout({"replicas": 2})
    cluster.objects[f"{PODS}/web-0"]["metadata"]["deletionTimestamp"] = NOON.isoformat()
    assert (await workload.observe()).ready_replicas == 1


async def test_the_pods_of_a_custom_resource_are_those_of_its_scale() -> None:
    """Its spec.selector may be anything."""
    _, workload = a_rollout({"replicas": 2, "selector": {"matchLabels": {"app": "other"}}}, FIELD_MANAGER)
    progress = await workload.progress()
    assert progress.source == ReplicaSource("shop", "app=web", "uid-of-web")
    assert progress.floor_manager is None


async def test_the_release_and_the_manager_of_a_deployment_are_observed() -> None:
    workload = a_deployment("kubectl")
    assert (await workload.observe()).template != ""
    progress = await workload.progress()
    assert progress.source == ReplicaSource("shop", "app=web", "uid-of-web")
    assert progress.floor_manager == "kubectl"


async def test_a_late_raise_of_a_workload_does_not_blame_an_autoscaler() -> None:
    progress = await a_deployment(FIELD_MANAGER).progress()
    for existing, fragment in ((2, "only 2 replicas exist"), (9, "only 0 of 9 replicas are ready")):
        verdict = assess_progress(an_expected(2, 9), replace(progress, replicas=existing), NOON + timedelta(hours=1))
        assert verdict is not None
        assert fragment in verdict.message
        assert "autoscaler" not in verdict.message


async def test_a_recreated_workload_does_not_get_what_was_decided_for_the_former_one() -> None:
    cluster, target = a_rollout({"replicas": 3}, FIELD_MANAGER)
    await target.observe()
    cluster.objects[WEB]["metadata"]["uid"] = "another-uid"
    with pytest.raises(TargetNotFoundError, match="Rollout shop/web was deleted and created again"):
        await target.apply(7)
    assert "spec" not in cluster.objects[f"{WEB}/scale"]
