"""The CRDs on a real API server: validation, defaults, printer columns and limits."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.resources import crd
from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.scaling_decision import (
    Contribution,
    DecisionForecast,
    ScalingDecisionSpec,
    ScalingDecisionStatus,
    effect_of,
)
from predictive_scaling.resources.statuses import (
    MAX_POINTS,
    AccuracyStatus,
    Advice,
    BusinessEventStatus,
    ForecastPoint,
    ForecastStatus,
    LastDecision,
    ScalingPolicyStatus,
    Takeover,
)
from predictive_scaling.resources.vocabulary import ConditionStatus, DecisionType, Mode, Reason, Source
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.kubectl import Kubectl, KubectlError
from tests.support.refused_manifests import RefusedManifest, refused_manifests

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
STRICT_DRY_RUN = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
# Reported in addition to a blocking error, for rules that were not evaluated.
NOT_EVALUATED = "* <nil>: Invalid value: null: some validation rules were not checked"


def a_manifest(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_policy(name: str = "checkout", **spec: Any) -> dict[str, Any]:
    minimal = {
        "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
        "demand": {"metric": "requests_per_second"},
        "replicas": {"max": 40},
    }
    return a_manifest("ScalingPolicy", name, **(minimal | spec))


def a_decision(name: str, policy: str) -> dict[str, Any]:
    change = {"type": "ScaleUp", "from": 4, "to": 9, "uncapped": 9, "mode": "Auto", "source": "Forecast"}
    cause = {"policy": policy, "service": "checkout", "target": "hpa/checkout", "reason": "ForecastRose"}
    return a_manifest("ScalingDecision", name, **change, **cause, message="812 requests/s expected at 18:05")


async def write_status(kubectl: Kubectl, kind: str, name: str, status: dict[str, Any]) -> None:
    patch = json.dumps({"status": status})
    await kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


def rows(table: str) -> list[dict[str, str]]:
    """Return the rows of a kubectl table by column; columns are separated by two or more spaces."""
    head, *lines = table.splitlines()
    starts = [heading.start() for heading in re.finditer(r"(?:^|(?<=\s\s))\S", head)]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    return [{head[a:b].strip(): line[a:b].strip() for a, b in spans} for line in lines]


@pytest.fixture
def dry_run(cluster: Kubernetes) -> Kubectl:
    """kubectl for dry runs, which need no namespace."""
    return Kubectl(cluster.kubectl_program, cluster.kubeconfig)


@pytest.mark.parametrize("manifest", refused_manifests(), ids=lambda manifest: manifest.name)
async def test_an_invalid_manifest_is_refused_with_the_path_of_the_field(
    dry_run: Kubectl, manifest: RefusedManifest
) -> None:
    with pytest.raises(KubectlError) as refused:
        await dry_run(*STRICT_DRY_RUN, stdin=yaml.safe_dump(manifest.invalid))

    # Rules name the value of a map as labels[tier], patterns as labels.tier.
    message = re.sub(r"\[([a-z]+)\]", r".\1", str(refused.value))
    assert manifest.field in message
    assert manifest.message in message
    causes = [line for line in message.splitlines() if line.startswith("* ") and not line.startswith(NOT_EVALUATED)]
    assert all(cause.startswith(f"* {manifest.field}: ") for cause in causes), message


async def test_each_corrected_manifest_is_accepted(dry_run: Kubectl) -> None:
    corrected = [manifest.corrected | {"metadata": {"name": manifest.name[:63]}} for manifest in refused_manifests()]

    output = await dry_run(*STRICT_DRY_RUN, stdin=yaml.safe_dump_all(corrected))

    assert output.count("created (server dry run)") == len(corrected)


async def test_a_policy_has_defaults(kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy())

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
    await kubectl.apply(a_policy(target={"autoScalingGroup": {"name": "web-asg", "region": "eu-west-1"}}))

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
    await kubectl.apply(a_policy(scaleUp={"maxStep": step}))

    assert (await kubectl.get("sp", "checkout"))["spec"]["scaleUp"]["maxStep"] == step


async def test_an_objective_can_replace_a_quantile(kubectl: Kubectl) -> None:
    prices = {"underProvisionedMinute": "1.0", "replicaHour": "0.5"}
    await kubectl.apply(a_policy(forecast={"quantile": "0.95"}))
    await kubectl.apply(a_policy(forecast={"objective": prices}))

    forecast = (await kubectl.get("sp", "checkout"))["spec"]["forecast"]
    assert forecast["objective"] == prices
    assert "quantile" not in forecast


async def test_an_update_is_validated_like_a_creation(kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy())

    with pytest.raises(KubectlError, match=r"spec\.replicas\.min: .*min \(50\) must not exceed max \(40\)"):
        await kubectl("patch", "sp", "checkout", "--type=merge", "-p", '{"spec": {"replicas": {"min": 50}}}')


async def test_a_decision_is_immutable(kubectl: Kubectl) -> None:
    await kubectl.apply(a_decision("checkout-4f1c", "checkout"))

    with pytest.raises(KubectlError, match=r"spec: .*is the record of a decision and cannot be changed"):
        await kubectl("patch", "sd", "checkout-4f1c", "--type=merge", "-p", '{"spec": {"to": 40}}')


async def test_decisions_are_selectable_by_policy_and_phase(kubectl: Kubectl) -> None:
    await kubectl.apply(a_decision("one", "checkout"), a_decision("two", "checkout"), a_decision("three", "search"))
    await write_status(kubectl, "sd", "one", ScalingDecisionStatus.model_validate({"phase": "Failed"}).to_manifest())

    assert await kubectl("get", "sd", "-o", "name", "--field-selector", "spec.policy=search") == (
        "scalingdecision.predictive-scaling.io/three\n"
    )
    assert await kubectl("get", "sd", "-o", "name", "--field-selector", "spec.policy=checkout,status.phase=Failed") == (
        "scalingdecision.predictive-scaling.io/one\n"
    )


POLICY_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "mode": "Recommend",
    "target": "hpa/checkout",
    "currentReplicas": 12,
    "readyReplicas": 11,
    "floor": 9,
    "uncappedFloor": 52,
    "source": "Forecast",
    "forecast": {
        "model": "LightGBM",
        "version": "20261124-1",
        "generatedAt": "2026-11-24T17:45:00Z",
        "validUntil": "2026-11-24T18:45:00Z",
        "summary": "812 (p90)",
        "points": [{"time": "2026-11-24T18:00:00Z", "p50": "700", "p90": "812.5"}],
    },
    "accuracy": {"wape": "0.08", "mape": "0.12", "coverage": "0.91", "window": "168h"},
    "leadTime": "3m",
    "perReplica": "50",
    "lastDecision": {"name": "checkout-4f1c", "at": "2026-11-24T17:45:00Z", "summary": "4->9 Recommended"},
    "advice": {"quantile": "0.85", "targetUtilization": 80, "replicaHoursSaved": "31.5", "message": "0.85 suffices"},
    "takeover": {"targetUid": "0b54", "originalMinimum": 3, "since": "2026-11-24T17:00:00Z", "written": True},
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "TickSucceeded",
            "message": "the last reconciliation succeeded",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T17:00:00Z",
        }
    ],
}


async def test_every_field_of_a_status_is_stored(kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy())
    status = ScalingPolicyStatus.model_validate(POLICY_STATUS).to_manifest()
    await write_status(kubectl, "sp", "checkout", status)

    assert status == POLICY_STATUS
    assert (await kubectl.get("sp", "checkout"))["status"] == POLICY_STATUS


async def test_policies_have_printer_columns(kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy())
    await write_status(kubectl, "sp", "checkout", POLICY_STATUS)

    (standard,) = rows(await kubectl("get", "sp"))
    (wide,) = rows(await kubectl("get", "sp", "-o", "wide"))

    assert standard.pop("AGE") in {"0s", "1s", "2s", "3s"}
    assert standard == {
        "NAME": "checkout",
        "TARGET": "hpa/checkout",
        "MODE": "Recommend",
        "MIN": "1",
        "MAX": "40",
        "FLOOR": "9",
        "REPLICAS": "12",
        "FORECAST": "812 (p90)",
        "READY": "True",
        "LAST DECISION": "4->9 Recommended",
    }
    wide_columns = {"SOURCE": "Forecast", "MODEL": "LightGBM", "MAPE": "0.12", "LEAD": "3m"}
    assert {column: wide[column] for column in wide if column not in standard and column != "AGE"} == wide_columns


async def test_decisions_and_events_have_printer_columns(kubectl: Kubectl) -> None:
    await kubectl.apply(a_decision("checkout-4f1c", "checkout"))
    recurrence = {"rrule": "FREQ=WEEKLY;BYDAY=FR", "timezone": "Europe/Paris", "start": "18:00", "duration": "2h"}
    await kubectl.apply(
        a_manifest("BusinessEvent", "friday", type="evening", recurrence=recurrence, policies={"all": True})
    )
    decision_status = ScalingDecisionStatus.model_validate(
        {"phase": "Verifying", "startedAt": "2026-11-24T17:45:00Z", "attempts": 1}
    )
    event_status = {
        "phase": "Scheduled",
        "nextStart": "2026-11-27T17:00:00Z",
        "matchedPolicies": 3,
        "observedGeneration": 1,
    }
    await write_status(kubectl, "sd", "checkout-4f1c", decision_status.to_manifest())
    await write_status(kubectl, "be", "friday", BusinessEventStatus.model_validate(event_status).to_manifest())

    (decision,) = rows(await kubectl("get", "sd"))
    (event,) = rows(await kubectl("get", "be"))

    assert list(decision) == ["NAME", "SERVICE", "TYPE", "FROM", "TO", "STATUS", "SOURCE", "REASON", "AGE"]
    assert list(decision.values())[1:-1] == ["checkout", "ScaleUp", "4", "9", "Verifying", "Forecast", "ForecastRose"]
    assert list(event) == ["NAME", "TYPE", "PHASE", "NEXT START", "POLICIES", "READY", "AGE"]
    assert list(event.values())[1:5] == ["evening", "Scheduled", "2026-11-27T17:00:00Z", "3"]


async def test_the_kinds_have_short_names_and_a_category(kubectl: Kubectl) -> None:
    kinds = rows(await kubectl("api-resources", "--categories=scaling", "--api-group=predictive-scaling.io"))

    assert {row["SHORTNAMES"]: row["KIND"] for row in kinds} == {
        "sp": "ScalingPolicy",
        "be": "BusinessEvent",
        "sd": "ScalingDecision",
    }


async def test_a_status_has_one_condition_per_type(kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy())
    duplicates = [Condition.model_validate({"type": "Ready", "status": "True", "reason": "Seen"}).to_manifest()] * 2

    with pytest.raises(KubectlError, match=r"status\.conditions\[1\]: Duplicate value"):
        await write_status(kubectl, "sp", "checkout", {"conditions": duplicates})


async def test_a_status_has_a_limited_number_of_points(kubectl: Kubectl) -> None:
    await kubectl.apply(a_policy())
    point = {"time": "2026-11-24T18:00:00Z", "p50": "700", "p90": "812.5"}
    forecast = POLICY_STATUS["forecast"] | {"points": [point] * 25}

    with pytest.raises(KubectlError, match=r"status\.forecast\.points: Too many: 25: must have at most 24 items"):
        await write_status(kubectl, "sp", "checkout", {"forecast": forecast})


@pytest.mark.parametrize(
    ("path", "description"),
    [
        ("scalingpolicy", "Raises and lowers the minimum of a target ahead of demand."),
        ("scalingpolicy.spec.forecast", "Quantile of peak demand over the lead time that the floor covers"),
        ("scalingpolicy.spec.forecast.horizon", "How far ahead demand is forecast, from 1m to 24h."),
        ("scalingpolicy.spec.forecast.timezone", "Time zone of the daily and weekly seasonality"),
        ("scalingpolicy.spec.forecast.holidays", "an ISO 3166 code such as FR"),
        (
            "scalingpolicy.spec.scaleDown",
            "The floor is not lowered below the highest recommendation of this time. Default: 10m.",
        ),
        ("scalingpolicy.status.takeover", "The target's original minimum."),
        ("businessevent.spec.recurrence", "from the IANA database, such as Europe/Paris"),
        ("scalingdecision.spec", "Recommended floor before limits, in replicas."),
    ],
)
async def test_kubectl_explain_describes_a_field(dry_run: Kubectl, path: str, description: str) -> None:
    assert description in " ".join((await dry_run("explain", path)).split())


async def test_the_examples_apply_as_one_folder(kubectl: Kubectl) -> None:
    shop = Kubectl(kubectl.program, kubectl.kubeconfig, "shop")
    try:
        first = await shop("apply", "--validate=strict", "-f", ROOT / "examples")
        second = await shop("apply", "--validate=strict", "-f", ROOT / "examples")

        assert "scalingpolicy.predictive-scaling.io/checkout created" in first
        assert all(line.endswith(" unchanged") for line in second.splitlines())
        assert {policy["spec"]["mode"] for policy in await shop.items("sp")} == {"Auto", "Recommend"}
        assert {"recurrence" in event["spec"] for event in await shop.items("be")} == {True, False}
    finally:
        await shop("delete", "--ignore-not-found", "-f", ROOT / "examples")


@pytest.mark.usefixtures("keda")
async def test_the_examples_for_keda_apply_as_one_folder(kubectl: Kubectl) -> None:
    shop = Kubectl(kubectl.program, kubectl.kubeconfig, "shop")
    try:
        await shop("apply", "-f", ROOT / "examples" / "00-namespace.yaml")
        await shop("apply", "--validate=strict", "-f", ROOT / "examples" / "keda")
        assert (await shop.get("sp", "emails"))["spec"]["target"] == {"scaledObject": {"name": "emails"}}
    finally:
        await shop("delete", "--ignore-not-found", "-f", ROOT / "examples" / "keda")


def test_the_files_agree_with_the_models() -> None:
    assert crd.differing(ROOT / "crds") == []


def test_the_files_are_small_enough_for_client_side_apply() -> None:
    assert {name for name, text in crd.files().items() if len(text.encode()) > 200_000} == set()


@pytest.mark.parametrize("number", [5e-324, 2.0**63 - 1, 1e30, float("inf")])
async def test_records_with_extreme_values_are_accepted(kubectl: Kubectl, number: float) -> None:
    now = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    text = "\x00é\ud800" * 100_000
    status = ScalingPolicyStatus(
        observed_generation=2**63 - 1,
        target=text,
        current_replicas=2**40,
        uncapped_floor=2**40,
        lead_time=timedelta(days=99_999),
        per_replica=number,
        forecast=ForecastStatus(
            model=text,
            generated_at=now,
            valid_until=now,
            summary=text,
            points=(ForecastPoint(time=now, p50=number, p90=number),) * MAX_POINTS,
        ),
        accuracy=AccuracyStatus(wape=number, mape=number, coverage=number),
        last_decision=LastDecision(name=text, at=now, summary=text),
        advice=Advice(quantile=number, replica_hours_saved=number, message=text),
        takeover=Takeover(target_uid=text, original_minimum=2**40, since=now, resume=text),
        conditions=merge([], [Condition(type="Ready", status=ConditionStatus.FALSE, reason=text, message=text)], now),
    )
    spec = ScalingDecisionSpec(
        policy="checkout",
        service="ä" * 253,
        target=text,
        type=DecisionType.SCALE_UP,
        from_=2**40,
        to=2**40,
        uncapped=2**40,
        mode=Mode.AUTO,
        source=Source.FORECAST,
        reason=Reason.FORECAST_ROSE,
        message=text,
        forecast=DecisionForecast(
            at=now,
            quantile=number,
            value=number,
            model=text,
            version=text,
            contributions=(Contribution(feature=text, effect=effect_of(number)),),
        ),
    )
    await kubectl.apply(a_policy())

    await write_status(kubectl, "sp", "checkout", status.to_manifest())
    await kubectl.apply(a_manifest("ScalingDecision", "checkout-1", **spec.to_manifest()))
