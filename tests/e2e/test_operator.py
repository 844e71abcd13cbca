"""The operator as a user of kubectl sees it, on a real control plane with recorded demand and a fast clock."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, KubectlError, create_quota
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import (
    get_condition,
    get_decisions,
    get_minimum,
    get_phases,
    get_status,
    record_steady_demand,
    wait_for_condition,
    wait_for_event,
    wait_for_minimum,
    wait_for_raise,
)
from tests.support.operator_process import OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]


@pytest.fixture
async def service(operator: OperatorProcess, namespace: str) -> str:
    """A service with a demand of 880 now and for the next twelve hours: nine replicas at 100 per replica."""
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=12))
    return namespace


def demand_of(service: str) -> dict[str, str]:
    return {"service": service, "metric": "requests_per_second", "perReplica": "100"}


async def test_auto_raises_the_minimum_to_the_forecast_and_verifies_it(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_policy(demand=demand_of(service)))
    await kubectl("wait", "--for=condition=Ready", "sp/checkout")
    await wait_for_minimum(kubectl, 9)
    newest = await wait_for_raise(kubectl, 9)
    assert newest["spec"]["reason"] == "ForecastRose"
    assert "880 requests_per_second" in newest["spec"]["message"]
    assert newest["metadata"]["ownerReferences"][0]["name"] == "checkout"
    status = await eventually(lambda: get_status(kubectl), lambda status: status.get("floor") == 9)
    assert (status["source"], status["takeover"]["originalMinimum"]) == ("Forecast", 2)
    await wait_for_condition(kubectl, "Verified", "True")
    await wait_for_event(kubectl, "FloorRaised")
    assert "9" in await kubectl("get", "sp", "checkout")


async def test_recommend_records_a_decision_and_does_not_write_the_target(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_policy(mode="Recommend", demand=demand_of(service)))
    await eventually(lambda: get_status(kubectl), lambda status: status.get("floor") == 9, seconds=40)
    await eventually(lambda: get_phases(kubectl), lambda phases: set(phases) == {"Recommended"})
    assert await get_minimum(kubectl) == 2
    assert "finalizers" not in (await kubectl.get("sp", "checkout"))["metadata"]


async def test_recommend_accounts_for_what_auto_would_have_done(service: str, kubectl: Kubectl) -> None:
    """The demand of 880 needs nine replicas; the HPA has two, which are short all the time."""
    await kubectl.apply(a_scaling_policy(mode="Recommend", demand=demand_of(service)))

    def account_of(status: dict[str, Any]) -> dict[str, float]:
        shadow = status.get("shadow", {})
        return {name: float(value) for name, value in shadow.items() if name.startswith(("min", "rep"))}

    def has_nine(status: dict[str, Any]) -> bool:
        account = account_of(status)
        return account.get("minutesShortAvoided", 0) > 0 and account["replicaHoursAdded"] > account["replicaHours"]

    # The first account may end before Auto would have nine replicas, ready.
    status = await eventually(lambda: get_status(kubectl), has_nine, seconds=120)
    account = account_of(status)
    assert account["minutesShort"] == pytest.approx(60 * float(status["shadow"]["coveredHours"]), abs=4)
    assert account["minutesShort"] > account["minutesShortAvoided"]
    assert account["replicaHours"] > 0
    assert status["shadow"]["decisions"] >= 1
    assert await get_minimum(kubectl) == 2
    assert "HOURS ADDED" in await kubectl("get", "sp", "checkout", "-o", "wide")


async def test_deleting_the_policy_restores_the_minimum_and_releases_the_field(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_policy(demand=demand_of(service)))
    await wait_for_minimum(kubectl, 9)
    await kubectl("delete", "sp", "checkout")
    autoscaler = await kubectl.get("hpa", "checkout")
    assert autoscaler["spec"]["minReplicas"] == 2
    managers = (await kubectl("get", "hpa", "checkout", "-o", "yaml", "--show-managed-fields")).split()
    assert "predictive-scaling" not in managers


@pytest.mark.parametrize("mode", ["Off", "Recommend"])
async def test_leaving_auto_restores_the_minimum(service: str, kubectl: Kubectl, mode: str) -> None:
    await kubectl.apply(a_scaling_policy(demand=demand_of(service)))
    await wait_for_minimum(kubectl, 9)
    await kubectl.apply(a_scaling_policy(mode=mode, demand=demand_of(service)))
    await wait_for_minimum(kubectl, 2)
    await wait_for_condition(kubectl, "ScalingActive", "False", mode)
    await eventually(lambda: kubectl.get("sp", "checkout"), lambda policy: "finalizers" not in policy["metadata"])


async def test_a_kubectl_apply_of_the_minimum_is_a_conflict_and_is_not_overwritten(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_scaling_policy(demand=demand_of(service)))
    await wait_for_minimum(kubectl, 9)
    await kubectl.apply(an_autoscaler("checkout", minimum=3, maximum=40))
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter")
    assert "kubectl-client-side-apply" in conflict["message"]
    await operator.wait_for_ticks(8)
    assert await get_minimum(kubectl) == 3

    await kubectl("annotate", "sp", "checkout", "predictive-scaling.io/resume=now")
    await wait_for_minimum(kubectl, 9)
    await wait_for_condition(kubectl, "Conflict", "False")
    assert (await get_status(kubectl))["takeover"]["originalMinimum"] == 3


async def test_applying_a_manifest_without_the_minimum_keeps_the_floor(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_deployment("orders"), an_autoscaler("orders", minimum=None, maximum=40))
    policy = a_scaling_policy(target={"horizontalPodAutoscaler": {"name": "orders"}}, demand=demand_of(service))
    await kubectl.apply(policy)
    await eventually(lambda: get_minimum(kubectl, "orders"), lambda floor: floor == 9, seconds=40)
    await kubectl.apply(an_autoscaler("orders", minimum=None, maximum=41))
    await operator.wait_for_ticks(4)
    assert await get_minimum(kubectl, "orders") == 9
    assert (await get_condition(kubectl, "Conflict"))["status"] == "False"


async def test_the_older_of_two_policies_owns_the_target(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_policy(demand=demand_of(service)))
    await wait_for_minimum(kubectl, 9)
    newer = a_scaling_policy(
        "newer", demand=demand_of(service), target={"horizontalPodAutoscaler": {"name": "checkout"}}
    )
    await kubectl.apply(newer)
    condition = await eventually(
        lambda: get_condition(kubectl, "Conflict", "newer"),
        lambda condition: condition.get("status") == "True",
        seconds=30,
    )
    assert condition["reason"] == "TargetHeldByPolicy"
    assert "checkout" in condition["message"]


async def test_a_policy_waits_for_a_target_that_does_not_exist_yet(service: str, kubectl: Kubectl) -> None:
    policy = a_scaling_policy("early", demand=demand_of(service))
    await kubectl.apply(policy)
    condition = await eventually(
        lambda: get_condition(kubectl, "Ready", "early"),
        lambda condition: condition.get("status") == "False",
        seconds=30,
    )
    assert condition["reason"] == "TargetNotFound"
    assert 'horizontalpodautoscalers "early" not found' in condition["message"]
    await kubectl.apply(a_deployment("early"), an_autoscaler("early"))
    await kubectl("wait", "--for=condition=Ready", "sp/early")


async def test_a_recreated_hpa_is_taken_over_again(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_policy(demand=demand_of(service)))
    await wait_for_minimum(kubectl, 9)
    await kubectl("delete", "hpa", "checkout")
    await wait_for_condition(kubectl, "Ready", "False", "TargetNotFound")
    await kubectl.apply(an_autoscaler("checkout", minimum=4, maximum=40))
    await wait_for_minimum(kubectl, 9)
    assert (await get_status(kubectl))["takeover"]["originalMinimum"] == 4


async def test_an_event_raises_the_floor_a_lead_time_and_a_ramp_before_its_start(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    # The lead time is two minutes of the test's time.
    forecast = {"leadTime": "2h", "horizon": "6h"}
    await kubectl.apply(a_scaling_policy(demand=demand_of(service), forecast=forecast))
    await wait_for_minimum(kubectl, 9)
    start = operator.clock.now() + timedelta(hours=2, minutes=15)

    async def apply_event() -> None:
        times = {"start": start.isoformat(), "end": (start + timedelta(hours=6)).isoformat()}
        await kubectl.apply(a_business_event("sale", **times, rampUp="5m", expect={"multiplier": "2"}))

    await apply_event()
    await wait_for_minimum(kubectl, 18, seconds=60)
    assert operator.clock.now() < start
    newest = (await get_decisions(kubectl))[-1]["spec"]
    assert (newest["source"], newest["event"]) == ("Event", "sale")
    # The event is moved, so that it begins now.
    start = operator.clock.now()
    await apply_event()
    event = await eventually(
        lambda: kubectl.get("be", "sale"),
        lambda event: event.get("status", {}).get("phase") == "Active",
        seconds=60,
    )
    assert event["status"]["matchedPolicies"] == 1


async def test_prices_determine_the_quantile_and_the_status_advises_on_the_hpa_target(
    service: str, kubectl: Kubectl
) -> None:
    prices = {"underProvisionedMinute": "1", "replicaHour": "0.5"}
    await kubectl.apply(a_scaling_policy(demand=demand_of(service), forecast={"objective": prices}))
    status = await eventually(lambda: get_status(kubectl), lambda status: "advice" in status, seconds=60)
    advice = status["advice"]
    quantile = f"p{100 * float(advice['quantile']):g}"
    for fragment in (quantile, "underProvisionedMinute 1", "replicaHour 0.5", "80 %"):
        assert fragment in advice["message"]
    assert 80 < advice["targetUtilization"] <= 95
    assert float(advice["replicaHoursSaved"]) > 0
    assert "replicaHour 0.5" in await kubectl("get", "sp", "checkout", "-o", "yaml")
    await wait_for_event(kubectl, "QuantileTuned")
    autoscaler = await kubectl.get("hpa", "checkout")
    assert autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80


async def test_a_paused_policy_keeps_the_floor_until_it_is_resumed(
    operator: OperatorProcess, service: str, kubectl: Kubectl
) -> None:
    policy = a_scaling_policy(demand=demand_of(service))
    policy["metadata"]["annotations"] = {"predictive-scaling.io/paused": "true"}
    await kubectl.apply(policy)
    await wait_for_condition(kubectl, "Paused", "True")
    await operator.wait_for_ticks(6)
    assert await get_minimum(kubectl) == 2
    await kubectl("annotate", "sp", "checkout", "predictive-scaling.io/paused-")
    await wait_for_minimum(kubectl, 9)


async def test_a_raise_that_exceeds_a_quota_fails_and_names_the_quota(service: str, kubectl: Kubectl) -> None:
    await create_quota(kubectl, "few", pods=5)
    # A short lead time, because the verification deadline is a multiple of it.
    await kubectl.apply(a_scaling_policy(demand=demand_of(service), forecast={"leadTime": "20s"}))
    await wait_for_minimum(kubectl, 9)
    failed = await wait_for_condition(kubectl, "Verified", "False", "Quota", seconds=60)
    assert "exceeded quota: few" in failed["message"]
    assert await get_minimum(kubectl) == 9
    await wait_for_event(kubectl, "VerificationFailed")


async def test_an_hpa_of_a_scaled_object_is_not_taken_over_from_keda(kubectl: Kubectl, service: str) -> None:
    autoscaler = an_autoscaler("queue")
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": "1", "controller": True}
    autoscaler["metadata"]["ownerReferences"] = [owner]
    await kubectl.apply(a_deployment("queue"), autoscaler)
    policy = a_scaling_policy(target={"horizontalPodAutoscaler": {"name": "queue"}}, demand=demand_of(service))
    await kubectl.apply(policy)
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "TargetManagedByKeda")
    assert "target.scaledObject" in conflict["message"] or "scaledObject" in conflict["message"]


async def test_the_spec_of_a_decision_is_immutable(service: str, kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_policy(mode="Recommend", demand=demand_of(service)))
    decisions = await eventually(lambda: get_decisions(kubectl), lambda decisions: bool(decisions), seconds=30)
    patch = '{"spec": {"to": 30}}'
    with pytest.raises(KubectlError, match="cannot be changed"):
        await kubectl("patch", "sd", decisions[0]["metadata"]["name"], "--type=merge", "-p", patch)
