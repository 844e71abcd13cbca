"""The cheapest point of a frontier, tuning under noise, and the grid of simulated autoscalers."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.scaling.frontier import Point, Prices, cheapest, efficient, retuned
from forecasting.scaling.simulation import AutoscalerRules, Replicas, simulate
from forecasting.scaling.simulation_grid import simulate_grid

amounts = st.floats(0.1, 1e4)


@st.composite
def frontiers(draw: st.DrawFn) -> list[Point]:
    quantiles = draw(st.lists(st.sampled_from((0.5, 0.8, 0.9, 0.95, 0.99)), min_size=1, max_size=5, unique=True))
    return [Point(quantile, 0.7, 0.0, 0.0, draw(amounts), draw(amounts)) for quantile in quantiles]


prices = st.builds(Prices, amounts, amounts)


@given(frontiers(), prices)
def test_the_same_frontier_again_does_not_change_the_setting(points: list[Point], price: Prices) -> None:
    first = retuned(None, points, price)
    assert retuned((first.quantile, first.hpa_target), points, price) == first


@given(frontiers(), prices, st.lists(st.floats(-0.007, 0.007), min_size=2, max_size=2), st.integers(0, 4))
def test_noise_below_the_margin_never_makes_a_tuner_oscillate(
    points: list[Point], price: Prices, noise: list[float], start_index: int
) -> None:
    """Two frontiers that differ by noise, used alternately: the setting changes at most once."""
    noisy_frontiers = [
        [
            replace(
                point,
                minutes=point.minutes * (1 + (-1) ** index * factor),
                replica_hours=point.replica_hours * (1 + (-1) ** index * factor),
            )
            for index, point in enumerate(points)
        ]
        for factor in noise
    ]
    current = points[start_index % len(points)]
    setting, moves = (current.quantile, current.hpa_target), 0
    for step in range(8):
        best = retuned(setting, noisy_frontiers[step % 2], price)
        moves += (best.quantile, best.hpa_target) != setting
        setting = (best.quantile, best.hpa_target)
    assert moves <= 1


@given(frontiers(), prices)
def test_the_cheapest_setting_is_efficient(points: list[Point], price: Prices) -> None:
    best = cheapest(points, price)
    assert any(
        point.minutes <= best.minutes and point.replica_hours <= best.replica_hours for point in efficient(points)
    )


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 5000), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), min_size=1, max_size=60),
    st.floats(0.3, 1.2),
    st.integers(0, 8),
    st.integers(0, 6),
)
def test_a_grid_of_autoscalers_equals_single_simulations(
    demand: list[float], floors: list[int], target: float, start_steps: int, delay: int
) -> None:
    metric, floor_series = np.array(demand), np.resize(np.array(floors, dtype=np.int32), len(demand))
    rules = AutoscalerRules(target=target, stabilization_steps=4, start_steps=start_steps)

    def floor_at(step: int, replicas: Replicas) -> int:
        return int(floor_series[step])

    single = simulate(metric, 100, rules, floor_at)
    grid = simulate_grid(metric, 100, rules, np.array([0.9, target]), floor_series[:, None])
    assert grid.existing[:, 1].tolist() == single.existing.tolist()
    assert grid.ready[:, 1].tolist() == single.ready.tolist()
