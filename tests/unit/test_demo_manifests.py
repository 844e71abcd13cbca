"""The manifests that the demo applies."""

from typing import Any

import pytest

from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_policy import parse_policy
from predictive_scaling.stack.demo.manifests import (
    HPA_ONLY,
    PREDICTIVE,
    Pace,
    deployment_with_hpa,
    event,
    policy,
)
from predictive_scaling.stack.demo.scenario import DemoScenario, make_scenario
from predictive_scaling.stack.demo.workload import generated_workload


@pytest.fixture(scope="module")
def scenario() -> DemoScenario:
    return make_scenario(generated_workload())


def test_the_deployments_differ_only_in_their_names(scenario: DemoScenario) -> None:
    hpa_only, predictive = (str(deployment_with_hpa(name, scenario, Pace(75))) for name in (HPA_ONLY, PREDICTIVE))
    assert hpa_only != predictive
    assert hpa_only.replace(HPA_ONLY, PREDICTIVE) == predictive


def test_no_hpa_has_a_minimum_that_could_conflict_with_a_policy(scenario: DemoScenario) -> None:
    _, autoscaler = deployment_with_hpa(PREDICTIVE, scenario, Pace(75))
    assert "minReplicas" not in autoscaler["spec"]


def test_both_hpas_target_80_percent_of_a_replica(scenario: DemoScenario) -> None:
    _, autoscaler = deployment_with_hpa(HPA_ONLY, scenario, Pace(75))
    (metric,) = autoscaler["spec"]["metrics"]
    assert float(metric["external"]["target"]["averageValue"]) == pytest.approx(0.8 * scenario.per_replica, abs=1)


@pytest.mark.parametrize(
    ("rate", "window", "percent", "pods"), [(1, 300, 100, 4), (75, 4, 3100, 20), (100, 3, 10_060, 27)]
)
def test_the_window_and_the_policies_scale_with_the_clock_rate(
    rate: float, window: int, percent: int, pods: int
) -> None:
    behavior: dict[str, Any] = Pace(rate).behavior()
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == window
    assert [rule["value"] for rule in behavior["scaleUp"]["policies"]] == [percent, pods]


def test_the_applied_manifests_are_valid(scenario: DemoScenario) -> None:
    parsed = parse_policy(policy(scenario))
    assert parsed.spec.demand.per_replica == pytest.approx(scenario.per_replica, abs=0.001)
    upcoming = parse_event(event(scenario.matches[0]))
    past = parse_event(event(scenario.earlier[0]))
    assert upcoming.spec.expect.multiplier is past.spec.expect.multiplier is None
    assert upcoming.spec.type == past.spec.type
