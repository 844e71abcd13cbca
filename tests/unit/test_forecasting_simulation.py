import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecasting.scaling.simulation import AutoscalerRules, Replicas, no_floor, simulate

RULES = AutoscalerRules(target=0.8, stabilization_steps=4, start_steps=3)


def test_within_the_tolerance_nothing_changes() -> None:
    run = simulate(np.array([800.0, 870.0, 730.0]), 100, RULES, no_floor)
    assert run.existing.tolist() == [10, 10, 10]


def test_new_pods_are_ready_only_after_their_start() -> None:
    run = simulate(np.array([80.0, *[320.0] * 5]), 100, RULES, no_floor)
    assert run.existing.tolist() == [1, 4, 4, 4, 4, 4]
    assert run.ready.tolist() == [1, 1, 1, 1, 4, 4]
    assert run.short.tolist() == [False, True, True, True, False, False]


def test_the_highest_recommendation_of_the_window_holds_on_the_way_down() -> None:
    run = simulate(np.array([320.0, *[80.0] * 7]), 100, RULES, no_floor)
    assert run.existing.tolist() == [4, 4, 4, 4, 4, 1, 1, 1]


def test_a_raised_minimum_acts_at_once_and_pods_that_are_not_ready_go_first() -> None:
    def floor_at(step: int, seen: Replicas) -> int:
        return 6 if 1 <= step < 3 else 1

    rules = AutoscalerRules(target=0.8, stabilization_steps=0, start_steps=10)
    run = simulate(np.full(6, 160.0), 100, rules, floor_at)
    assert run.existing.tolist() == [2, 6, 6, 2, 2, 2]
    assert run.ready.tolist() == [2] * 6


@given(st.lists(st.floats(1, 5000), min_size=1, max_size=60), st.integers(1, 30))
def test_a_floor_never_means_fewer_ready_replicas(demand: list[float], floor: int) -> None:
    def floor_at(step: int, seen: Replicas) -> int:
        return floor

    # Without the tolerance band the HPA's wish does not depend on what there is.
    rules = AutoscalerRules(stabilization_steps=4, start_steps=3, tolerance=0.0)
    alone, floored = (simulate(np.array(demand), 100, rules, each) for each in (no_floor, floor_at))
    assert (floored.ready >= alone.ready).all()
    assert (floored.existing >= floor).all()
