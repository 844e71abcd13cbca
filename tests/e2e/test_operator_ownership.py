"""Ownership of minReplicas on a real API server: manifests that set or drop it, policies that hand it over."""

import json
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.cluster.field_ownership import DEFAULT_MINIMUM
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, a_scaling_policy, an_autoscaler
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
)
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
async def demand(operator: OperatorProcess, namespace: str) -> dict[str, str]:
    """A demand of 880 for the next twelve hours: nine replicas at 100 per replica."""
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=12))
    return {"service": namespace, "metric": "requests_per_second", "perReplica": "100"}


async def raise_minimum(kubectl: Kubectl, demand: dict[str, str], *, server_side: bool = False) -> None:
    """Apply an HPA whose manifest sets the minimum to 3, and a policy that raises it to 9."""
    manifest = an_autoscaler("checkout", minimum=3, maximum=40)
    if server_side:
        await kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
    else:
        await kubectl.apply(manifest)
    await kubectl.apply(a_deployment("checkout"), a_scaling_policy(demand=demand))
    await wait_for_minimum(kubectl, 9)


async def assert_raised_and_restored(kubectl: Kubectl) -> None:
    """The floor is kept without a conflict, and deleting the policy restores the manifest's minimum of 3."""
    await wait_for_minimum(kubectl, 9)
    # The status follows the write.
    await wait_for_condition(kubectl, "Conflict", "False")
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl) == 3


async def test_a_minimum_removed_from_the_manifest_is_written_again_at_once(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    await raise_minimum(kubectl, demand)
    await kubectl.apply(an_autoscaler("checkout", minimum=None, maximum=40))
    await eventually(
        lambda: get_decisions(kubectl),
        lambda decisions: changes_after_given_up_field(decisions) == [(1, 9)],
        seconds=30,
    )
    await operator.wait_for_ticks(2)
    await assert_raised_and_restored(kubectl)


def changes_after_given_up_field(decisions: list[dict[str, Any]]) -> list[tuple[int, int]]:
    specs = [decision["spec"] for decision in decisions]
    return [(spec["from"], spec["to"]) for spec in specs if spec["reason"] == "FieldGivenUp"]


async def test_set_last_applied_before_apply_never_lowers_the_minimum(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    await raise_minimum(kubectl, demand)
    manifest = json.dumps(an_autoscaler("checkout", minimum=None, maximum=41))
    await kubectl("apply", "set-last-applied", "-f", "/dev/stdin", stdin=manifest)
    await kubectl("apply", "-f", "-", stdin=manifest)
    await operator.wait_for_ticks(2)
    assert changes_after_given_up_field(await get_decisions(kubectl)) == []
    assert (await kubectl.get("hpa", "checkout"))["spec"]["maxReplicas"] == 41
    await assert_raised_and_restored(kubectl)


@pytest.mark.parametrize("created_server_side", [True, False])
async def test_a_server_side_apply_without_the_field_never_lowers_the_minimum(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str], created_server_side: bool
) -> None:
    await raise_minimum(kubectl, demand, server_side=created_server_side)
    manifest = json.dumps(an_autoscaler("checkout", minimum=None, maximum=41))
    await kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    await operator.wait_for_ticks(2)
    assert changes_after_given_up_field(await get_decisions(kubectl)) == []
    await assert_raised_and_restored(kubectl)


async def test_a_field_taken_by_force_and_dropped_ends_the_conflict(kubectl: Kubectl, demand: dict[str, str]) -> None:
    await raise_minimum(kubectl, demand, server_side=True)
    for minimum in (4, None):
        manifest = json.dumps(an_autoscaler("checkout", minimum=minimum, maximum=40))
        await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
        if minimum is not None:
            await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter")
            assert await get_minimum(kubectl) == minimum
    await wait_for_condition(kubectl, "Conflict", "False")
    await assert_raised_and_restored(kubectl)


async def test_a_maximum_lowered_below_the_floor_takes_the_floor_with_it(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    await raise_minimum(kubectl, demand)
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", '{"spec":{"maxReplicas":4}}')
    assert await get_minimum(kubectl) == 4
    limited = await wait_for_condition(kubectl, "ScalingLimited", "True", "TargetMaximum")
    assert "9" in limited["message"]
    await operator.wait_for_ticks(2)
    assert (await get_condition(kubectl, "Conflict"))["status"] == "False"
    assert "Failed" not in await get_phases(kubectl)
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", '{"spec":{"maxReplicas":40}}')
    await assert_raised_and_restored(kubectl)


async def test_a_minimum_of_one_in_a_manifest_is_a_conflict(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    await raise_minimum(kubectl, demand)
    await kubectl.apply(an_autoscaler("checkout", minimum=DEFAULT_MINIMUM, maximum=40))
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter")
    assert "kubectl-client-side-apply set the minimum to 1" in conflict["message"]
    await operator.wait_for_ticks(4)
    assert await get_minimum(kubectl) == DEFAULT_MINIMUM


async def test_a_minimum_of_zero_that_the_api_server_refuses_is_a_refused_write(
    operator: OperatorProcess, kubectl: Kubectl, demand: dict[str, str]
) -> None:
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=3, maximum=40))
    bounds = {"min": 0, "max": 40}
    fallback = {"behavior": "Static", "replicas": 0, "after": "1m"}
    without_demand = {**demand, "service": f"{demand['service']}-unseen"}
    await kubectl.apply(a_scaling_policy(demand=without_demand, replicas=bounds, fallback=fallback))
    ready = await wait_for_condition(kubectl, "Ready", "False", "Refused", seconds=60)
    assert "minReplicas 0" in ready["message"]
    assert "must be greater than or equal to 1" in ready["message"]
    assert "only with an Object or External metric" in ready["message"]
    status = await get_status(kubectl)
    assert status["floor"] == await get_minimum(kubectl) >= 1
    active = await get_condition(kubectl, "ScalingActive")
    assert active["message"].startswith(f"Hold {status['floor']}: ")
    await wait_for_event(kubectl, "WriteRefused")
    await kubectl.apply(a_scaling_policy(demand=without_demand, fallback=fallback | {"replicas": 1}))
    await wait_for_condition(kubectl, "Ready", "True")
    await wait_for_minimum(kubectl, 1)
    await kubectl("delete", "sp", "checkout")
    await operator.wait_for_ticks(1)
    assert await get_minimum(kubectl) == 3


async def test_the_takeover_is_handed_over_between_policies(kubectl: Kubectl, demand: dict[str, str]) -> None:
    await raise_minimum(kubectl, demand)
    await kubectl.apply(
        a_scaling_policy("next", demand=demand, target={"horizontalPodAutoscaler": {"name": "checkout"}})
    )
    await eventually(
        lambda: get_condition(kubectl, "Conflict", "next"),
        lambda condition: condition.get("status") == "True",
        seconds=30,
    )
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl) == 9
    # The original minimum is recorded before the policy that recorded it until now ceases to exist.
    assert (await get_status(kubectl, "next"))["takeover"]["originalMinimum"] == 3
    await eventually(
        lambda: get_condition(kubectl, "Conflict", "next"),
        lambda condition: condition.get("status") == "False",
        seconds=30,
    )
    await kubectl("delete", "sp", "next")
    assert await get_minimum(kubectl) == 3


async def test_a_retargeted_policy_restores_its_new_target_when_it_is_deleted(
    kubectl: Kubectl, demand: dict[str, str]
) -> None:
    await raise_minimum(kubectl, demand)
    await kubectl.apply(a_deployment("orders"), an_autoscaler("orders", minimum=4, maximum=40))
    target = {"horizontalPodAutoscaler": {"name": "orders"}}
    await kubectl.apply(a_scaling_policy(demand=demand, target=target))
    await eventually(lambda: get_minimum(kubectl, "orders"), lambda minimum: minimum > 4, seconds=40)
    await wait_for_minimum(kubectl, 3)
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl, "orders") == 4
