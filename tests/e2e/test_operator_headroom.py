"""Node headroom with the real scheduler: placeholders reserve capacity, replicas take it (semantics 30)."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.stack import Stack
from tests.fixtures.stack import CRDS
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import (
    Manifest,
    a_business_event,
    a_node,
    a_pooled_deployment,
    a_scaling_policy,
    an_autoscaler,
)
from tests.support.observing import get_minimum, get_status, record_steady_demand
from tests.support.operator_process import NOON, OperatorProcess, kubeconfig_of_cluster_role, running

pytestmark = pytest.mark.e2e
NAMESPACE = "headroom"


@pytest.fixture(scope="module")
async def control_plane() -> AsyncGenerator[Kubernetes]:
    """A control plane with a scheduler and the priority class of placeholders."""
    options = ClusterOptions(
        hpa_sync_period=timedelta(seconds=0.5), hpa_downscale_stabilization=timedelta(0), scheduler=True
    )
    async with Stack([Part.KUBERNETES], cluster=options) as stack:
        cluster = stack.kubernetes
        await cluster.install_custom_resources(CRDS)
        priority = yaml.safe_load((CRDS.parent / "config" / "placeholder-priority-class.yaml").read_text())
        await cluster.apply([priority], "priority")
        await cluster.kubectl("create", "namespace", NAMESPACE)
        yield cluster


@pytest.fixture
async def operator(
    control_plane: Kubernetes, postgres: PostgreSQL, database_template: str, tmp_path: Any
) -> AsyncGenerator[OperatorProcess]:
    kubeconfig = await kubeconfig_of_cluster_role(control_plane)
    url = await postgres.create_database(f"operator_{monotonic():.0f}_headroom", database_template)
    process = OperatorProcess(kubeconfig, url, ReplayClock(NOON, monotonic(), 60), tmp_path)
    async with running(process):
        yield process


@pytest.fixture
def kubectl(control_plane: Kubernetes) -> Kubectl:
    return Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, NAMESPACE)


async def test_replicas_of_a_raise_take_the_capacity_that_placeholders_reserved(
    control_plane: Kubernetes, operator: OperatorProcess, kubectl: Kubectl
) -> None:
    requests = {"cpu": "1"}
    await control_plane.apply([a_node("first", "shop", cpu="3")], "first")
    deployment = a_pooled_deployment("shop", "shop", requests)
    await kubectl.apply(deployment, an_autoscaler("shop", minimum=2, maximum=40))
    await record_steady_demand(operator.database_url, operator.clock, "shop", 180.0, timedelta(hours=18))
    policy = a_scaling_policy(
        "shop",
        demand={"service": "shop", "metric": "requests_per_second", "perReplica": "100"},
        forecast={"leadTime": "1m"},
        scaleUp={"maxStep": 40, "period": "1m"},
        nodeHeadroom={"leadTime": "6h"},
    )
    policy["metadata"]["labels"] = {"name": "shop"}

    def an_event(start: datetime) -> Manifest:
        times = {"start": start.isoformat(), "end": (start + timedelta(hours=12)).isoformat()}
        return a_business_event("sale", **times, expect={"minReplicas": 7})

    # The headroom is reserved six simulated hours before the floor rises.
    await kubectl.apply(policy, an_event(operator.clock.now() + timedelta(hours=6)))

    await eventually(lambda: reserved_replicas(kubectl), lambda replicas: replicas == 5, seconds=60)
    assert await get_minimum(kubectl, "shop") == 2, "the headroom exists before the floor rises"
    # Placeholders wait for a node, no replica does: one that came after them takes the place of a placeholder.
    await eventually(
        lambda: unschedulable(kubectl),
        lambda pods: len(pods) == 4 and all("headroom" in name for name in pods),
        seconds=60,
    )

    await control_plane.apply([a_node("second", "shop", cpu="4")], "second")
    status = await eventually(
        lambda: get_status(kubectl, "shop"),
        lambda status: status.get("nodeHeadroom", {}).get("ready") == 5,
        seconds=60,
    )
    assert status["nodeHeadroom"] == {"replicas": 5, "method": "Placeholders", "ready": 5}

    # The event is moved: the floor rises about three simulated minutes from now.
    await kubectl.apply(an_event(operator.clock.now() + timedelta(minutes=5)))
    await eventually(lambda: get_minimum(kubectl, "shop"), lambda minimum: minimum == 7, seconds=90)
    await eventually(lambda: replicas_on_nodes(kubectl), lambda names: len(names) == 7, seconds=60)
    await eventually(lambda: reserved_replicas(kubectl), lambda replicas: replicas == 0)

    await kubectl("delete", "sp", "shop")
    await eventually(lambda: reserved_replicas(kubectl), lambda replicas: replicas is None)


async def reserved_replicas(kubectl: Kubectl) -> int | None:
    """The replicas of the placeholders; None without any."""
    deployments = {body["metadata"]["name"]: body for body in await kubectl.items("deployments")}
    placeholders = deployments.get("shop-headroom")
    return None if placeholders is None else placeholders["spec"]["replicas"]


async def replicas_on_nodes(kubectl: Kubectl) -> list[str]:
    """Names of the workload's own pods that have a node."""
    pods = [pod for pod in await kubectl.items("pods") if pod["metadata"]["labels"].get("app") == "shop"]
    return [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName")]


async def unschedulable(kubectl: Kubectl) -> list[str]:
    """Names of the pods that wait for a node."""
    return [pod["metadata"]["name"] for pod in await kubectl.items("pods") if not pod["spec"].get("nodeName")]
