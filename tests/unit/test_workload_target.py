"""What the adapter of workloads reports where the API server cannot scale one."""

import pytest

from predictive_scaling.cluster.api_discovery import ApiDiscovery
from predictive_scaling.errors import TargetRefusedError
from predictive_scaling.resources.target import WorkloadTarget
from predictive_scaling.targets.records import LiveRecords
from predictive_scaling.targets.workload import Workload
from tests.support.cluster import InMemoryCluster

ROLLOUTS = "/apis/argoproj.io/v1alpha1"


async def test_a_custom_resource_without_a_value_for_its_replicas_is_refused() -> None:
    cluster = InMemoryCluster()
    resources = [{"name": name, "kind": "Rollout", "namespaced": True} for name in ("rollouts", "rollouts/scale")]
    cluster.objects[ROLLOUTS] = {"metadata": {}, "resources": resources}
    metadata = {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "1"}
    cluster.objects[f"{ROLLOUTS}/namespaces/shop/rollouts/web"] = {"metadata": metadata, "spec": {}}
    target = WorkloadTarget(api_version="argoproj.io/v1alpha1", kind="Rollout", name="web")
    workload = Workload(cluster, ApiDiscovery(cluster), LiveRecords(cluster), "shop", target)
    with pytest.raises(TargetRefusedError, match=r"spec\.replicas of .* is not set"):
        await workload.observe()
