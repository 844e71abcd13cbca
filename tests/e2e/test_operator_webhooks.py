"""A failure in one namespace does not delay another."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, KubectlError, new_namespace
from tests.support.manifests import Manifest, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import (
    get_minimum,
    get_status,
    record_steady_demand,
    wait_for_condition,
    wait_for_minimum,
)
from tests.support.operator_process import NOON, OperatorProcess, running

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]


@pytest.fixture
async def other_kubectl(cluster: Kubernetes, namespace: str) -> AsyncGenerator[Kubectl]:
    """kubectl in another namespace, which has a target with the same name."""
    async with new_namespace(cluster, f"{namespace}-other") as kubectl:
        await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40))
        yield kubectl


@pytest.fixture
async def failing_webhook(kubectl: Kubectl, namespace: str, checkout: None) -> AsyncGenerator[str]:
    """A webhook for updates of HPAs in the namespace whose server does not respond; yields its name."""
    await kubectl.apply(a_webhook(namespace))
    await eventually(lambda: is_in_use(kubectl))
    yield namespace
    await kubectl("delete", "validatingwebhookconfiguration", namespace, "--ignore-not-found")


@pytest.fixture
async def operator(
    operator_kubeconfig: Path, namespace: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[OperatorProcess]:
    """Running, for both namespaces; the service `checkout` has a demand of 880: nine replicas at 100 per replica."""
    clock = ReplayClock(NOON, monotonic(), 60)
    settings = {"NAMESPACES": f'["{namespace}", "{namespace}-other"]'}
    await record_steady_demand(migrated_database_url, clock, "checkout", 880.0, timedelta(hours=12))
    async with running(
        OperatorProcess(operator_kubeconfig, migrated_database_url, clock, tmp_path, settings)
    ) as process:
        yield process


async def is_in_use(kubectl: Kubectl) -> bool:
    """Return whether the API server calls the webhook, which it does a moment after its creation."""
    try:
        await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", '{"spec":{"maxReplicas":41}}')
    except KubectlError as error:
        return "guard.example.com" in str(error)
    return False


def a_webhook(namespace: str) -> Manifest:
    rule = {
        "apiGroups": ["autoscaling"],
        "apiVersions": ["*"],
        "operations": ["UPDATE"],
        "resources": ["horizontalpodautoscalers"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "guard.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1/guard"},
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
            }
        ],
    }


async def test_a_failing_webhook_of_one_namespace_does_not_delay_another(
    other_kubectl: Kubectl, failing_webhook: str, operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await kubectl.apply(a_scaling_policy())
    refused = await wait_for_condition(kubectl, "Ready", "False", "RequestFailed", seconds=60)
    assert 'failed calling webhook "guard.example.com"' in refused["message"]
    await other_kubectl.apply(a_scaling_policy())
    await wait_for_minimum(other_kubectl, 9)
    assert await get_minimum(kubectl) == 2
    assert (await get_status(kubectl))["takeover"]["originalMinimum"] == 2
    assert await operator.metric("predictive_scaling_ticks_failed_total") == 0
    assert 'predictive_scaling_visits_failed_total{reason="RequestFailed"}' in await operator.metrics()

    await kubectl("delete", "validatingwebhookconfiguration", failing_webhook)
    await wait_for_minimum(kubectl, 9, seconds=60)
    await wait_for_condition(kubectl, "Ready", "True", seconds=60)
