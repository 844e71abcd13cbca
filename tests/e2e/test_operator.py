"""The operator as a user with kubectl sees it: on a real control plane, with recorded demand, on a fast clock."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.demand import record_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, a_scaling_policy, an_autoscaler
from tests.support.operator_process import OperatorProcess, running

pytestmark = pytest.mark.e2e

NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)
RATE = 60


@pytest.fixture
async def operator(
    cluster: Kubernetes, namespace: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[OperatorProcess]:
    """An operator at noon, a minute a second, in a namespace whose service `checkout` has a demand of 880."""
    await record_demand(
        migrated_database_url, "checkout", NOON - timedelta(days=8), NOON + timedelta(hours=4), lambda _: 880.0
    )
    clock = ReplayClock(NOON, monotonic(), RATE)
    settings = {"NAMESPACES": f'["{namespace}"]'}
    async with running(OperatorProcess(cluster.kubeconfig, migrated_database_url, clock, tmp_path, settings)) as one:
        yield one


@pytest.fixture
async def checkout(kubectl: Kubectl) -> None:
    """A Deployment with an HPA from 2 to 40."""
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))


def condition(policy: dict[str, Any], type_: str) -> dict[str, Any]:
    conditions = policy.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == type_), {})


async def minimum(kubectl: Kubectl, name: str = "checkout") -> int:
    return (await kubectl.get("hpa", name))["spec"]["minReplicas"]


@pytest.mark.usefixtures("checkout")
async def test_a_policy_in_auto_raises_the_hpas_minimum_to_what_is_forecast(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_scaling_policy())
    await kubectl("wait", "--for=condition=Ready", "scalingpolicy/checkout", "--timeout=30s")
    await eventually(lambda: minimum(kubectl), lambda floor: 9 <= floor <= 12, seconds=40)
    policy = await kubectl.get("scalingpolicy", "checkout")
    decisions = await kubectl.items("scalingdecisions")
    print(await kubectl("get", "sp,sd"), policy["status"], operator.log)
    assert decisions
