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
def test_a_tuner_that_sees_the_same_frontier_again_stays(points: list[Point], price: Prices) -> None:
    first = retuned(None, points, price)
    assert retuned((first.quantile, first.hpa_target), points, price) == first


@given(frontiers(), prices, st.lists(st.floats(-0.007, 0.007), min_size=2, max_size=2), st.integers(0, 4))
def test_noise_below_the_margin_never_makes_a_tuner_oscillate(
    points: list[Point], price: Prices, noise: list[float], held_at: int
) -> None:
    """Two frontiers that differ by noise, seen in turn: after at most one move it stays for good."""
    seen = [
        [
            Point(
                p.quantile, p.hpa_target, 0, 0, p.minutes * (1 + (-1) ** i * n), p.replica_hours * (1 + (-1) ** i * n)
            )
            for i, p in enumerate(points)
        ]
        for n in noise
    ]
    held = points[held_at % len(points)]
    setting, moves = (held.quantile, held.hpa_target), 0
    for turn in range(8):
        found = retuned(setting, seen[turn % 2], price)
        moves += (found.quantile, found.hpa_target) != setting
        setting = (found.quantile, found.hpa_target)
    assert moves <= 1


@given(frontiers(), prices)
def test_the_cheapest_setting_is_an_efficient_one(points: list[Point], price: Prices) -> None:
    best = cheapest(points, price)
    assert any(it.minutes <= best.minutes and it.replica_hours <= best.replica_hours for it in efficient(points))


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 5000), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), min_size=1, max_size=60),
    st.floats(0.3, 1.2),
    st.integers(0, 8),
    st.integers(0, 6),
)
def test_a_grid_does_what_one_autoscaler_at_a_time_does(
    demand: list[float], floors: list[int], target: float, start_steps: int, delay: int
) -> None:
    metric, wanted = np.array(demand), np.resize(np.array(floors, dtype=np.int32), len(demand))
    rules = AutoscalerRules(target=target, stabilization_steps=4, start_steps=start_steps)

    def floor_at(step: int, seen: Replicas) -> int:
        return int(wanted[step])

    one = simulate(metric, 100, rules, floor_at)
    many = simulate_grid(metric, 100, rules, np.array([0.9, target]), wanted[:, None])
    assert many.existing[:, 1].tolist() == one.existing.tolist()
    assert many.ready[:, 1].tolist() == one.ready.tolist()
