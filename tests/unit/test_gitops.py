"""Health in Argo CD and status by kstatus of every state of the custom resources, and the examples for Argo CD."""

import copy
from typing import Any

import pytest
import yaml
from lupa import lua51

from predictive_scaling.chart.values import Values
from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.resources.vocabulary import DecisionPhase, EventPhase
from tests.support import argo_cd
from tests.support.argo_cd import CUSTOMIZATIONS, EXAMPLES, health
from tests.support.gitops_states import KINDS, STATES, assert_state, recorded_object
from tests.support.helm import CHART, REQUIRED, merged
from tests.support.kstatus import KStatus, kstatus

Json = dict[str, Any]


def health_tests(kind: str) -> list[Json]:
    return yaml.safe_load((CUSTOMIZATIONS / kind / "health_test.yaml").read_text())["tests"]


def with_status(kind: str, state: str, **status: Any) -> Json:
    """The recorded object of a state with other values in its status."""
    body = recorded_object(kind, state)
    return body | {"status": body["status"] | status}


def with_condition(body: Json, type_: str, status: str, reason: str) -> Json:
    """The object with another state of a condition."""
    changed = copy.deepcopy(body)
    (condition,) = [condition for condition in changed["status"]["conditions"] if condition["type"] == type_]
    condition |= {"status": status, "reason": reason, "message": "the cause"}
    return changed


@pytest.mark.parametrize(("kind", "state"), STATES)
def test_an_object_of_each_state_is_recorded_and_has_its_health_and_status(kind: str, state: str) -> None:
    body = recorded_object(kind, state)
    assert {"uid", "resourceVersion", "generation", "creationTimestamp"} <= body["metadata"].keys()
    assert_state(state, body)


@pytest.mark.parametrize("kind", KINDS)
def test_the_health_tests_name_each_recorded_object_with_its_health(kind: str) -> None:
    tests = health_tests(kind)
    folder = CUSTOMIZATIONS / kind
    recorded = [f"testdata/{path.name}" for path in folder.glob("testdata/*")]
    assert sorted(test["inputPath"] for test in tests) == sorted(recorded)
    assert sorted(recorded) == sorted(f"testdata/{state}.yaml" for other, state in STATES if other == kind)
    for test in tests:
        assert health(yaml.safe_load((folder / test["inputPath"]).read_text())) == test["healthStatus"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [{}, {"conditions": []}, {"observedGeneration": 1, "conditions": []}])
def test_an_incomplete_status_is_progressing(kind: str, status: Json) -> None:
    body = {"kind": kind, "metadata": {"generation": 1}, "status": status}
    assert health(body)["status"] == "Progressing"


@pytest.mark.parametrize("phase", DecisionPhase)
def test_a_decision_has_a_health_in_each_phase(phase: DecisionPhase) -> None:
    result = health(with_status("ScalingDecision", "succeeded", phase=phase.value, message="the cause"))
    harmful = phase in (DecisionPhase.FAILED, DecisionPhase.ROLLED_BACK)
    expected = "Degraded" if harmful else "Healthy" if phase.is_final else "Progressing"
    assert result == {"status": expected, "message": f"{phase.value}: the cause"}


@pytest.mark.parametrize("phase", EventPhase)
def test_an_accepted_event_is_healthy_in_each_phase(phase: EventPhase) -> None:
    result = health(with_status("BusinessEvent", "scheduled", phase=phase.value, nextStart="2026-11-27T07:00:00Z"))
    assert result == {"status": "Healthy", "message": f"{phase.value}, next start 2026-11-27T07:00:00Z"}


@pytest.mark.parametrize(
    ("type_", "status", "expected", "computed"),
    [
        ("Verified", "False", "Healthy", KStatus.CURRENT),
        ("Fallback", "True", "Healthy", KStatus.CURRENT),
        ("Paused", "True", "Suspended", KStatus.CURRENT),
        ("Conflict", "True", "Degraded", KStatus.CURRENT),
        ("Ready", "False", "Degraded", KStatus.IN_PROGRESS),
        ("Ready", "Unknown", "Progressing", KStatus.IN_PROGRESS),
        ("Stalled", "True", "Degraded", KStatus.FAILED),
        ("ScalingActive", "False", "Healthy", KStatus.CURRENT),
    ],
)
def test_each_condition_that_counts_changes_the_health_of_a_policy(
    type_: str, status: str, expected: str, computed: KStatus
) -> None:
    body = with_condition(recorded_object("ScalingPolicy", "auto"), type_, status, "Cause")
    result = health(body)
    assert (result["status"], kstatus(body)) == (expected, computed)
    assert result["message"] == "Cause: the cause" or expected == "Progressing"


def test_a_policy_that_is_off_is_healthy_on_a_target_that_another_policy_holds() -> None:
    body = with_condition(recorded_object("ScalingPolicy", "off"), "Conflict", "True", "TargetHeldByPolicy")
    assert health(body)["status"] == "Healthy"


def test_a_policy_without_its_database_says_so_and_is_healthy() -> None:
    body = with_condition(recorded_object("ScalingPolicy", "auto"), "Ready", "True", "DatabaseUnavailable")
    assert health(body) == {"status": "Healthy", "message": "DatabaseUnavailable: the cause"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_object_is_terminating_for_kstatus(kind: str) -> None:
    body = recorded_object(kind, next(state for other, state in STATES if other == kind))
    body["metadata"]["deletionTimestamp"] = "2026-06-17T12:00:00Z"
    assert kstatus(body) is KStatus.TERMINATING


@pytest.mark.parametrize("name", ["string", "os", "io", "math", "debug", "coroutine", "python"])
def test_a_health_script_has_no_standard_libraries(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "Kind").mkdir()
    (tmp_path / "Kind" / "health.lua").write_text(f"return {name}.any('thing')")
    monkeypatch.setattr(argo_cd, "CUSTOMIZATIONS", tmp_path)
    with pytest.raises(lua51.LuaError, match=f"attempt to index global '{name}'"):
        health({"kind": "Kind"})


def test_the_settings_of_argo_cd_have_the_script_of_each_kind() -> None:
    generator = yaml.safe_load((EXAMPLES / "kustomization.yaml").read_text())["configMapGenerator"][0]
    group = CUSTOMIZATIONS.name
    script = f"resource_customizations/{group}/{{0}}/health.lua"
    files = [f"resource.customizations.health.{group}_{kind}={script.format(kind)}" for kind in KINDS]
    assert generator["files"] == files
    assert generator["literals"] == [
        f"resource.customizations.ignoreResourceUpdates.{group}_{kind}=jsonPointers: [/status]" for kind in KINDS
    ]


def manifests(pattern: str) -> list[Json]:
    paths = sorted(EXAMPLES.glob(pattern))
    assert paths
    return [body for path in paths for body in yaml.safe_load_all(path.read_text())]


def wave(body: Json) -> int:
    return int(body["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0"))


def test_the_waves_of_argo_cd_put_targets_before_policies_and_policies_before_events() -> None:
    waves: dict[str, set[int]] = {}
    for body in manifests("shop/*.yaml"):
        waves.setdefault(body["kind"], set()).add(wave(body))
    targets = waves["Deployment"] | waves["HorizontalPodAutoscaler"]
    assert max(targets) < min(waves["ScalingPolicy"]) <= max(waves["ScalingPolicy"]) < min(waves["BusinessEvent"])
    operator, shop = manifests("applications.yaml")
    assert wave(operator) < wave(shop)


def test_the_application_of_the_operator_has_the_required_values_of_the_chart() -> None:
    source = manifests("applications.yaml")[0]["spec"]["source"]
    assert EXAMPLES.parents[1] / source["path"] == CHART
    values = source["helm"]["valuesObject"]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    # The model has no settings; the schema of the chart adds them.
    del defaults["settings"]
    Values.model_validate(merged(values, defaults))
    assert {name: values[name].keys() for name in REQUIRED} == {name: REQUIRED[name].keys() for name in REQUIRED}


def test_the_application_ignores_exactly_the_minimums_that_are_stated_in_git() -> None:
    _, shop = manifests("applications.yaml")
    ignored = {entry["name"]: entry["jsonPointers"] for entry in shop["spec"]["ignoreDifferences"]}
    stated = {
        body["metadata"]["name"]: ["/spec/minReplicas"]
        for body in manifests("shop/*.yaml")
        if body["kind"] == "HorizontalPodAutoscaler" and "minReplicas" in body["spec"]
    }
    assert ignored == stated != {}
    assert "RespectIgnoreDifferences=true" in shop["spec"]["syncPolicy"]["syncOptions"]


def test_the_examples_name_the_field_manager_of_the_operator() -> None:
    assert f"managedFieldsManagers: [{FIELD_MANAGER}]" in (EXAMPLES / "applications.yaml").read_text()
