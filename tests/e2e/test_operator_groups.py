"""The operator process on an Auto Scaling group: the policy of examples/, in mode Auto."""

import json
import uuid
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.aws import AWS
from tests.support.eventually import eventually
from tests.support.groups import GroupAdministrator
from tests.support.kubectl import Kubectl
from tests.support.observing import get_status, record_steady_demand, wait_for_condition
from tests.support.operator_process import NOON, OperatorProcess

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "50-web-group-policy.yaml"


def the_example(namespace: str, group: str) -> dict[str, Any]:
    """The example for another group and service, in mode Auto."""
    manifest = yaml.safe_load(EXAMPLE.read_text())
    manifest["metadata"] |= {"namespace": namespace, "name": "checkout"}
    manifest["spec"]["mode"] = "Auto"
    manifest["spec"]["target"]["autoScalingGroup"]["name"] = group
    manifest["spec"]["demand"]["service"] = namespace
    return manifest


@pytest.fixture
async def operator(
    operator_kubeconfig: Path, namespace: str, aws: AWS, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[OperatorProcess]:
    """An operator of one namespace that may assume the role of the example."""
    role = the_example(namespace, "")["spec"]["target"]["autoScalingGroup"]["roleArn"]
    settings = {"NAMESPACES": json.dumps([namespace]), "AWS_ROLES": json.dumps({namespace: [role]})}
    clock = ReplayClock(NOON, monotonic(), 60)
    process = OperatorProcess(operator_kubeconfig, migrated_database_url, clock, tmp_path, settings)
    await process.start(**aws.environment())
    await record_steady_demand(process.database_url, clock, namespace, 3520.0, timedelta(hours=6))
    yield process
    if process.is_running:
        await process.kill()
    assert not process.missing_rights


async def test_the_example_raises_a_group_survives_a_restart_and_restores_it(
    operator: OperatorProcess, aws: AWS, kubectl: Kubectl, namespace: str
) -> None:
    administrator, group = GroupAdministrator(aws.endpoint_url), f"web-{uuid.uuid4().hex[:8]}"
    await administrator.create(group)

    async def min_size() -> int:
        return (await administrator.describe(group))["MinSize"]

    await kubectl.apply(the_example(namespace, group))
    await eventually(min_size, (9).__eq__, seconds=60)
    # Verified is True after each step of the raise.
    status = await eventually(lambda: get_status(kubectl), lambda status: status.get("readyReplicas") == 9, seconds=60)
    await wait_for_condition(kubectl, "Verified", "True", seconds=60)
    assert status["target"] == f"asg/{group}"
    taken = status["takeover"]
    assert (taken["originalMinimum"], taken["floor"], taken["autoScalingGroup"]["region"]) == (2, 9, "eu-west-1")

    await operator.kill()
    await operator.start_after_crash(kubectl, **aws.environment())
    await operator.wait_for_ticks(3)
    await wait_for_condition(kubectl, "Conflict", "False")
    await kubectl("delete", "sp", "checkout")
    assert await min_size() == 2
