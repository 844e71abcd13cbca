"""Policies on workloads without an HPA, on a real control plane with recorded demand and a fast clock."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.demand import end_demand, record_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import Manifest, a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import (
    get_status,
    record_steady_demand,
    wait_for_condition,
    wait_for_raise,
)
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "31-invoices.yaml"
AT_ONCE = {"scaleUp": {"maxStep": "1000%"}, "scaleDown": {"maxStep": "100%", "stabilizationWindow": "1m"}}


@pytest.fixture
async def service(operator: OperatorProcess, namespace: str, kubectl: Kubectl) -> str:
    """A Deployment with two replicas and no HPA; its demand is 880 for twelve hours: 13 replicas at 70 % of 100."""
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=12))
    await kubectl.apply(a_deployment("checkout", replicas=2))
    return namespace


def a_policy(service: str, **spec: Any) -> Manifest:
    target = {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}
    demand = {"service": service, "metric": "requests_per_second", "perReplica": "100"}
    fields: dict[str, Any] = AT_ONCE | {"target": target, "demand": demand} | spec
    return a_scaling_policy(**fields)


async def get_replicas(kubectl: Kubectl) -> int:
    return (await kubectl.get("deployment", "checkout"))["spec"]["replicas"]


async def wait_for_replicas(kubectl: Kubectl, replicas: int, seconds: float = 40) -> None:
    await eventually(lambda: get_replicas(kubectl), lambda count: count == replicas, seconds)


async def test_a_deployment_is_scaled_to_its_demand_and_the_replicas_are_verified(
    service: str, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_policy(service))
    await wait_for_replicas(kubectl, 13)
    newest = (await wait_for_raise(kubectl, 13))["spec"]
    assert (newest["to"], newest["source"], newest["reason"]) == (13, "Reactive", "DemandRose")
    assert "880 requests_per_second requires 13 replicas at 70 % of 100 per replica" in newest["message"]
    status = await get_status(kubectl)
    assert (status["target"], status["takeover"]["originalMinimum"]) == ("deployment/checkout", 2)
    await wait_for_condition(kubectl, "Verified", "True")
    await wait_for_condition(kubectl, "Conflict", "False")


async def test_an_event_scales_a_deployment_before_it_starts(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    # The lead time is two minutes of the test's time.
    await kubectl.apply(a_policy(service, forecast={"leadTime": "2h", "horizon": "6h"}))
    await wait_for_replicas(kubectl, 13)
    start = operator.clock.now() + timedelta(hours=2, minutes=15)

    async def apply_event(end: datetime) -> None:
        times = {"start": start.isoformat(), "end": end.isoformat()}
        await kubectl.apply(a_business_event("sale", **times, rampUp="5m", expect={"multiplier": "3"}))

    await apply_event(start + timedelta(hours=12))
    await wait_for_replicas(kubectl, 27, seconds=60)
    assert operator.clock.now() < start
    # The event is moved, so that it ends soon.
    start = operator.clock.now()
    end = start + timedelta(minutes=10)
    await apply_event(end)
    await wait_for_replicas(kubectl, 13, seconds=60)
    assert operator.clock.now() >= end


async def test_a_deployment_follows_demand_that_nobody_forecast_up_and_down(
    operator: OperatorProcess, namespace: str, kubectl: Kubectl
) -> None:
    def usual(at: datetime) -> float:
        return 800.0 + at.minute % 7

    def surge(at: datetime) -> float:
        del at
        return 1800.0

    async def change(demand: Callable[[datetime], float]) -> None:
        soon = operator.clock.now() + timedelta(minutes=1)
        await end_demand(url, namespace, soon)
        await record_demand(url, namespace, soon, soon + timedelta(hours=12), demand)

    now, url = operator.clock.now(), operator.database_url
    recent = now - timedelta(hours=1)
    await record_demand(url, namespace, now - timedelta(days=8), recent, usual, interval=timedelta(minutes=5))
    await record_demand(url, namespace, recent, now + timedelta(hours=12), usual)
    await kubectl.apply(a_deployment("checkout", replicas=2), a_policy(namespace))
    await wait_for_replicas(kubectl, 12)
    await change(surge)
    await wait_for_replicas(kubectl, 26, seconds=60)
    await change(usual)
    await eventually(lambda: get_replicas(kubectl), lambda count: count <= 13, seconds=90)


async def test_kubectl_scale_is_a_conflict_and_is_not_overwritten(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_policy(service))
    await wait_for_replicas(kubectl, 13)
    await kubectl("scale", "deployment", "checkout", "--replicas=3")
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter")
    assert "kubectl set replicas to 3" in conflict["message"]
    await operator.wait_for_ticks(8)
    assert await get_replicas(kubectl) == 3
    await kubectl("annotate", "sp", "checkout", "predictive-scaling.io/resume=now")
    await wait_for_replicas(kubectl, 13)
    await wait_for_condition(kubectl, "Conflict", "False")


async def test_a_deployment_scaled_to_zero_by_a_person_stays_at_zero(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_policy(service))
    await wait_for_replicas(kubectl, 13)
    await kubectl("scale", "deployment", "checkout", "--replicas=0")
    await wait_for_condition(kubectl, "Paused", "True", "TargetScaledToZero")
    await operator.wait_for_ticks(8)
    assert await get_replicas(kubectl) == 0


async def test_a_deployment_with_an_hpa_is_left_to_the_hpa(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    await kubectl.apply(an_autoscaler("checkout", minimum=2), a_policy(service))
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "TargetManagedByAutoscaler")
    assert "use target.horizontalPodAutoscaler checkout" in conflict["message"]
    await operator.wait_for_ticks(4)
    assert await get_replicas(kubectl) == 2


async def test_a_deleted_policy_leaves_the_replicas_that_demand_needs(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy(service, replicas={"min": 20, "max": 40}))
    await wait_for_replicas(kubectl, 20)
    # Without demand, as in the first moments of a policy, all replicas would be kept.
    await wait_for_condition(kubectl, "MetricsFresh", "True")
    await kubectl("delete", "sp", "checkout")
    assert await get_replicas(kubectl) == 13
    managers = (await kubectl("get", "deployment", "checkout", "-o", "yaml", "--show-managed-fields")).split()
    assert "predictive-scaling" not in managers


async def test_a_kind_that_the_api_server_does_not_have_stalls_the_policy(service: str, kubectl: Kubectl) -> None:
    target = {"workload": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "checkout"}}
    await kubectl.apply(a_policy(service, target=target))
    stalled = await wait_for_condition(kubectl, "Stalled", "True", "TargetUnsupported")
    assert "install the CustomResourceDefinition" in stalled["message"]
    await wait_for_condition(kubectl, "Ready", "False")


async def test_the_example_of_a_workload_is_scaled(operator: OperatorProcess, namespace: str, kubectl: Kubectl) -> None:
    await record_steady_demand(operator.database_url, operator.clock, "invoices", 300.0, timedelta(hours=12))
    bodies = list(yaml.safe_load_all(EXAMPLE.read_text()))
    for body in bodies:
        body["metadata"]["namespace"] = namespace
    await kubectl.apply(*bodies)

    async def replicas() -> int:
        return (await kubectl.get("deployment", "invoices"))["spec"]["replicas"]

    await eventually(replicas, lambda count: count == 10, seconds=60)
