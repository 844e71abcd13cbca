"""The simulated HorizontalPodAutoscaler."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecasting.scaling.simulation import AutoscalerRules, Replicas, no_floor, simulate

RULES = AutoscalerRules(target=0.8, stabilization_steps=4, start_steps=3)


def test_a_deviation_within_the_tolerance_changes_nothing() -> None:
    run = simulate(np.array([800.0, 870.0, 730.0]), 100, RULES, no_floor)
    assert run.existing.tolist() == [10, 10, 10]


def test_new_pods_are_ready_after_their_start_time() -> None:
    run = simulate(np.array([80.0, *[320.0] * 5]), 100, RULES, no_floor)
    assert run.existing.tolist() == [1, 4, 4, 4, 4, 4]
    assert run.ready.tolist() == [1, 1, 1, 1, 4, 4]
    assert run.short.tolist() == [False, True, True, True, False, False]


def test_a_decrease_is_limited_by_the_highest_recommendation_of_the_window() -> None:
    run = simulate(np.array([320.0, *[80.0] * 7]), 100, RULES, no_floor)
    assert run.existing.tolist() == [4, 4, 4, 4, 4, 1, 1, 1]


def test_a_raised_minimum_applies_at_once_and_unready_pods_are_removed_first() -> None:
    def floor_at(step: int, replicas: Replicas) -> int:
        return 6 if 1 <= step < 3 else 1

    rules = AutoscalerRules(target=0.8, stabilization_steps=0, start_steps=10)
    run = simulate(np.full(6, 160.0), 100, rules, floor_at)
    assert run.existing.tolist() == [2, 6, 6, 2, 2, 2]
    assert run.ready.tolist() == [2] * 6


@given(st.lists(st.floats(1, 5000), min_size=1, max_size=60), st.integers(1, 30))
def test_a_floor_never_reduces_ready_replicas(demand: list[float], floor: int) -> None:
    def floor_at(step: int, replicas: Replicas) -> int:
        return floor

    # Without tolerance, the recommendation of the HPA does not depend on the current replicas.
    rules = AutoscalerRules(stabilization_steps=4, start_steps=3, tolerance=0.0)
    hpa_only, with_floor = (simulate(np.array(demand), 100, rules, floors) for floors in (no_floor, floor_at))
    assert (with_floor.ready >= hpa_only.ready).all()
    assert (with_floor.existing >= floor).all()
