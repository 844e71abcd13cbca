"""Upgrades of the custom resource definitions under a running operator, and a down-grade that is refused."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.cluster.client import Cluster, connected
from predictive_scaling.errors import ClusterUnavailableError, StackError
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.operator_account import operator_kubeconfig
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.stack import Stack
from tests.fixtures.stack import CRDS
from tests.support.eventually import eventually
from tests.support.floor_watch import watched_floor
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import get_condition, get_minimum, record_steady_demand, wait_for_minimum
from tests.support.operator_process import LEASE_NAMESPACE, NOON, OperatorProcess, running

pytestmark = pytest.mark.e2e

EARLIER = Path(__file__).parents[1] / "data" / "earlier_definitions.yaml"
NAMESPACE = "shop"
POLICIES = f"/apis/predictive-scaling.io/v1alpha1/namespaces/{NAMESPACE}/scalingpolicies"
STORED = 100


@pytest.fixture(scope="module")
async def control_plane() -> AsyncGenerator[Kubernetes]:
    """A control plane with the definitions of an earlier release, which lack fields and a kind of this one."""
    options = ClusterOptions(hpa_sync_period=timedelta(seconds=0.5), hpa_downscale_stabilization=timedelta(0))
    async with Stack([Part.KUBERNETES], cluster=options) as stack:
        cluster = stack.kubernetes
        earlier = list(yaml.safe_load_all(EARLIER.read_text()))
        await cluster.apply(earlier, "earlier-definitions")
        names = [f"crd/{body['metadata']['name']}" for body in earlier]
        await cluster.kubectl("wait", "--for=condition=Established", "--timeout=300s", *names)
        await cluster.kubectl("create", "namespace", NAMESPACE)
        yield cluster


@pytest.fixture
def kubectl(control_plane: Kubernetes) -> Kubectl:
    return Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, NAMESPACE)


@pytest.fixture
async def operator(
    control_plane: Kubernetes, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[OperatorProcess]:
    """Running; the service `checkout` has a demand of 880: nine replicas at 100 per replica."""
    clock = ReplayClock(NOON, monotonic(), 60)
    await record_steady_demand(migrated_database_url, clock, "checkout", 880.0, timedelta(hours=8))
    kubeconfig = await operator_kubeconfig(control_plane, LEASE_NAMESPACE)
    async with running(OperatorProcess(kubeconfig, migrated_database_url, clock, tmp_path)) as process:
        yield process


@dataclass
class Editor:
    """Edits stored policies one after the other, and knows which maximum of each was accepted last."""

    client: Cluster
    accepted: dict[str, int] = field(default_factory=dict[str, int])
    count: int = 0
    is_stopping: bool = False

    async def run(self) -> None:
        """Edit until it is told to stop; the last edit is complete then."""
        for number, name in enumerate(itertools.cycle(list(self.accepted))):
            if self.is_stopping:
                return
            await self._edit(name, 10 + number % 500)

    async def more(self, edits: int) -> None:
        """Wait until so many more edits were accepted."""
        expected = self.count + edits

        async def reached() -> bool:
            return self.count >= expected

        await eventually(reached, seconds=60)

    async def _edit(self, name: str, maximum: int) -> None:
        while True:
            try:
                await self.client.merge(f"{POLICIES}/{name}", {"spec": {"replicas": {"max": maximum}}})
            except (
                ClusterUnavailableError
            ):  # it may be slow while it replaces the definition; any refusal ends the test
                await asyncio.sleep(0.1)
            else:
                self.accepted[name] = maximum
                self.count += 1
                return


@asynccontextmanager
async def editing(cluster: Kubernetes, names: list[str]) -> AsyncGenerator[Editor]:
    """Edit policies in the background. Raises the refusal of an edit."""
    async with connected(cluster.kubeconfig) as client:
        editor = Editor(client, dict.fromkeys(names, 0))
        task = asyncio.create_task(editor.run())
        try:
            yield editor
        finally:
            editor.is_stopping = True
            await task


async def definition(cluster: Kubernetes) -> dict[str, Any]:
    return json.loads(await cluster.kubectl("get", "crd", "scalingpolicies.predictive-scaling.io", "-o", "json"))


async def test_definitions_are_upgraded_under_load_without_a_restart_a_lost_object_or_a_lower_floor(
    control_plane: Kubernetes, operator: OperatorProcess, kubectl: Kubectl, tmp_path: Path
) -> None:
    stored = [f"stored-{number}" for number in range(STORED)]
    sale = a_business_event(
        "sale", start="2026-06-20T08:00:00Z", end="2026-06-20T10:00:00Z", expect={"multiplier": "2"}
    )
    await kubectl.apply(*(a_scaling_policy(name, mode="Recommend") for name in stored), sale)
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2), a_scaling_policy())
    await wait_for_minimum(kubectl, 9, seconds=90)

    async with watched_floor(kubectl, tmp_path / "minima") as floor:
        async with editing(control_plane, stored) as editor:
            await editor.more(STORED)
            await control_plane.install_custom_resources(CRDS)
            await editor.more(STORED)
        await operator.wait_for_ticks(2)
        assert set(await floor.minima()) == {9}
        # The watches of the operator continue with the new definition.
        await kubectl.apply(a_scaling_policy(maximum=5))
        await floor.wait_for(5)

    maxima = {policy["metadata"]["name"]: policy["spec"]["replicas"]["max"] for policy in await kubectl.items("sp")}
    assert maxima == editor.accepted | {"checkout": 5}
    assert [event["metadata"]["name"] for event in await kubectl.items("be")] == ["sale"]
    assert (await definition(control_plane))["status"]["storedVersions"] == ["v1alpha1"]

    # What only the new release has: a field of a stored policy, and a kind.
    headroom = {"spec": {"nodeHeadroom": {"leadTime": "5m"}}}
    await kubectl("patch", "sp", "stored-0", "--type=merge", "-p", json.dumps(headroom))
    assert (await kubectl.get("sp", "stored-0"))["spec"]["nodeHeadroom"]["leadTime"] == "5m"
    backtest = {"apiVersion": API_VERSION, "kind": "ScalingBacktest", "metadata": {"name": "new"}}
    await kubectl.apply(backtest | {"spec": {"policy": "nobody"}})
    await kubectl("wait", "--for=condition=Failed", "sb/new")
    assert operator.is_running


def later_definition() -> dict[str, Any]:
    """Return the definition of policies of a release to come: a field, a mode and a kind of target more."""
    definition = yaml.safe_load((CRDS / "scalingpolicies.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["laterLimit"] = {"type": "integer"}
    spec["mode"]["enum"].append("Later")
    spec["target"]["properties"]["later"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    del spec["target"]["x-kubernetes-validations"]
    return definition


async def test_a_policy_with_fields_of_a_later_release_is_refused_and_its_floor_is_held_also_after_a_down_grade(
    control_plane: Kubernetes, operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await control_plane.install_custom_resources(CRDS)
    demand = {"service": "checkout", "metric": "requests_per_second", "perReplica": "100"}
    for name in ("kept", "untouched"):
        await kubectl.apply(a_deployment(name), an_autoscaler(name, minimum=2))
    await kubectl.apply(a_scaling_policy("kept", demand=demand))
    await eventually(lambda: get_minimum(kubectl, "kept"), (9).__eq__, seconds=90)

    # Of the roll-back, the process comes first, or alone: its operator meets the definitions of the later release.
    await operator.terminate()
    await control_plane.apply([later_definition()], "later-fields")
    await eventually(lambda: edit_limit(kubectl), (5).__eq__, seconds=60)
    target = {"horizontalPodAutoscaler": {"name": "untouched"}}
    await kubectl.apply(
        a_scaling_policy("mode", mode="Later", target=target, demand=demand),
        a_scaling_policy("target", target={"later": {"name": "queue"}}, demand=demand),
    )
    await operator.start()
    await wait_for_refusal(kubectl, "kept", "spec.laterLimit is not a field")
    await wait_for_refusal(kubectl, "mode", "spec.mode is 'Later'")
    await wait_for_refusal(kubectl, "target", "spec.target.later is not a field")
    await operator.wait_for_ticks(2)
    assert [await get_minimum(kubectl, name) for name in ("kept", "untouched")] == [9, 2]

    # Or the definitions come first: they hide what they lack.
    await operator.terminate()
    await control_plane.install_custom_resources(CRDS)
    await eventually(lambda: limit(kubectl), lambda found: found is None, seconds=60)
    await operator.start()
    await eventually(
        lambda: get_condition(kubectl, "Stalled", "kept"), lambda now: now["status"] == "False", seconds=60
    )
    await wait_for_refusal(kubectl, "mode", "spec.mode is 'Later'")
    await wait_for_refusal(kubectl, "target", "spec.target: exactly one of")
    await operator.wait_for_ticks(2)
    assert [await get_minimum(kubectl, name) for name in ("kept", "untouched")] == [9, 2]

    # The operator's own write of the status has dropped the field for good.
    await control_plane.apply([later_definition()], "later-fields")
    await eventually(lambda: edit_limit(kubectl, "--dry-run=server"), (5).__eq__, seconds=60)
    assert await limit(kubectl) is None
    await control_plane.install_custom_resources(CRDS)


async def edit_limit(kubectl: Kubectl, *options: str) -> int | None:
    """Set the later release's field of a policy, and return what was stored: nothing while it is not served."""
    patch = json.dumps({"spec": {"laterLimit": 5}})
    printed = await kubectl("patch", "sp", "kept", "--type=merge", "-o", "json", "-p", patch, *options)
    return json.loads(printed)["spec"].get("laterLimit")


async def limit(kubectl: Kubectl) -> int | None:
    return (await kubectl.get("sp", "kept"))["spec"].get("laterLimit")


async def wait_for_refusal(kubectl: Kubectl, policy: str, problem: str) -> None:
    """Wait until a policy is refused as invalid for this problem."""
    condition = await eventually(
        lambda: get_condition(kubectl, "Stalled", policy), lambda found: problem in found.get("message", ""), seconds=60
    )
    assert (condition["status"], condition["reason"]) == ("True", "Invalid")


async def test_the_api_server_refuses_definitions_without_the_version_in_which_objects_are_stored(
    control_plane: Kubernetes,
) -> None:
    current = yaml.safe_load((CRDS / "scalingpolicies.yaml").read_text())
    later = deepcopy(current)
    (version,) = later["spec"]["versions"]
    later["spec"]["versions"] = [version | {"storage": False}, version | {"name": "v1beta1"}]
    await control_plane.apply([later], "later-definition")
    with pytest.raises(StackError, match=r'storedVersions\[\d\]: Invalid value: "v1beta1"'):
        await control_plane.apply([current], "current-definition")
    versions = {version["name"] for version in (await definition(control_plane))["spec"]["versions"]}
    assert versions == {"v1alpha1", "v1beta1"}, "nothing changed"
