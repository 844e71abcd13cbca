"""The CRDs on a real API server: validation, defaults and selectable fields."""

import re

import pytest
import yaml

from predictive_scaling.resources.scaling_decision import (
    ScalingDecisionStatus,
)
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.custom_resources import a_manifest, a_minimal_policy, a_scaling_decision, write_status
from tests.support.kubectl import Kubectl, KubectlError
from tests.support.refused_manifests import RefusedManifest, refused_manifests

pytestmark = pytest.mark.e2e
STRICT_DRY_RUN = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
SHORT_NAMES = {"BusinessEvent": "be", "ScalingBacktest": "sb", "ScalingDecision": "sd", "ScalingPolicy": "sp"}
# Reported in addition to a blocking error, for rules that were not evaluated.
NOT_EVALUATED = "* <nil>: Invalid value: null: some validation rules were not checked"


@pytest.fixture
def dry_run(cluster: Kubernetes) -> Kubectl:
    """kubectl for dry runs, which need no namespace."""
    return Kubectl(cluster.kubectl_program, cluster.kubeconfig)


@pytest.mark.parametrize("manifest", refused_manifests(), ids=lambda manifest: manifest.name)
async def test_an_invalid_manifest_is_refused_with_the_path_of_the_field(
    dry_run: Kubectl, manifest: RefusedManifest
) -> None:
    with pytest.raises(KubectlError) as refused:
        await dry_run.validate(SHORT_NAMES[manifest.invalid["kind"]], manifest.invalid)

    # Rules name the value of a map as labels[tier], patterns as labels.tier.
    message = re.sub(r"\[([a-z]+)\]", r".\1", str(refused.value))
    assert manifest.field in message
    assert manifest.message in message
    causes = [line for line in message.splitlines() if line.startswith("* ") and not line.startswith(NOT_EVALUATED)]
    assert causes or "strict decoding error: unknown field" in message
    assert all(cause.startswith(f"* {manifest.field}: ") for cause in causes), message


async def test_each_corrected_manifest_is_accepted(dry_run: Kubectl) -> None:
    corrected = [manifest.corrected | {"metadata": {"name": manifest.name[:63]}} for manifest in refused_manifests()]

    output = await dry_run(*STRICT_DRY_RUN, stdin=yaml.safe_dump_all(corrected))

    assert output.count("created (server dry run)") == len(corrected)


async def test_a_policy_has_defaults(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy())

    assert (await kubectl.get("sp", "checkout"))["spec"] == {
        "mode": "Recommend",
        "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
        "demand": {
            "metric": "requests_per_second",
            "aggregation": "Sum",
            "perReplica": "Auto",
            "targetUtilization": 70,
            "zeroIsValid": False,
        },
        "forecast": {"model": "Auto", "utilization": 100, "horizon": "1h", "leadTime": "Auto"},
        "replicas": {"min": 1, "max": 40},
        "scaleUp": {"maxStep": "100%", "period": "1m"},
        "scaleDown": {"maxStep": "20%", "period": "1m", "stabilizationWindow": "10m"},
        "deadBand": {"replicas": 1, "percent": 5},
        "fallback": {"behavior": "HoldFloor", "after": "30m"},
        "suspend": False,
    }


async def test_an_auto_scaling_group_target_has_a_default_field(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy(target={"autoScalingGroup": {"name": "web-asg", "region": "eu-west-1"}}))

    assert (await kubectl.get("sp", "checkout"))["spec"]["target"]["autoScalingGroup"]["field"] == "MinSize"


async def test_an_event_has_defaults(kubectl: Kubectl) -> None:
    times = {"start": "2026-11-27T08:00:00+01:00", "end": "2026-11-27T12:00:00+01:00"}
    await kubectl.apply(a_manifest("BusinessEvent", "sale", **times, policies={"matchLabels": {"tier": "web"}}))

    assert (await kubectl.get("be", "sale"))["spec"] == times | {
        "policies": {"matchLabels": {"tier": "web"}, "all": False},
        "suppressForecast": False,
        "rampUp": "0s",
        "rampDown": "0s",
        "priority": 0,
    }


@pytest.mark.parametrize("step", ["50%", "4", 4])
async def test_a_step_is_a_percentage_or_a_count(kubectl: Kubectl, step: str | int) -> None:
    await kubectl.apply(a_minimal_policy(scaleUp={"maxStep": step}))

    assert (await kubectl.get("sp", "checkout"))["spec"]["scaleUp"]["maxStep"] == step


async def test_an_objective_can_replace_a_quantile(kubectl: Kubectl) -> None:
    prices = {"underProvisionedMinute": "1.0", "replicaHour": "0.5"}
    await kubectl.apply(a_minimal_policy(forecast={"quantile": "0.95"}))
    await kubectl.apply(a_minimal_policy(forecast={"objective": prices}))

    forecast = (await kubectl.get("sp", "checkout"))["spec"]["forecast"]
    assert forecast["objective"] == prices
    assert "quantile" not in forecast


async def test_an_update_is_validated_like_a_creation(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy())

    with pytest.raises(KubectlError, match=r"spec\.replicas\.min: .*min \(50\) must not exceed max \(40\)"):
        await kubectl("patch", "sp", "checkout", "--type=merge", "-p", '{"spec": {"replicas": {"min": 50}}}')


async def test_a_decision_is_immutable(kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_decision("checkout-4f1c", "checkout"))

    with pytest.raises(KubectlError, match=r"spec: .*is the record of a decision and cannot be changed"):
        await kubectl("patch", "sd", "checkout-4f1c", "--type=merge", "-p", '{"spec": {"to": 40}}')


async def test_decisions_are_selectable_by_policy_and_phase(kubectl: Kubectl) -> None:
    await kubectl.apply(
        a_scaling_decision("one", "checkout"),
        a_scaling_decision("two", "checkout"),
        a_scaling_decision("three", "search"),
    )
    await write_status(kubectl, "sd", "one", ScalingDecisionStatus.model_validate({"phase": "Failed"}).to_manifest())

    assert await kubectl("get", "sd", "-o", "name", "--field-selector", "spec.policy=search") == (
        "scalingdecision.predictive-scaling.io/three\n"
    )
    assert await kubectl("get", "sd", "-o", "name", "--field-selector", "spec.policy=checkout,status.phase=Failed") == (
        "scalingdecision.predictive-scaling.io/one\n"
    )
