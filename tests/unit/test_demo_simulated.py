"""The demo in simulated time."""

from pathlib import Path

from predictive_scaling.stack.demo.measure import compare
from predictive_scaling.stack.demo.scenario import make_scenario
from predictive_scaling.stack.demo.workload import generated_workload
from tests.support.simulated_demo import SimulatedDemo


def test_the_policy_of_the_demo_meets_its_bar_with_a_naive_forecast(tmp_path: Path) -> None:
    scenario = make_scenario(generated_workload())
    comparison = compare(list(SimulatedDemo(scenario, tmp_path).observations()), scenario.ends_at, scenario.per_replica)
    hpa_only, predictive = comparison.hpa_only, comparison.predictive
    assert 30 <= hpa_only.under_provisioned_minutes <= 47
    assert predictive.under_provisioned_minutes <= hpa_only.under_provisioned_minutes / 5
    assert comparison.hours_ratio <= 1.15
