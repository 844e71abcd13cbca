"""Policies on KEDA's ScaledObjects on a real API server with KEDA's CRD; the tests create KEDA's HPA as KEDA does."""

from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.cluster.scaled_object_record import PAUSED
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, a_scaled_object, a_scaling_policy, an_autoscaler_of_keda
from tests.support.observing import get_status, record_steady_demand, wait_for_condition, wait_for_raise
from tests.support.operator_process import OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("keda")]


@pytest.fixture
async def policy(operator: OperatorProcess, namespace: str) -> dict[str, Any]:
    """A policy of ScaledObject `checkout` with a demand of 880: nine replicas at 100 per replica."""
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=12))
    demand = {"service": namespace, "metric": "requests_per_second", "perReplica": "100"}
    return a_scaling_policy(target={"scaledObject": {"name": "checkout"}}, demand=demand)


async def get_minimum_count(kubectl: Kubectl) -> int | None:
    """Return minReplicaCount; None if it is not set."""
    return (await kubectl.get("scaledobject", "checkout"))["spec"].get("minReplicaCount")


async def wait_for_minimum_count(kubectl: Kubectl, minimum: int | None, seconds: float = 40) -> None:
    await eventually(lambda: get_minimum_count(kubectl), lambda count: count == minimum, seconds)


async def reconcile_as_keda(kubectl: Kubectl) -> None:
    """Copy minimum and maximum of the ScaledObject to its HPA."""
    await kubectl.apply(an_autoscaler_of_keda(await kubectl.get("scaledobject", "checkout")))


async def test_auto_raises_the_minimum_verifies_it_and_restores_it(kubectl: Kubectl, policy: dict[str, Any]) -> None:
    await kubectl.apply(a_deployment("checkout"), a_scaled_object("checkout", minimum=2))
    await reconcile_as_keda(kubectl)
    await kubectl.apply(policy)
    await wait_for_minimum_count(kubectl, 9)
    await reconcile_as_keda(kubectl)
    # Verified is True after each step of the raise.
    status = await eventually(lambda: get_status(kubectl), lambda status: status.get("readyReplicas") == 9, seconds=60)
    await wait_for_condition(kubectl, "Verified", "True", seconds=60)
    assert (status["target"], status["floor"]) == ("scaledobject/checkout", 9)
    assert status["takeover"]["originalMinimum"] == 2
    assert (await kubectl.get("hpa", "keda-hpa-checkout"))["spec"]["minReplicas"] == 9
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum_count(kubectl) == 2
    managed = await kubectl("get", "scaledobject", "checkout", "-o", "yaml", "--show-managed-fields")
    assert "predictive-scaling" not in managed.split()


async def test_a_minimum_that_was_not_set_is_removed_on_deletion(kubectl: Kubectl, policy: dict[str, Any]) -> None:
    await kubectl.apply(a_deployment("checkout"), a_scaled_object("checkout", minimum=None))
    await kubectl.apply(policy)
    await wait_for_minimum_count(kubectl, 9)
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum_count(kubectl) is None


async def test_a_raise_of_an_idle_object_succeeds_without_replicas(kubectl: Kubectl, policy: dict[str, Any]) -> None:
    idle = a_scaled_object("checkout", minimum=1, idleReplicaCount=0)
    await kubectl.apply(a_deployment("checkout", replicas=0), idle)
    await kubectl.apply(policy)
    await wait_for_minimum_count(kubectl, 9)
    await wait_for_raise(kubectl, 9)
    verified = await wait_for_condition(kubectl, "Verified", "True")
    assert "idle" in verified["message"]
    assert (await get_status(kubectl))["currentReplicas"] == 0


async def test_a_paused_object_pauses_the_policy(
    operator: OperatorProcess, kubectl: Kubectl, policy: dict[str, Any]
) -> None:
    await kubectl.apply(a_deployment("checkout"), a_scaled_object("checkout", annotations={PAUSED: "true"}))
    await kubectl.apply(policy)
    paused = await wait_for_condition(kubectl, "Paused", "True", "TargetPaused")
    assert PAUSED in paused["message"]
    await operator.wait_for_ticks(4)
    assert await get_minimum_count(kubectl) == 2
    await kubectl("annotate", "scaledobject", "checkout", f"{PAUSED}-")
    await wait_for_minimum_count(kubectl, 9)
    await wait_for_condition(kubectl, "Paused", "False")


async def test_a_foreign_write_is_a_conflict(kubectl: Kubectl, policy: dict[str, Any]) -> None:
    await kubectl.apply(a_deployment("checkout"), a_scaled_object("checkout"), policy)
    await wait_for_minimum_count(kubectl, 9)
    await kubectl.apply(a_scaled_object("checkout", minimum=3))
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter")
    assert "kubectl-client-side-apply" in conflict["message"]
    assert await get_minimum_count(kubectl) == 3


async def test_a_missing_workload_is_named_and_awaited(kubectl: Kubectl, policy: dict[str, Any]) -> None:
    await kubectl.apply(a_scaled_object("checkout"), policy)
    ready = await wait_for_condition(kubectl, "Ready", "False", "TargetNotFound")
    assert "Deployment checkout" in ready["message"]
    await kubectl.apply(a_deployment("checkout"))
    await wait_for_minimum_count(kubectl, 9)
    await wait_for_condition(kubectl, "Ready", "True")


async def test_a_cluster_without_keda_is_reported_until_keda_is_installed(
    cluster: Kubernetes, operator: OperatorProcess, kubectl: Kubectl, policy: dict[str, Any]
) -> None:
    await kubectl("delete", "crd", "scaledobjects.keda.sh")
    await kubectl.apply(a_deployment("checkout"), policy)
    ready = await wait_for_condition(kubectl, "Ready", "False", "KedaNotInstalled")
    assert "install KEDA" in ready["message"]
    await operator.wait_for_ticks(2)
    assert operator.is_running
    await cluster.install_keda()
    await kubectl.apply(a_scaled_object("checkout"))
    await wait_for_minimum_count(kubectl, 9, seconds=60)
    await wait_for_condition(kubectl, "Ready", "True")
