"""config/kube-state-metrics.yaml: its paths exist, and its series of recorded objects in every state are right."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.resources.kinds import KINDS
from predictive_scaling.resources.metadata import GROUP, VERSION
from tests.support.documents import DOCS
from tests.support.gitops_states import STATES, recorded_object
from tests.support.kube_state_metrics import ConfigurationError, Family, families

ROOT = Path(__file__).parents[2]
CONFIGURATION = yaml.safe_load((ROOT / "config" / "kube-state-metrics.yaml").read_text())
FAMILIES = families(CONFIGURATION)
METADATA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "generation": {"type": "integer"},
        "creationTimestamp": {"type": "string", "format": "date-time"},
    },
}


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a kind, with that of its metadata, which the API server adds."""
    for path in (ROOT / "crds").glob("*.yaml"):
        spec = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]
        if spec["names"]["kind"] == kind:
            schema = spec["versions"][0]["schema"]["openAPIV3Schema"]
            return schema | {"properties": schema["properties"] | {"metadata": METADATA}}
    raise AssertionError(f"crds/ has no {kind}")


def below(schema: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for part in path:
        schema = schema["properties"][part]
    return schema.get("items", schema)


def series(kind: str, state: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The series of a recorded object by metric and by its labels other than namespace and name."""
    body = recorded_object(kind, state)
    own = {"namespace": body["metadata"]["namespace"], kind.lower(): body["metadata"]["name"]}
    result: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in FAMILIES:
        for labels, value in family.series(body) if family.kind == kind else ():
            assert own.items() <= labels.items()
            key = tuple(sorted(labels.items() - own.items()))
            assert key not in result.setdefault(family.name, {}), f"two series of {family.name} have the labels {key}"
            result[family.name][key] = value
    return result


def set_states(kind: str, state: str, name: str) -> list[dict[str, str]]:
    """The labels of the series of a StateSet that are 1."""
    return [dict(labels) for labels, value in series(kind, state)[name].items() if value == 1]


def test_every_kind_is_configured_once_by_its_group_and_version() -> None:
    configured = [resource["groupVersionKind"] for resource in CONFIGURATION["spec"]["resources"]]
    assert sorted(configured, key=str) == sorted(
        [{"group": GROUP, "version": VERSION, "kind": kind.name} for kind in KINDS], key=str
    )
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_path_is_in_the_schema_with_a_type_of_the_metric(family: Family) -> None:
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", family.name)
    assert family.help.endswith(".")
    schema = schema_of(family.kind)
    at_path = below(schema, family.path)
    value = below(at_path, family.parameters.get("valueFrom", []))
    for path in family.base_labels.values():
        assert below(schema, path)["type"] == "string"
    for path in family.parameters.get("labelsFromPath", {}).values():
        assert below(at_path, path)["type"] == "string"
    if family.type == "Gauge":
        assert value["type"] in ("integer", "boolean") or value.get("format") == "date-time" or "pattern" in value
    if family.type == "StateSet":
        assert family.parameters["list"] == value["enum"]


@pytest.mark.parametrize(("kind", "state"), STATES)
def test_an_object_of_each_state_gives_one_series_per_set_of_labels(kind: str, state: str) -> None:
    metrics = series(kind, state)
    assert f"kube_{kind.lower()}_created" in metrics
    for name, values in metrics.items():
        (family,) = [family for family in FAMILIES if family.name == name]
        if family.type == "StateSet":
            size = len(family.parameters["list"])
            assert sum(values.values()) * size == len(values), f"not one state of {name} is current"


def test_a_policy_in_auto_shows_its_floor_forecast_and_conditions() -> None:
    metrics = series("ScalingPolicy", "auto")
    single = {name.removeprefix("kube_scalingpolicy_"): values[()] for name, values in metrics.items() if () in values}
    assert single == {
        "created": 1795888384.0,
        "metadata_generation": 1.0,
        "status_observed_generation": 1.0,
        "spec_replicas_min": 1.0,
        "spec_replicas_max": 40.0,
        "spec_suspend": 0.0,
        "status_floor": 8.0,
        "status_uncapped_floor": 9.0,
        "status_replicas": 8.0,
        "status_ready_replicas": 8.0,
        "status_forecast_valid_until": 1781701500.0,
        "status_per_replica": 100.0,
        "status_last_decision_time": 1781697859.0,
    }
    (info,) = metrics["kube_scalingpolicy_info"]
    assert dict(info) == {"target": "hpa/checkout", "service": "shop", "metric": "requests_per_second"}
    assert set_states("ScalingPolicy", "auto", "kube_scalingpolicy_spec_mode") == [{"mode": "Auto"}]
    assert set_states("ScalingPolicy", "auto", "kube_scalingpolicy_status_source") == [{"source": "Forecast"}]
    conditions = set_states("ScalingPolicy", "auto", "kube_scalingpolicy_status_condition")
    assert {"condition": "Verified", "reason": "ReplicasReady", "status": "True"} in conditions
    assert {"condition": "Conflict", "reason": "NoConflict", "status": "False"} in conditions


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        ("stalled", {"condition": "Stalled", "reason": "InvalidTimezone", "status": "True"}),
        ("stalled", {"condition": "Verified", "reason": "NotYetJudged", "status": "Unknown"}),
        ("fallback", {"condition": "Fallback", "reason": "HoldFloor", "status": "True"}),
        ("held_target", {"condition": "Conflict", "reason": "TargetHeldByPolicy", "status": "True"}),
        ("suspended", {"condition": "Paused", "reason": "Suspended", "status": "True"}),
    ],
)
def test_a_condition_of_a_policy_is_a_series(state: str, condition: dict[str, str]) -> None:
    assert condition in set_states("ScalingPolicy", state, "kube_scalingpolicy_status_condition")


def test_a_new_policy_has_no_series_of_its_status() -> None:
    assert not [name for name in series("ScalingPolicy", "created") if "_status_" in name]


def test_a_failed_decision_shows_its_cause_and_what_was_decided() -> None:
    metrics = series("ScalingDecision", "failed")
    (info,) = metrics["kube_scalingdecision_info"]
    assert dict(info).items() >= {("scalingpolicy", "payments"), ("type", "ScaleDown"), ("source", "Fallback")}
    assert [dict(labels) for labels in metrics["kube_scalingdecision_status_cause_info"]] == [{"cause": "Refused"}]
    assert [metrics[f"kube_scalingdecision_spec_{end}_replicas"][()] for end in ("from", "to")] == [1.0, 0.0]
    assert set_states("ScalingDecision", "failed", "kube_scalingdecision_status_phase") == [{"phase": "Failed"}]
    assert "kube_scalingdecision_status_cause_info" not in series("ScalingDecision", "succeeded")


@pytest.mark.parametrize(
    ("kind", "state", "phase"),
    [("BusinessEvent", "active", "Active"), ("ScalingBacktest", "running", "Running")],
)
def test_events_and_backtests_show_their_phase(kind: str, state: str, phase: str) -> None:
    assert set_states(kind, state, f"kube_{kind.lower()}_status_phase") == [{"phase": phase}]


def test_the_documented_metrics_are_the_configured_ones() -> None:
    rows = re.findall(
        r"^\| `(kube_\w+)` \| (Gauge|Info|StateSet) \| (.*?) ?\| .+ \|$",
        (DOCS / "metrics.md").read_text(),
        re.MULTILINE,
    )
    expected = {
        family.name: (
            family.type,
            {*family.parameters.get("labelsFromPath", {}), *filter(None, [family.parameters.get("labelName")])},
        )
        for family in FAMILIES
    }
    assert {name: (type_, set(re.findall(r"`(\w+)`", labels))) for name, type_, labels in rows} == expected


def test_an_unknown_field_and_a_label_that_matches_twice_are_refused() -> None:
    resource = CONFIGURATION["spec"]["resources"][0]
    misspelt = resource | {"metrics": [resource["metrics"][1] | {"halp": "…"}]}
    with pytest.raises(ConfigurationError, match="not understood: fields of"):
        families(CONFIGURATION | {"spec": {"resources": [misspelt]}})
    twice = Family("ScalingPolicy", "twice", "", "Info", {"labelsFromPath": {"name": ["name"]}}, {})
    with pytest.raises(ConfigurationError, match="also matches below a field"):
        twice.series({"name": "checkout", "metadata": {"name": "checkout"}})
