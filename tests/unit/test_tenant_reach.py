"""A policy, a backtest and an event reach objects of their own namespace only."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.cluster.client import Json
from predictive_scaling.cluster.workload_record import WorkloadReference
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import InvalidManifestError, PredictiveScalingError
from predictive_scaling.external_metrics.values import ExternalMetricStore, Metric
from predictive_scaling.resources.scaling_policy import parse_policy
from predictive_scaling.resources.target import NamedTarget, TargetSpec, WorkloadTarget
from predictive_scaling.targets.port import Target
from predictive_scaling.targets.records import LiveRecords
from predictive_scaling.targets.registry import Targets
from tests.support.backtest_scenes import BacktestScene
from tests.support.builders import an_event
from tests.support.cluster import InMemoryCluster
from tests.support.manifests import a_deployment, an_autoscaler

DISCOVERY = ("/apis/apps/v1", "/apis/argoproj.io/v1alpha1", "/apis/keda.sh/v1alpha1", "/apis/keda.sh")
KINDS: dict[str, dict[str, Any]] = {
    "HorizontalPodAutoscaler": {"horizontalPodAutoscaler": {"name": "checkout"}},
    "ScaledObject": {"scaledObject": {"name": "checkout"}},
    "Deployment": {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}},
    "Rollout": {"workload": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "checkout"}},
}


class RecordingCluster(InMemoryCluster):
    """Records the path of each request about an object."""

    def __init__(self) -> None:
        super().__init__()
        self.requested: list[str] = []

    async def get(self, path: str) -> Json:
        self.requested.append(path)
        return await super().get(path)

    async def apply(self, path: str, body: Json, *, force: bool = False) -> Json:
        self.requested.append(path)
        return await super().apply(path, body, force=force)

    async def merge(self, path: str, body: Json) -> Json:
        self.requested.append(path)
        return await super().merge(path, body)

    async def items(self, path: str, *, page: int = 500, **query: str) -> list[Json]:
        self.requested.append(path)
        return await super().items(path, page=page, **query)

    @property
    def objects_requested(self) -> list[str]:
        discovered = ("/apis/apiextensions.k8s.io", *DISCOVERY)
        return [path for path in self.requested if "/namespaces/" in path or not path.startswith(discovered)]


def a_cluster_of(namespace: str) -> RecordingCluster:
    """A cluster in which one namespace has a target of each kind, all of the name `checkout`."""
    cluster = RecordingCluster()
    rollout: Json = a_deployment("checkout", replicas=2) | {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    scaled: Json = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "checkout"},
        "spec": {"scaleTargetRef": {"name": "checkout"}, "minReplicaCount": 2, "maxReplicaCount": 40},
    }
    plurals = {"Deployment": "deployments", "HorizontalPodAutoscaler": "horizontalpodautoscalers"}
    plurals |= {"Rollout": "rollouts", "ScaledObject": "scaledobjects"}
    bodies: list[Json] = [an_autoscaler("checkout"), a_deployment("checkout"), rollout, scaled]
    for body in bodies:
        body["metadata"] |= {"uid": body["kind"], "resourceVersion": "1", "namespace": namespace}
        cluster.objects[f"/apis/{body['apiVersion']}/namespaces/{namespace}/{plurals[body['kind']]}/checkout"] = body
    scale = {"metadata": {}, "status": {"replicas": 2, "selector": "app=checkout"}}
    cluster.objects[f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/checkout/scale"] = scale
    for path, kind in (("/apis/apps/v1", "Deployment"), ("/apis/argoproj.io/v1alpha1", "Rollout")):
        names = (plurals[kind], f"{plurals[kind]}/scale")
        cluster.objects[path] = {"resources": [{"name": name, "kind": kind, "namespaced": True} for name in names]}
    return cluster


def a_target(cluster: InMemoryCluster, kind: str) -> Target:
    """The target `checkout` of a policy in the namespace shop."""
    return Targets(cluster, LiveRecords(cluster))("shop", TargetSpec.model_validate(KINDS[kind]))


async def observed(target: Target) -> Observed | None:
    try:
        seen = await target.observe()
    except PredictiveScalingError:
        return None
    return seen if seen.missing is None else None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_target_of_another_namespace_is_neither_seen_nor_written(kind: str) -> None:
    own, foreign = a_cluster_of("shop"), a_cluster_of("bank")
    assert await observed(a_target(own, kind)) is not None
    target = a_target(foreign, kind)
    assert await observed(target) is None
    for write in (target.apply(9, take=True), target.restore(1)):
        try:
            await write
        except (PredictiveScalingError, RuntimeError):  # the target does not exist
            continue
    assert foreign.writes == []
    paths = [*own.objects_requested, *foreign.objects_requested]
    assert paths
    assert [path for path in paths if "/namespaces/shop/" not in path] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_has_no_namespace(kind: str) -> None:
    ((field, target),) = KINDS[kind].items()
    spec = {"target": {field: target | {"namespace": "bank"}}, "demand": {"metric": "rps"}, "replicas": {"max": 4}}
    with pytest.raises(InvalidManifestError, match="namespace"):
        parse_policy({"metadata": {"name": "checkout", "namespace": "shop"}, "spec": spec})


@given(st.text("ab./:%?#\\", min_size=1, max_size=12), st.text("ab./:%?#\\", min_size=1, max_size=12))
def test_no_name_of_a_target_leaves_the_path_of_its_namespace(name: str, group: str) -> None:
    try:
        NamedTarget(name=name)
        workload = WorkloadTarget(api_version=f"{group}/v1", kind="Rollout", name=name)
    except ValueError:
        return
    path = WorkloadReference(workload.api_version, workload.kind, workload.name).path("shop")
    assert path.split("/")[3:] == ["v1", "namespaces", "shop", "rollouts", name]
    assert ".." not in name


async def test_a_backtest_names_policies_of_its_own_namespace() -> None:
    scene = BacktestScene()
    await scene.put_policy("checkout", "bank")
    await scene.put()
    await scene.passes(2)
    assert scene.runs.begun == []
    assert "ScalingPolicy shop/checkout does not exist" in scene.status()["conditions"][0]["message"]


@given(st.sampled_from(["shop", "bank"]), st.booleans(), st.dictionaries(st.sampled_from("ab"), st.sampled_from("cd")))
def test_an_event_selects_policies_of_its_own_namespace(namespace: str, every: bool, labels: dict[str, str]) -> None:
    event = an_event(policies={"all": True} if every else {"matchLabels": {"a": "c"}})
    assert event.selects(namespace, labels) == (namespace == "shop" and (every or labels.get("a") == "c"))


def test_external_metrics_are_read_in_the_namespace_of_their_policy() -> None:
    store = ExternalMetricStore()
    store.publish("shop", "checkout", "checkout", demand=None, forecast=None)
    assert len(store.values("shop", Metric.DEMAND)) == 1
    assert store.values("bank", Metric.DEMAND) == []
