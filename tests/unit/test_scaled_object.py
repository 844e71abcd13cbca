"""ScaledObjects of KEDA: their records, and reads in a cluster without KEDA."""

from typing import Any

import pytest

from predictive_scaling.cluster.client import ObjectRefusedError
from predictive_scaling.cluster.scaled_object_record import (
    PAUSED,
    PAUSED_REPLICAS,
    PAUSED_SCALE_IN,
    PAUSED_SCALE_OUT,
    ScaledObjectRecord,
    path_of,
)
from predictive_scaling.cluster.scaled_objects import ScaledObjects
from predictive_scaling.cluster.workload_record import WorkloadReference
from predictive_scaling.errors import KedaNotInstalledError, TargetNotFoundError, TargetRefusedError
from predictive_scaling.resources.vocabulary import Direction
from predictive_scaling.targets.records import LiveRecords
from predictive_scaling.targets.scaled_object import ScaledObject
from tests.support.cluster import InMemoryCluster
from tests.support.manifests import a_scaled_object

PATH = path_of("shop", "checkout")
DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/checkout"


def a_body(minimum: int | None = 2, **parts: Any) -> dict[str, Any]:
    body = a_scaled_object("checkout", minimum=minimum, **parts)
    body["metadata"] |= {"namespace": "shop", "uid": "so-uid", "resourceVersion": "7"}
    return body


def a_cluster(body: dict[str, Any], replicas: int = 2) -> InMemoryCluster:
    cluster = InMemoryCluster()
    metadata = {"namespace": "shop", "name": "checkout", "uid": "d-uid", "resourceVersion": "5"}
    status = {"replicas": replicas, "readyReplicas": replicas}
    cluster.objects[PATH] = body
    cluster.objects[DEPLOYMENT] = {"metadata": metadata, "spec": {"replicas": replicas}, "status": status}
    return cluster


def a_target(cluster: InMemoryCluster) -> ScaledObject:
    return ScaledObject(cluster, LiveRecords(cluster), "shop", "checkout")


def test_missing_fields_have_the_defaults_of_keda() -> None:
    body = a_body(minimum=None)
    del body["spec"]["maxReplicaCount"]
    record = ScaledObjectRecord.parse(body)
    assert (record.minimum, record.maximum, record.idle_replicas) == (0, 100, None)
    assert record.autoscaler == "keda-hpa-checkout"
    assert record.workload == WorkloadReference("apps/v1", "Deployment", "checkout")
    assert record.floor_given_up


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"advanced": {"horizontalPodAutoscalerConfig": {"name": "custom"}}}, "custom"),
        ({"advanced": {}}, "keda-hpa-checkout"),
    ],
)
def test_the_hpa_has_the_configured_name(parts: dict[str, Any], name: str) -> None:
    assert ScaledObjectRecord.parse(a_body(**parts)).autoscaler == name


@pytest.mark.parametrize(
    ("annotations", "pauses", "direction"),
    [
        ({PAUSED: "true"}, True, None),
        ({PAUSED: "yes"}, True, None),
        ({PAUSED: "false"}, False, None),
        ({PAUSED_REPLICAS: "0"}, True, None),
        ({PAUSED_SCALE_IN: "true"}, True, Direction.UP_ONLY),
        ({PAUSED_SCALE_OUT: "true"}, True, Direction.DOWN_ONLY),
        ({PAUSED_SCALE_IN: "true", PAUSED_SCALE_OUT: "true"}, True, None),
        ({PAUSED_SCALE_IN: "F"}, False, None),
    ],
)
async def test_pause_annotations_pause_as_keda_reads_them(
    annotations: dict[str, str], pauses: bool, direction: Direction | None
) -> None:
    observed = await a_target(a_cluster(a_body(annotations=annotations))).observe()
    assert (observed.pause is not None) == pauses
    assert observed.pause is None or observed.pause.direction == direction


async def test_a_floor_must_stay_above_the_idle_replicas() -> None:
    target = a_target(a_cluster(a_body(idleReplicaCount=1)))
    with pytest.raises(TargetRefusedError, match=r"idleReplicaCount 1; set spec\.replicas\.min of the policy to 2"):
        await target.apply(1, take=True)


async def test_a_floor_must_not_exceed_the_maximum() -> None:
    target = a_target(a_cluster(a_body(maximum=8)))
    with pytest.raises(TargetRefusedError, match="minReplicaCount 9 exceeds maxReplicaCount 8"):
        await target.apply(9, take=True)


@pytest.mark.parametrize("take", [True, False])
async def test_a_recreated_object_is_not_written(take: bool) -> None:
    cluster = a_cluster(a_body())
    target = a_target(cluster)
    await target.observe()
    cluster.objects[PATH]["metadata"]["uid"] = "another-uid"
    with pytest.raises(TargetNotFoundError, match="was deleted and created again"):
        await target.apply(5, take=take)
    assert cluster.objects[PATH]["spec"]["minReplicaCount"] == 2


async def test_the_deployment_of_another_group_is_not_missing_where_it_is_not_watched() -> None:
    body = a_body(scaleTargetRef={"apiVersion": "example.com/v1", "kind": "Deployment", "name": "checkout"})
    cluster = a_cluster(body)
    cluster.objects["/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/keda-hpa-checkout"] = {
        "metadata": {"namespace": "shop", "name": "keda-hpa-checkout", "uid": "hpa-uid", "resourceVersion": "3"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "example.com/v1", "kind": "Deployment", "name": "checkout"},
            "minReplicas": 2,
            "maxReplicas": 40,
        },
        "status": {"currentReplicas": 2, "desiredReplicas": 2},
    }
    assert (await a_target(cluster).observe()).missing is None


@pytest.mark.parametrize(("replicas", "is_held"), [(0, True), (3, False)])
async def test_replicas_of_an_idle_object_are_not_awaited(replicas: int, is_held: bool) -> None:
    progress = await a_target(a_cluster(a_body(idleReplicaCount=0), replicas)).progress()
    assert (progress.held_by is not None) == is_held


async def test_a_missing_workload_is_reported_and_the_object_observed() -> None:
    cluster = a_cluster(a_body())
    del cluster.objects[DEPLOYMENT]
    observed = await a_target(cluster).observe()
    assert observed.uid == "so-uid"
    assert "Deployment checkout" in str(observed.missing)


async def test_without_keda_all_objects_together_cost_one_request() -> None:
    cluster = InMemoryCluster()
    reads = ScaledObjects(cluster)
    with pytest.raises(KedaNotInstalledError, match="install KEDA"):
        await reads.read("shop", "checkout")
    cluster.reachable = False
    with pytest.raises(KedaNotInstalledError):
        await reads.read("shop", "orders")


class RefusingCluster(InMemoryCluster):
    """An API server whose answer to each read is an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def get(self, path: str) -> dict[str, Any]:
        del path
        raise self.error


FORBIDDEN = ObjectRefusedError('scaledobjects.keda.sh is forbidden: User "operator" cannot list resource')


async def test_a_missing_right_to_read_is_named() -> None:
    with pytest.raises(TargetRefusedError, match="grant its service account get, list, watch and patch on scaledobj"):
        await a_target(RefusingCluster(FORBIDDEN)).observe()
