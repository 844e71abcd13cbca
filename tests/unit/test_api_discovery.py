"""Discovery of resources with a scale subresource: results are cached, and expire."""

import asyncio
from typing import Any

import pytest

from predictive_scaling.cluster import api_discovery
from predictive_scaling.cluster.api_discovery import EXPIRY_SECONDS, MAX_KINDS, RETRY_SECONDS, ApiDiscovery
from predictive_scaling.errors import ClusterUnavailableError, ExtensionUnavailableError, TargetUnsupportedError
from tests.support.cluster import InMemoryCluster, Json
from tests.support.manual_seconds import ManualSeconds

ROLLOUTS = "/apis/argoproj.io/v1alpha1"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rollouts.argoproj.io"


class CountingCluster(InMemoryCluster):
    """Counts requests."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.hanging = ""
        """The path of an API that hangs until `continues`."""
        self.continues = asyncio.Event()
        self.is_dead = False
        """Whether the server of the APIs is down."""

    async def get(self, path: str) -> Json:
        self.reads.append(path)
        await asyncio.sleep(0)
        if path == self.hanging:
            await self.continues.wait()
        if self.is_dead:
            raise ExtensionUnavailableError(f"GET {path}: service unavailable")
        return await super().get(path)

    def serve(self, *resources: str) -> None:
        listed = [{"name": name, "kind": "Rollout", "namespaced": True} for name in resources]
        self.objects[ROLLOUTS] = {"metadata": {}, "resources": listed}


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, api_discovery)


async def test_concurrent_and_later_lookups_share_a_request_until_it_expires(seconds: ManualSeconds) -> None:
    cluster = CountingCluster()
    cluster.serve("rollouts", "rollouts/status", "rollouts/scale")
    discovery = ApiDiscovery(cluster)
    resources = await asyncio.gather(*(discovery.resource("argoproj.io/v1alpha1", "Rollout") for _ in range(20)))
    assert {resource.path("shop", "web") for resource in resources} == {f"{ROLLOUTS}/namespaces/shop/rollouts/web"}
    assert cluster.reads == [ROLLOUTS, CRD]
    seconds.now += EXPIRY_SECONDS
    await discovery.resource("argoproj.io/v1alpha1", "Rollout")
    assert cluster.reads.count(ROLLOUTS) == 2


async def test_a_missing_kind_is_looked_up_again_soon(seconds: ManualSeconds) -> None:
    cluster = CountingCluster()
    discovery = ApiDiscovery(cluster)
    for _ in range(3):
        with pytest.raises(TargetUnsupportedError, match="no API argoproj"):
            await discovery.resource("argoproj.io/v1alpha1", "Rollout")
    assert cluster.reads == [ROLLOUTS]
    cluster.serve("rollouts", "rollouts/scale")
    seconds.now += RETRY_SECONDS
    assert (await discovery.resource("argoproj.io/v1alpha1", "rollout")).kind == "Rollout"


async def test_an_unavailable_server_is_no_answer() -> None:
    cluster = CountingCluster()
    cluster.serve("rollouts", "rollouts/scale")
    discovery = ApiDiscovery(cluster)
    cluster.reachable = False
    with pytest.raises(ClusterUnavailableError):
        await discovery.resource("argoproj.io/v1alpha1", "Rollout")
    cluster.reachable = True
    assert (await discovery.resource("argoproj.io/v1alpha1", "Rollout")).plural == "rollouts"


async def test_an_api_that_hangs_delays_no_lookup_of_another_kind() -> None:
    cluster = CountingCluster()
    cluster.serve("rollouts", "rollouts/scale")
    cluster.hanging = "/apis/shop.example/v1"
    discovery = ApiDiscovery(cluster)
    waiting = [asyncio.create_task(discovery.resource("shop.example/v1", "Basket")) for _ in range(3)]
    await asyncio.sleep(0)
    assert (await discovery.resource("argoproj.io/v1alpha1", "Rollout")).plural == "rollouts"
    assert not any(task.done() for task in waiting)
    cluster.continues.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {TargetUnsupportedError}
    assert cluster.reads.count(cluster.hanging) == 1


async def test_policies_of_a_dead_api_share_its_requests(seconds: ManualSeconds) -> None:
    cluster = CountingCluster()
    cluster.is_dead = True
    discovery = ApiDiscovery(cluster)
    for _ in range(3):
        with pytest.raises(ExtensionUnavailableError, match="service unavailable"):
            await discovery.resource("argoproj.io/v1alpha1", "Rollout")
    assert cluster.reads == [ROLLOUTS]
    cluster.is_dead = False
    cluster.serve("rollouts", "rollouts/scale")
    seconds.now += RETRY_SECONDS
    assert (await discovery.resource("argoproj.io/v1alpha1", "Rollout")).plural == "rollouts"


async def test_a_known_kind_stays_known_while_its_api_does_not_respond(seconds: ManualSeconds) -> None:
    cluster = CountingCluster()
    cluster.serve("rollouts", "rollouts/scale")
    discovery = ApiDiscovery(cluster)
    known = await discovery.resource("argoproj.io/v1alpha1", "Rollout")
    seconds.now += EXPIRY_SECONDS
    cluster.is_dead = True
    assert await discovery.resource("argoproj.io/v1alpha1", "Rollout") == known
    cluster.is_dead = False
    del cluster.objects[ROLLOUTS]
    seconds.now += RETRY_SECONDS
    with pytest.raises(TargetUnsupportedError):
        await discovery.resource("argoproj.io/v1alpha1", "Rollout")


async def test_a_definition_names_the_field_of_the_replicas() -> None:
    cluster = CountingCluster()
    cluster.serve("rollouts", "rollouts/scale")
    versions: list[dict[str, Any]] = [
        {"name": "v1", "subresources": {"scale": {"specReplicasPath": ".spec.replicas"}}},
        {"name": "v1alpha1", "subresources": {"scale": {"specReplicasPath": ".spec.pool.size"}}},
    ]
    cluster.objects[CRD] = {"metadata": {}, "spec": {"versions": versions}}
    resource = await ApiDiscovery(cluster).resource("argoproj.io/v1alpha1", "Rollout")
    assert resource.replicas == ("spec", "pool", "size")


async def test_the_cache_is_bounded() -> None:
    discovery = ApiDiscovery(CountingCluster())
    for number in range(MAX_KINDS + 5):
        with pytest.raises(TargetUnsupportedError):
            await discovery.resource(f"g{number}.example/v1", "Rollout")
    assert len(discovery._lookups) == MAX_KINDS  # pyright: ignore[reportPrivateUsage]
