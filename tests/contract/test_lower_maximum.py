"""config/admission on a real API server: a user lowers maxReplicas of an HPA below our floor in one edit."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from predictive_scaling.cluster.client import FIELD_MANAGER, connected
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscaler
from predictive_scaling.targets.records import LiveRecords
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, KubectlError
from tests.support.manifests import an_autoscaler

pytestmark = pytest.mark.e2e

REFUSAL = "must be greater than or equal to `minReplicas`"


@pytest.fixture
async def target(cluster: Kubernetes, kubectl: Kubectl) -> AsyncGenerator[HorizontalPodAutoscaler]:
    """An HPA from 2 to 40 whose minimum the operator raised to 10."""
    await kubectl.apply(an_autoscaler("checkout", minimum=None, maximum=40))
    async with connected(cluster.kubeconfig) as connection:
        target = HorizontalPodAutoscaler(connection, LiveRecords(connection), kubectl.namespace, "checkout")
        await target.observe()
        await target.apply(10, take=True)
        # The API server uses a new admission policy after about a second.
        await eventually(lambda: is_lowered(kubectl), seconds=30)
        await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=40))
        await target.apply(10)
        yield target


async def is_lowered(kubectl: Kubectl) -> bool:
    try:
        await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=9))
    except KubectlError as error:
        if REFUSAL in str(error):
            return False
        raise
    return True


def spec(**fields: int) -> str:
    return json.dumps({"spec": fields})


async def bounds(kubectl: Kubectl) -> tuple[int, int]:
    autoscaler = (await kubectl.get("hpa", "checkout"))["spec"]
    return autoscaler["minReplicas"], autoscaler["maxReplicas"]


async def patch(kubectl: Kubectl) -> None:
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=3))


async def apply_client_side(kubectl: Kubectl) -> None:
    await kubectl.apply(an_autoscaler("checkout", minimum=None, maximum=3))


async def apply_server_side(kubectl: Kubectl) -> None:
    manifest = json.dumps(an_autoscaler("checkout", minimum=None, maximum=3))
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)


async def replace_in_the_first_version(kubectl: Kubectl) -> None:
    async def is_replaced() -> bool:
        autoscaler: dict[str, Any] = json.loads(await kubectl("get", "hpa.v1.autoscaling", "checkout", "-o", "json"))
        autoscaler["spec"]["maxReplicas"] = 3
        try:
            await kubectl("replace", "-f", "-", stdin=json.dumps(autoscaler))
        except KubectlError as error:
            # The HPA controller wrote the status in between.
            if "the object has been modified" in str(error):
                return False
            raise
        return True

    await eventually(is_replaced)


@pytest.mark.parametrize("edit", [patch, apply_client_side, apply_server_side, replace_in_the_first_version])
async def test_a_lower_maximum_takes_the_minimum_with_it_and_the_operator_still_holds_it(
    target: HorizontalPodAutoscaler, kubectl: Kubectl, edit: Any
) -> None:
    await edit(kubectl)
    observed = await target.observe()
    assert (observed.minimum, observed.maximum) == (3, 3)
    assert observed.floor_managers == (FIELD_MANAGER,)
    await target.restore(5)
    assert (await target.observe()).minimum == 3


async def test_a_higher_maximum_does_not_change_the_minimum(target: HorizontalPodAutoscaler, kubectl: Kubectl) -> None:
    await patch(kubectl)
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=50))
    assert await bounds(kubectl) == (3, 50)
    await target.apply(10)
    assert await bounds(kubectl) == (10, 50)


async def test_a_maximum_above_the_minimum_does_not_change_it(
    target: HorizontalPodAutoscaler, kubectl: Kubectl
) -> None:
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=11))
    assert await bounds(kubectl) == (10, 11)
    assert (await target.observe()).floor_managers == (FIELD_MANAGER,)


@pytest.mark.usefixtures("target")
async def test_a_request_with_both_fields_is_applied_as_written(kubectl: Kubectl) -> None:
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=6, minReplicas=2))
    assert await bounds(kubectl) == (2, 6)
    with pytest.raises(KubectlError, match=REFUSAL):
        await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", spec(maxReplicas=3, minReplicas=4))


@pytest.mark.usefixtures("target")
async def test_a_minimum_that_another_manager_took_by_force_is_not_lowered(kubectl: Kubectl) -> None:
    taken = json.dumps(an_autoscaler("checkout", minimum=10, maximum=3))
    with pytest.raises(KubectlError, match=REFUSAL):
        await kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=ci", "-f", "-", stdin=taken)
    taken = json.dumps(an_autoscaler("checkout", minimum=11, maximum=40))
    await kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=ci", "-f", "-", stdin=taken)
    with pytest.raises(KubectlError, match=REFUSAL):
        await patch(kubectl)
    assert await bounds(kubectl) == (11, 40)


@pytest.mark.usefixtures("target")
async def test_an_autoscaler_that_the_operator_does_not_hold_is_left_as_it_is(kubectl: Kubectl) -> None:
    await kubectl.apply(an_autoscaler("search", minimum=8, maximum=40))
    with pytest.raises(KubectlError, match=REFUSAL):
        await kubectl("patch", "hpa", "search", "--type=merge", "-p", spec(maxReplicas=3))


async def test_a_restored_minimum_is_left_as_it_is(target: HorizontalPodAutoscaler, kubectl: Kubectl) -> None:
    await target.restore(5)
    with pytest.raises(KubectlError, match=REFUSAL):
        await patch(kubectl)
    assert await bounds(kubectl) == (5, 40)
