"""ScaledObjects in the index: from the watch, or from the comparison if KEDA is installed while the operator runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from structlog.typing import EventDict

from predictive_scaling.cluster import index_comparison
from predictive_scaling.cluster.client import connected
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.scaled_objects import ScaledObjects
from predictive_scaling.errors import TargetRefusedError
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.handlers.watch import Watch
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, wait_for_rights
from tests.support.manifests import a_deployment, a_scaled_object

pytestmark = pytest.mark.integration


@pytest.fixture
async def without_keda(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that serves no ScaledObjects, which the watches of this process use."""
    await cluster.kubectl("delete", "crd", "scaledobjects.keda.sh", "--ignore-not-found", "--timeout=300s")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


@asynccontextmanager
async def watching(cluster: Kubernetes, namespaces: tuple[str, ...]) -> AsyncGenerator[InformerCache]:
    async with connected(cluster.kubeconfig) as connection:
        informer_cache = InformerCache(connection)
        watch = Watch(HandlerContext(informer_cache, lambda: None), namespaces)
        watch.start()
        try:
            yield informer_cache
        finally:
            await watch.stop()


async def test_scaled_objects_are_watched_where_keda_is_installed(
    cluster: Kubernetes, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.install_keda()
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    async with watching(cluster, ()) as informer_cache:

        async def minimum() -> int | None:
            record = informer_cache.scaled_object_index.get((kubectl.namespace, "checkout"))
            return record.minimum if record else None

        for count in (3, 4):
            await kubectl.apply(a_scaled_object("checkout", minimum=count))
            await eventually(minimum, lambda shown, count=count: shown == count, seconds=20)


async def wait_for_watched_deployment(informer_cache: InformerCache, kubectl: Kubectl) -> None:
    """Wait until the watches of the other kinds have started."""
    await kubectl.apply(a_deployment("checkout"))
    key = (kubectl.namespace, "Deployment", "checkout")

    async def is_watched() -> bool:
        return informer_cache.workload_index.get(key) is not None

    await eventually(is_watched, seconds=30)


@pytest.mark.usefixtures("without_keda")
@pytest.mark.parametrize("is_limited", [True, False])
async def test_scaled_objects_come_from_the_comparison_if_keda_is_installed_later(
    cluster: Kubernetes, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, is_limited: bool
) -> None:
    monkeypatch.setattr(index_comparison, "_GRACE_SECONDS", 0.0)
    namespaces = (kubectl.namespace,) if is_limited else ()
    async with watching(cluster, namespaces) as informer_cache:
        await wait_for_watched_deployment(informer_cache, kubectl)
        comparison = IndexComparison(informer_cache.cluster, informer_cache, namespaces)
        await comparison.compare()
        await cluster.install_keda()
        for minimum in (3, 4):
            await kubectl.apply(a_scaled_object("checkout", minimum=minimum))
            await comparison.compare()
            record = informer_cache.scaled_object_index.get((kubectl.namespace, "checkout"))
            assert record is not None
            assert record.minimum == minimum


KINDS = {
    "predictive-scaling.io": ["scalingpolicies", "businessevents"],
    "autoscaling": ["horizontalpodautoscalers"],
    "apps": ["deployments", "statefulsets"],
}


@pytest.mark.parametrize("granted", [[], ["get", "list"]], ids=["none", "all but watch"])
async def test_without_rights_on_scaled_objects_the_other_kinds_are_watched(
    cluster: Kubernetes, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict], granted: list[str]
) -> None:
    await cluster.install_keda()
    await kubectl.apply(a_scaled_object("checkout", minimum=3))
    await kubectl("create", "serviceaccount", "operator")
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]}
        for group, resources in KINDS.items()
    ]
    rules += [{"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": granted}] if granted else []
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator"}}
    await kubectl.apply(role | {"rules": rules})
    await kubectl(
        "create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={kubectl.namespace}:operator"
    )
    kubeconfig = await cluster.kubeconfig_of(kubectl.namespace, "operator")
    user = Kubectl(cluster.kubectl_program, kubeconfig, kubectl.namespace)
    await wait_for_rights(user, "scalingpolicies", "businessevents", "hpa", "deployments")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with watching(cluster, (kubectl.namespace,)) as informer_cache:
        key = (kubectl.namespace, "Deployment", "checkout")

        async def replicas() -> int | None:
            record = informer_cache.workload_index.get(key)
            return record.desired if record else None

        for count in (2, 5):  # the second change of an object comes only once kopf has started completely
            await kubectl.apply(a_deployment("checkout", replicas=count))
            await eventually(replicas, lambda shown, count=count: shown == count, seconds=30)
        assert informer_cache.scaled_object_index.get((kubectl.namespace, "checkout")) is None
    missing = "watch on scaledobjects" if granted else "get, list, watch and patch on scaledobjects"
    (warning,) = [entry for entry in logs if entry["event"] == "scaled_objects_not_watched"]
    assert f"grant the operator's service account {missing}.keda.sh" in warning["remedy"]
    if granted:
        return
    async with connected(kubeconfig) as connection:
        with pytest.raises(TargetRefusedError, match=r"grant its service account get, list, watch and patch"):
            await ScaledObjects(connection).read(kubectl.namespace, "checkout")
