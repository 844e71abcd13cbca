"""Watches that are interrupted while objects are deleted and created: the index agrees with the cluster afterwards.

The real API server is restarted meanwhile: its watch cache then begins after the last resource version of the watches,
and they receive 410 Gone, as after a long interruption.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from predictive_scaling.cluster.client import Cluster, connected
from predictive_scaling.cluster.index_comparison import DRIFT, IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.handlers.watch import Watch
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.integration

TIMES = {"start": "2026-11-27T08:00:00Z", "end": "2026-11-27T20:00:00Z", "expect": {"minReplicas": 20}}


@dataclass
class Watched:
    """Watches behind a proxy, and a client with a direct connection."""

    proxy: Proxy
    informer_cache: InformerCache
    comparison: IndexComparison
    cluster: Cluster
    namespace: str

    async def index(self) -> dict[str, str]:
        """Return the uid of every object in the index."""
        uids = {f"ScalingPolicy {record.key.name}": record.uid for record in self.informer_cache.policies()}
        uids |= {f"BusinessEvent {record.name}": record.uid for record in self.informer_cache.events()}
        autoscaler = self.informer_cache.autoscaler_index.get((self.namespace, "checkout"))
        workload = self.informer_cache.workload_index.get((self.namespace, "Deployment", "checkout"))
        uids |= {"HorizontalPodAutoscaler checkout": autoscaler.uid} if autoscaler else {}
        return uids | ({"Deployment checkout": workload.uid} if workload else {})


@pytest.fixture
async def watched(
    cluster: Kubernetes, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Watched]:
    """The watches of one namespace."""
    port = int(cluster.server.rpartition(":")[2])
    async with proxied(port) as proxy, connected(cluster.kubeconfig) as direct:
        configuration = yaml.safe_load(cluster.kubeconfig.read_text())
        configuration["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(yaml.safe_dump(configuration))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        informer_cache = InformerCache(direct)
        watch = Watch(HandlerContext(informer_cache, lambda: None), (namespace,))
        watch.start()
        try:
            yield Watched(
                proxy, informer_cache, IndexComparison(direct, informer_cache, (namespace,)), direct, namespace
            )
        finally:
            await watch.stop()


async def uids(kubectl: Kubectl) -> dict[str, str]:
    """Return the uid of every object of the namespace, from the API server."""
    kinds_by_plural = {
        "scalingpolicies": "ScalingPolicy",
        "businessevents": "BusinessEvent",
        "horizontalpodautoscalers": "HorizontalPodAutoscaler",
        "deployments": "Deployment",
    }
    return {
        f"{kind} {item['metadata']['name']}": item["metadata"]["uid"]
        for plural, kind in kinds_by_plural.items()
        for item in await kubectl.items(plural)
    }


async def test_the_index_agrees_with_the_cluster_after_an_interrupted_watch(
    watched: Watched, kubectl: Kubectl, cluster: Kubernetes
) -> None:
    manifests = [
        a_deployment("checkout"),
        an_autoscaler("checkout", minimum=2, maximum=40),
        a_scaling_policy("checkout"),
        a_scaling_policy("deleted"),
        a_business_event("deleted", **TIMES),
        a_business_event("kept", **TIMES),
    ]
    await kubectl.apply(*manifests)
    before = await uids(kubectl)
    await eventually(watched.index, lambda index: index == before, seconds=60)

    watched.proxy.cut()
    await kubectl("delete", "sp,be", "deleted", "--wait=true")
    await kubectl("delete", "sp,hpa,deployment", "checkout", "--wait=true", "--cascade=background")
    await kubectl.apply(
        a_deployment("checkout"), an_autoscaler("checkout", minimum=7, maximum=40), a_scaling_policy("checkout")
    )
    await kubectl.apply(a_scaling_policy("added"))
    await cluster.api_server.stop()
    await cluster.api_server.start()
    after = await uids(kubectl)
    assert "ScalingPolicy deleted" not in after
    watched.proxy.restore()
    await eventually(watched.index, lambda index: "ScalingPolicy added" in index, seconds=90)

    drift_before = DRIFT._value.get()  # pyright: ignore[reportPrivateUsage] (prometheus_client has no reader)
    await watched.comparison.compare()
    assert await watched.index() == after
    assert DRIFT._value.get() > drift_before  # pyright: ignore[reportPrivateUsage]
    assert watched.informer_cache.policy(PolicyKey(watched.namespace, "deleted")) is None
    autoscaler = await watched.informer_cache.autoscaler(watched.namespace, "checkout")
    assert autoscaler is not None
    assert autoscaler.minimum == 7

    drift_before = DRIFT._value.get()  # pyright: ignore[reportPrivateUsage]
    await kubectl("delete", "sp", "checkout", "added", "--wait=true")
    await watched.comparison.compare()
    await eventually(watched.index, lambda index: not any("ScalingPolicy" in name for name in index), seconds=30)
    assert DRIFT._value.get() == drift_before  # pyright: ignore[reportPrivateUsage]
