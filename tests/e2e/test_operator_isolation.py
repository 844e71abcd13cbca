"""Invalid objects in one namespace do not affect the policies of another."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.api_process import PLAIN_HTTP
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, new_namespace
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import get_condition, record_steady_demand, wait_for_condition, wait_for_minimum
from tests.support.operator_process import NOON, OperatorProcess, kubeconfig_of_cluster_role

pytestmark = pytest.mark.e2e

HOURLY = {"timezone": "UTC", "start": "00:00", "duration": "5m"}


def recurring(name: str, rrule: str, **spec: Any) -> dict[str, Any]:
    return a_business_event(name, type=name, recurrence=HOURLY | {"rrule": rrule} | spec)


STALLED = {
    "never": recurring("never", "FREQ=MONTHLY;BYDAY=5FR;BYMONTHDAY=1"),
    "no-such-day": recurring("no-such-day", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", **{"from": "1970-01-01"}),
    "no-such-until": recurring("no-such-until", "FREQ=DAILY;UNTIL=20260230T120000Z"),
    "over": recurring("over", "FREQ=DAILY;UNTIL=19700101T000000Z", **{"from": "1990-01-01"}),
    "unreached": recurring("unreached", "FREQ=HOURLY;INTERVAL=12;BYHOUR=17"),
    "counted": recurring("counted", "FREQ=DAILY;BYMONTH=6;COUNT=10000", **{"from": "1970-01-01"}),
    "overlapping": recurring("overlapping", "FREQ=HOURLY", duration="25h"),
    "nowhere": recurring("nowhere", "FREQ=DAILY", timezone="Mars/Olympus"),
}
"""Events that the API server accepts and the operator does not."""
EDGES = [
    a_business_event("last", start="2199-12-31T00:00:00Z", end="2199-12-31T23:59:59Z", rampDown="24h", type="last"),
    a_business_event("first", start="1970-01-01T00:00:00Z", end="1970-01-01T00:00:01Z", rampUp="24h", type="first"),
    a_business_event("all-time", start="1970-01-01T00:00:00Z", end="2199-12-31T23:59:59Z", type="all-time"),
    recurring("hourly", "FREQ=HOURLY", **{"from": "1970-01-01", "duration": "24h"}),
    recurring("rare", "FREQ=YEARLY;INTERVAL=999"),
    recurring("last-day", "FREQ=DAILY", **{"from": "2199-12-31"}),
    recurring("listed", "FREQ=HOURLY;BYHOUR=" + ",".join(str(hour % 24) for hour in range(80))),
]
ODD_ANNOTATIONS = {
    f"predictive-scaling.io/{name}": value
    for name in ("pin", "resume", "freeze-until", "direction", "paused", "unknown")
    for value in ("\ufffd\u202e 9999-12-31T23:59:59Z " + "x" * 4000,)
}


def odd_policies() -> list[dict[str, Any]]:
    odd = [
        a_scaling_policy("no-target"),
        a_scaling_policy("no-kind", target={"workload": {"apiVersion": "example.com/v1", "kind": "Gone", "name": "x"}}),
        a_scaling_policy("no-zone", forecast={"timezone": "Mars/Olympus"}),
        a_scaling_policy("no-holidays", forecast={"holidays": "XX"}),
        a_scaling_policy("first-of-two", target={"horizontalPodAutoscaler": {"name": "odd"}}),
        a_scaling_policy("second-of-two", target={"horizontalPodAutoscaler": {"name": "odd"}}),
    ]
    for policy in odd:
        policy["metadata"] |= {"annotations": ODD_ANNOTATIONS, "labels": {"tier": "", "a.b/c": "x" * 63}}
    return odd


def odd_autoscaler() -> dict[str, Any]:
    autoscaler = an_autoscaler("odd", minimum=1, maximum=2)
    target = {"type": "AverageValue", "averageValue": "9223372036854775807"}
    external = {"metric": {"name": "x", "selector": {"matchLabels": {"y": "z"}}}, "target": target}
    described = {"apiVersion": "v1", "kind": "Service", "name": "x"}
    autoscaler["spec"]["metrics"] = [
        {"type": "External", "external": external},
        {"type": "Object", "object": {"describedObject": described, "metric": {"name": "x"}, "target": target}},
        {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": target}},
        {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu",
                "container": "nobody",
                "target": {"type": "Utilization", "averageUtilization": 1},
            },
        },
    ]
    return autoscaler


@pytest.fixture
async def other_kubectl(cluster: Kubernetes, namespace: str) -> AsyncGenerator[Kubectl]:
    """kubectl in another namespace, which contains every kind of invalid object that the API server accepts."""
    async with new_namespace(cluster, f"{namespace}-invalid") as kubectl:
        await kubectl.apply(a_deployment("odd"), odd_autoscaler(), *odd_policies(), *STALLED.values(), *EDGES)
        yield kubectl


@pytest.fixture
async def operator(
    cluster: Kubernetes, namespace: str, other_kubectl: Kubectl, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[OperatorProcess]:
    """Not started yet; it has rights in both namespaces only."""
    clock = ReplayClock(NOON, monotonic(), 60)
    namespaces = [namespace, other_kubectl.namespace]
    kubeconfig = await kubeconfig_of_cluster_role(cluster, namespaces)
    settings = {"NAMESPACES": json.dumps(namespaces)}
    operator = OperatorProcess(kubeconfig, migrated_database_url, clock, tmp_path, settings)
    yield operator
    if operator.is_running:
        await operator.kill()
    assert not operator.missing_rights


async def test_invalid_objects_of_one_namespace_do_not_affect_another(
    operator: OperatorProcess, other_kubectl: Kubectl, namespace: str, kubectl: Kubectl
) -> None:
    demand = {"service": namespace, "metric": "requests_per_second", "perReplica": "100"}
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout"), a_scaling_policy(demand=demand))
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=6))
    await operator.start()
    await wait_for_minimum(kubectl, 9)
    await wait_for_condition(kubectl, "Ready", "True")

    async def reasons() -> dict[str, tuple[str, str]]:
        """Return the status and the reason of Stalled by event name."""
        reasons_by_event: dict[str, tuple[str, str]] = {}
        for event in await other_kubectl.items("businessevents"):
            conditions = {condition["type"]: condition for condition in event.get("status", {}).get("conditions", [])}
            stalled = conditions.get("Stalled", {})
            reasons_by_event[event["metadata"]["name"]] = stalled.get("status", ""), stalled.get("reason", "")
        return reasons_by_event

    expected = dict.fromkeys(STALLED, ("True", "InvalidRecurrence")) | {"nowhere": ("True", "InvalidTimezone")}
    expected |= {event["metadata"]["name"]: ("False", "Accepted") for event in EDGES}
    await eventually(reasons, lambda reasons_by_event: reasons_by_event == expected, seconds=60)
    await eventually(
        lambda: get_condition(other_kubectl, "Stalled", "no-zone"),
        lambda condition: condition.get("reason") == "InvalidTimezone",
    )
    async with httpx.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=120) as client:
        response = await client.get(f"http://127.0.0.1:{operator.port}/health/live")
    assert response.status_code == 200
    await kubectl("delete", "sp", "checkout")
    assert (await kubectl.get("hpa", "checkout"))["spec"]["minReplicas"] == 2
