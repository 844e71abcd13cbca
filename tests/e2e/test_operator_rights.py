"""The operator with the rights of config/cluster-role.yaml uses every one of them, and requests no other."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.cluster.client import connected
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.rights import OPERATOR
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.operator_account import operator_kubeconfig
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.ports import free_ports
from predictive_scaling.stack.stack import Stack
from tests.fixtures.stack import CRDS
from tests.support.audit import AuditLog, Right, rights
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import (
    Manifest,
    a_business_event,
    a_deployment,
    a_pooled_deployment,
    a_rollout,
    a_rollout_definition,
    a_scaled_object,
    a_scaling_policy,
    a_stateful_set,
    an_autoscaler,
)
from tests.support.observing import get_minimum, get_status, record_steady_demand, wait_for_minimum
from tests.support.operator_process import LEASE_NAMESPACE, NOON, OperatorProcess

pytestmark = pytest.mark.e2e

NAMESPACE, ACCOUNT = "shop", "operator"
USER = f"system:serviceaccount:{LEASE_NAMESPACE}:{ACCOUNT}"
DEMAND = {"service": "shop", "metric": "requests_per_second", "perReplica": "100"}
SCALABLE = {"apiGroups": ["example.com"], "resources": ["rollouts", "rollouts/scale"], "verbs": ["get", "patch"]}
"""The rule that the chart adds for an entry of rbac.scalableKinds."""
BASIC = {Right("authorization.k8s.io", "selfsubjectaccessreviews", "create")}
"""What every account may do."""


@pytest.fixture(scope="module")
async def control_plane() -> AsyncGenerator[Kubernetes]:
    """A control plane that logs the requests, with a scheduler, KEDA's CRD and a custom kind that can be scaled."""
    options = ClusterOptions(
        hpa_sync_period=timedelta(seconds=0.5), hpa_downscale_stabilization=timedelta(0), scheduler=True, audited=True
    )
    async with Stack([Part.KUBERNETES], cluster=options) as stack:
        cluster = stack.kubernetes
        await cluster.install_custom_resources(CRDS)
        await cluster.install_keda()
        await cluster.apply([a_rollout_definition()], "rollouts")
        await cluster.kubectl("create", "namespace", NAMESPACE)
        yield cluster


@pytest.fixture
def kubectl(control_plane: Kubernetes) -> Kubectl:
    return Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, NAMESPACE)


@pytest.fixture
async def operator(
    control_plane: Kubernetes, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[OperatorProcess]:
    """Not started yet; the demand requires nine replicas, or 13 of a workload without an HPA."""
    kubeconfig = await operator_kubeconfig(control_plane, LEASE_NAMESPACE, ACCOUNT)
    certificate = control_plane.serving_certificate("external-metrics", LEASE_NAMESPACE)
    settings = {
        "DECISIONS_KEPT": "1",
        "VERIFICATION_PATIENCE": "10",
        "EXTERNAL_METRICS": "true",
        "EXTERNAL_METRICS_PORT": str(free_ports(1)[0]),
        "EXTERNAL_METRICS_CERTIFICATE": str(certificate.certificate),
        "EXTERNAL_METRICS_KEY": str(certificate.key),
    }
    clock = ReplayClock(NOON, monotonic(), 30)
    await record_steady_demand(migrated_database_url, clock, "shop", 880.0, timedelta(hours=8))
    process = OperatorProcess(kubeconfig, migrated_database_url, clock, tmp_path, settings)
    yield process
    if process.is_running:
        await process.kill()


def a_policy(name: str, **spec: Any) -> Manifest:
    fields: dict[str, Any] = {"demand": DEMAND, "scaleUp": {"maxStep": 100, "period": "1m"}}
    policy = a_scaling_policy(name, **fields | spec)
    policy["metadata"]["labels"] = {"policy": name}
    return policy


async def raise_an_autoscaler(operator: OperatorProcess, kubectl: Kubectl) -> None:
    """An operator that is killed between decision and write, and another one; then a second decision."""
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2), a_policy("checkout"))
    assert await operator.wait_for_exit() == -9
    await operator.start_after_crash(kubectl)
    await wait_for_minimum(kubectl, 9, seconds=60)
    await kubectl.apply(a_policy("checkout", maximum=5))
    await wait_for_minimum(kubectl, 5, seconds=60)


async def raise_pods_that_no_node_takes(kubectl: Kubectl) -> None:
    """A raise whose replicas are late, so that the operator looks for the cause."""
    deployment, autoscaler = a_pooled_deployment("waiting", "none"), an_autoscaler("waiting", minimum=2)
    await kubectl.apply(deployment, autoscaler, a_policy("waiting", forecast={"leadTime": "1m"}))
    await eventually(lambda: get_minimum(kubectl, "waiting"), lambda minimum: minimum == 9, seconds=90)


async def scale_workloads(kubectl: Kubectl) -> None:
    """Workloads without an HPA: a Deployment, a StatefulSet and a custom resource; their policies are deleted."""
    kinds = (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("example.com/v1alpha1", "Rollout"))
    workloads = (
        a_deployment("deployment", replicas=2),
        a_stateful_set("statefulset", replicas=2),
        a_rollout("rollout"),
    )
    await kubectl.apply(*workloads)
    for api_version, kind in kinds:
        target = {"workload": {"apiVersion": api_version, "kind": kind, "name": kind.lower()}}
        await kubectl.apply(a_policy(kind.lower(), target=target))
    await asyncio.gather(*(take_over_and_give_up(kubectl, kind.lower()) for _, kind in kinds))


async def raise_a_scaled_object(kubectl: Kubectl) -> None:
    """A ScaledObject without an HPA of KEDA; its policy is deleted."""
    target = {"scaledObject": {"name": "queue"}}
    await kubectl.apply(a_deployment("queue"), a_scaled_object("queue"), a_policy("queue", target=target))
    await take_over_and_give_up(kubectl, "queue")


async def take_over_and_give_up(kubectl: Kubectl, policy: str) -> None:
    """Wait until the target of a policy has been raised, then delete the policy."""
    await eventually(lambda: get_status(kubectl, policy), lambda status: bool(status.get("lastDecision")), seconds=90)
    await kubectl("delete", "sp", policy)


async def expire_a_backtest(kubectl: Kubectl) -> None:
    """A backtest that fails, and is deleted at once."""
    spec = {"policy": "nobody", "ttlSecondsAfterFinished": 0}
    backtest = {"apiVersion": API_VERSION, "kind": "ScalingBacktest", "metadata": {"name": "old"}, "spec": spec}
    await kubectl.apply(backtest)
    await eventually(lambda: kubectl.items("sb"), lambda left: not left, seconds=90)


async def reserve_headroom(cluster: Kubernetes, operator: OperatorProcess, kubectl: Kubectl) -> None:
    """Placeholders, then a CapacityBuffer in their place once the cluster serves it, which changes and goes."""
    start = operator.clock.now() + timedelta(hours=5)
    times = {"start": start.isoformat(), "end": (start + timedelta(hours=3)).isoformat()}

    def a_sale(replicas: int) -> Manifest:
        policies = {"matchLabels": {"policy": "sale"}}
        return a_business_event("sale", **times, policies=policies, expect={"minReplicas": replicas})

    headroom = {"leadTime": "6h"}
    demand = DEMAND | {"service": "idle"}
    await kubectl.apply(a_deployment("sale"), an_autoscaler("sale", minimum=2), a_sale(7))
    await kubectl.apply(a_policy("sale", nodeHeadroom=headroom, demand=demand))

    async def reserved() -> tuple[set[str], list[int]]:
        """Return the placeholders, and the replicas of the buffers."""
        buffers = json.loads(await kubectl("get", "capacitybuffers", "-o", "json"))["items"]
        return await placeholders(kubectl), [buffer["spec"]["replicas"] for buffer in buffers]

    await eventually(lambda: placeholders(kubectl), lambda names: names == {"sale-headroom"}, seconds=90)
    await cluster.install_capacity_buffers()
    await eventually(reserved, lambda state: state == (set(), [5]), seconds=90)
    await kubectl.apply(a_sale(8))
    await eventually(reserved, lambda state: state == (set(), [6]), seconds=90)
    # The operator removes the buffer of a policy that reserves nothing; that of a deleted one may be collected first.
    await kubectl.apply(a_policy("sale", demand=demand))
    await eventually(reserved, lambda state: state == (set(), []), seconds=90)
    await kubectl("delete", "sp", "sale")


async def placeholders(kubectl: Kubectl) -> set[str]:
    """Return the names of the Deployments that reserve capacity."""
    return {
        name for body in await kubectl.items("deployments") if (name := body["metadata"]["name"]).endswith("-headroom")
    }


async def compare_with_the_cluster(operator: OperatorProcess) -> None:
    """What the operator does with objects that no watch showed; here none was shown."""
    async with connected(operator.kubeconfig) as client:
        await IndexComparison(client, InformerCache(client)).compare()


@pytest.mark.timeout(1200)
async def test_every_right_is_used_and_no_other_is_requested(
    control_plane: Kubernetes, operator: OperatorProcess, kubectl: Kubectl
) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "rollouts"}}
    await control_plane.apply([role | {"rules": [SCALABLE]}], "scalable-kinds")
    subject = f"--serviceaccount={LEASE_NAMESPACE}:{ACCOUNT}"
    await control_plane.kubectl("create", "clusterrolebinding", "rollouts", "--clusterrole=rollouts", subject)
    await operator.start(PREDICTIVE_SCALING_FAULT="operator.after_intent")
    await raise_an_autoscaler(operator, kubectl)
    await asyncio.gather(
        raise_pods_that_no_node_takes(kubectl),
        scale_workloads(kubectl),
        raise_a_scaled_object(kubectl),
        expire_a_backtest(kubectl),
        reserve_headroom(control_plane, operator, kubectl),
    )
    await kubectl.apply(a_scaled_object("unseen"), a_stateful_set("unseen", replicas=1))
    await compare_with_the_cluster(operator)
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl) == 2

    log = AuditLog(control_plane.audit_log)
    granted = {right._replace(name="") for right in rights([*(rule.to_manifest() for rule in OPERATOR), SCALABLE])}

    async def unused() -> set[Right]:
        return granted - log.used_rights(USER)

    assert await eventually(unused, lambda left: not left, seconds=60) == set()
    assert log.used_rights(USER) - granted == BASIC
    assert [request for request in log.requests() if request.status == 403] == []
    assert {request.right.name for request in log.requests() if request.right.resource == "configmaps"} == {
        "extension-apiserver-authentication"
    }
