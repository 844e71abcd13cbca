"""The demo in simulated time."""

from predictive_scaling.stack.demo.result import MAX_HOURS, MAX_RELATIVE_SHORT_MINUTES
from predictive_scaling.stack.demo.scenario import make_scenario
from predictive_scaling.stack.demo.workload import generated_workload
from tests.support.simulated_demo import simulated_demo


def test_the_earlier_matches_teach_enough_to_meet_the_bar_of_the_demo() -> None:
    demo = simulated_demo(make_scenario(generated_workload()))
    assert demo.event_floors.any()
    assert demo.hpa_only.minutes >= 15
    assert demo.predictive.minutes <= MAX_RELATIVE_SHORT_MINUTES * demo.hpa_only.minutes
    assert demo.predictive.replica_hours <= MAX_HOURS * demo.hpa_only.replica_hours
