"""Computation in chunks gives the results of a single pass."""

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.scaling import chunks
from forecasting.scaling.floors import FloorRules, Stride, floors_of
from forecasting.scaling.simulation import AutoscalerRules
from forecasting.scaling.simulation_grid import Counts, simulate_grid

replicas = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=90)
strides = st.builds(Stride, st.integers(1, 30), st.booleans(), st.integers(1, 6))
lengths = st.integers(7, 30)


def columns_of(rows: list[tuple[int, int]]) -> Counts:
    return np.array(rows, np.int32)


@settings(max_examples=150)
@given(
    recommendations=replicas,
    steps_without_data=st.sets(st.integers(0, 89)),
    up=strides,
    down=strides,
    window=st.integers(0, 12),
    band=st.tuples(st.integers(0, 3), st.integers(0, 30)),
    length=lengths,
)
def test_floors_computed_in_chunks_equal_those_of_one_pass(
    recommendations: list[tuple[int, int]],
    steps_without_data: set[int],
    up: Stride,
    down: Stride,
    window: int,
    band: tuple[int, int],
    length: int,
) -> None:
    rules = FloorRules(2, 40, up, down, window, *band)
    recommended = columns_of(recommendations)
    has_data = np.array([step not in steps_without_data for step in range(len(recommended))])

    def floors(chunk_steps: int) -> Counts:
        with patch.object(chunks, "CHUNK_STEPS", chunk_steps):
            return floors_of(recommended, recommended.min(axis=1), has_data, rules, initial=3)

    np.testing.assert_array_equal(floors(length), floors(10_000))


@settings(max_examples=150)
@given(
    demand=st.lists(st.floats(0, 5000), min_size=1, max_size=90),
    floors=replicas,
    tolerance=st.floats(0, 0.3),
    window=st.integers(0, 6),
    length=lengths,
)
def test_autoscalers_simulated_in_chunks_equal_those_of_one_pass(
    demand: list[float], floors: list[tuple[int, int]], tolerance: float, window: int, length: int
) -> None:
    metric, raised = np.array(demand), np.resize(columns_of(floors), (len(demand), 2)).astype(np.int32)
    rules = AutoscalerRules(stabilization_steps=window, start_steps=3, tolerance=tolerance, maximum=50, up_pods=2)

    def existing(chunk_steps: int) -> Counts:
        with patch.object(chunks, "CHUNK_STEPS", chunk_steps):
            return simulate_grid(metric, 100, rules, np.array([0.6, 0.9]), raised).existing

    np.testing.assert_array_equal(existing(length), existing(10_000))


def test_chunks_are_longer_than_the_memory_of_the_rules() -> None:
    assert chunks.split_into_chunks(5000, memory=480) == (1, 5000)
    assert chunks.split_into_chunks(5000, memory=21) == (11, 480)
