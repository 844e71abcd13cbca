"""Fields and defaults of ScalingPolicy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from forecasting.forecaster import ModelChoice
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ForecastOptions, Objective, ScalingPolicy, parse_policy
from predictive_scaling.resources.step import Step
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.resources.vocabulary import (
    Aggregation,
    FallbackBehavior,
    GroupField,
    Mode,
    TargetKind,
)

EXAMPLES = Path(__file__).parents[2] / "examples"


def a_manifest(**spec: Any) -> dict[str, Any]:
    required = {
        "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
        "demand": {"metric": "requests_per_second"},
        "replicas": {"max": 40},
    }
    return {"metadata": {"name": "checkout", "namespace": "shop"}, "spec": required | spec}


def a_policy(**spec: Any) -> ScalingPolicy:
    return parse_policy(a_manifest(**spec))


def test_omitted_fields_have_their_defaults() -> None:
    spec = a_policy().spec

    assert (spec.mode, spec.suspend) == (Mode.RECOMMEND, False)
    assert (spec.demand.aggregation, spec.demand.per_replica, spec.demand.target_utilization) == (
        Aggregation.SUM,
        None,
        70,
    )
    assert spec.demand.zero_is_valid is False
    assert (spec.forecast.model, spec.forecast.effective_quantile) == (ModelChoice.AUTO, 0.9)
    assert (spec.forecast.utilization, spec.forecast.horizon, spec.forecast.lead_time) == (
        100,
        timedelta(hours=1),
        None,
    )
    assert (spec.replicas.min, spec.replicas.max) == (1, 40)
    assert (str(spec.scale_up.max_step), spec.scale_up.period) == ("100%", timedelta(minutes=1))
    assert (str(spec.scale_down.max_step), spec.scale_down.period) == ("20%", timedelta(minutes=1))
    assert spec.scale_down.stabilization_window == timedelta(minutes=10)
    assert (spec.dead_band.replicas, spec.dead_band.percent) == (1, 5)
    assert (spec.fallback.behavior, spec.fallback.after) == (FallbackBehavior.HOLD_FLOOR, timedelta(minutes=30))


def test_a_policy_has_the_metadata_and_status_of_its_object() -> None:
    manifest = a_manifest()
    manifest["metadata"] |= {
        "uid": "0b54",
        "generation": 3,
        "resourceVersion": "77",
        "creationTimestamp": "2026-11-24T17:00:00Z",
        "deletionTimestamp": "2026-11-24T18:00:00Z",
        "labels": {"tier": "web"},
        "annotations": {"team": "shop"},
        "finalizers": ["predictive-scaling.io/restore"],
        "managedFields": [{"manager": "kubectl"}],
    }
    manifest["status"] = {"floor": 4, "fieldOfTomorrow": True}

    policy = parse_policy(manifest)

    assert policy.key == PolicyKey("shop", "checkout")
    assert str(policy.key) == "shop/checkout"
    assert (policy.metadata.uid, policy.metadata.generation, policy.metadata.resource_version) == ("0b54", 3, "77")
    assert policy.metadata.creation_timestamp == datetime(2026, 11, 24, 17, tzinfo=UTC)
    assert policy.metadata.deletion_timestamp == datetime(2026, 11, 24, 18, tzinfo=UTC)
    assert policy.metadata.labels == {"tier": "web"}
    assert policy.metadata.annotations == {"team": "shop"}
    assert policy.metadata.finalizers == ("predictive-scaling.io/restore",)


def test_the_default_service_is_the_name_of_the_policy() -> None:
    assert a_policy().service == "checkout"
    assert a_policy(demand={"metric": "rps", "service": "checkout-web"}).service == "checkout-web"


def test_all_mistakes_are_reported_together_with_the_value_and_what_is_allowed() -> None:
    with pytest.raises(InvalidManifestError) as raised:
        a_policy(mode="auto", forecast={"quantil": "0.9"}, replicas={"min": 10, "max": 5})

    message = str(raised.value)
    assert message.startswith("ScalingPolicy shop/checkout: spec.mode is 'auto'; ")
    assert "'Off', 'Recommend' or 'Auto'" in message
    assert "spec.forecast.quantil " in message
    assert "did you mean quantile?" in message
    assert message.endswith("spec.replicas.min: must not exceed max")


def test_a_manifest_without_metadata_is_refused() -> None:
    with pytest.raises(InvalidManifestError, match="ScalingPolicy without a name: metadata is required"):
        parse_policy({"spec": a_manifest()["spec"]})


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        ({"horizontalPodAutoscaler": {"name": "a"}}, TargetKind.HORIZONTAL_POD_AUTOSCALER, "hpa/a"),
        (
            {"workload": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"}},
            TargetKind.WORKLOAD,
            "statefulset/a",
        ),
        ({"scaledObject": {"name": "a"}}, TargetKind.SCALED_OBJECT, "scaledobject/a"),
        ({"autoScalingGroup": {"name": "a", "region": "eu-west-1"}}, TargetKind.AUTO_SCALING_GROUP, "asg/a"),
    ],
)
def test_a_target_is_formatted_as_kind_and_name(target: dict[str, Any], kind: TargetKind, text: str) -> None:
    spec = TargetSpec.model_validate(target)

    assert (spec.kind, spec.name, str(spec)) == (kind, "a", text)


def test_the_default_field_of_an_auto_scaling_group_is_its_minimum() -> None:
    group = a_policy(
        target={"autoScalingGroup": {"name": "a", "region": "us-gov-west-1"}}
    ).spec.target.auto_scaling_group

    assert group is not None
    assert (group.field, group.role_arn) == (GroupField.MIN_SIZE, None)


def test_an_explicit_quantile_is_used() -> None:
    assert a_policy(forecast={"quantile": "0.95"}).spec.forecast.effective_quantile == 0.95


@pytest.mark.parametrize(
    ("short", "replica", "quantile"),
    [(1.0, 60.0, 0.5), (9.0, 60.0, 0.9), (0.001, 60.0, 0.5), (1000.0, 0.001, 0.999)],
)
def test_the_quantile_follows_from_prices_within_its_bounds(short: float, replica: float, quantile: float) -> None:
    forecast = ForecastOptions(objective=Objective(under_provisioned_minute=short, replica_hour=replica))

    assert forecast.effective_quantile == pytest.approx(quantile)


@pytest.mark.parametrize(("step", "of_ten"), [("50%", 5), ("1%", 1), (4, 4), ("4", 4), ("1000%", 100)])
def test_a_step_is_a_percentage_or_a_count(step: str | int, of_ten: int) -> None:
    assert a_policy(scaleUp={"maxStep": step}).spec.scale_up.max_step.of(10) == of_ten


@pytest.mark.parametrize(("floor", "step"), [(0, 1), (1, 1), (5, 1), (6, 2), (100, 20), (101, 21)])
def test_a_step_of_a_percentage_is_rounded_up_to_at_least_one(floor: int, step: int) -> None:
    assert Step(20, is_percent=True).of(floor) == step


def test_a_spec_survives_a_round_trip() -> None:
    spec = a_policy(forecast={"quantile": "0.95", "leadTime": "90s"}, scaleUp={"maxStep": 4}).spec

    assert a_policy(**spec.to_manifest()).spec == spec
    assert spec.to_manifest()["forecast"] == {
        "model": "Auto",
        "quantile": "0.95",
        "utilization": 100,
        "horizon": "1h",
        "leadTime": "1m30s",
    }


@pytest.mark.parametrize(
    "path",
    sorted(set(EXAMPLES.rglob("*.yaml")) - set(EXAMPLES.glob("argocd/resource_customizations/**/*.yaml"))),
    ids=lambda path: path.stem,
)
def test_the_examples_are_valid_and_begin_with_a_comment(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parse = {"ScalingPolicy": parse_policy, "BusinessEvent": parse_event}
    resources = [body for body in yaml.safe_load_all(text) if body.get("kind") in parse]

    assert text.startswith("# ")
    assert all(parse[body["kind"]](body).metadata.namespace == "shop" for body in resources)


def test_text_with_invalid_unicode_is_refused() -> None:
    body = {"metadata": {"name": "checkout", "annotations": {"note": "\ud800"}}, "spec": {}}
    with pytest.raises(InvalidManifestError, match="ScalingPolicy checkout: cannot be written as JSON"):
        parse_policy(body)
