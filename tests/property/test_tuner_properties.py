"""The tuner under noise: few reversals, and moves only for large gains."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forecasting.scaling.frontier import Point, Prices, cheapest
from forecasting.scaling.tuner import MIN_INTERVAL, TunerState, update

NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)
INTERVAL = timedelta(hours=6)
QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)
PRICES = Prices(1.0, 1.0)
costs = st.floats(10, 1000)
true_costs = st.lists(costs, min_size=2, max_size=5)
"""The true cost of each quantile, constant over time."""


def a_frontier(truth: list[float], noise: list[float]) -> list[Point]:
    return [
        Point(quantile, 0.7, 0.0, 0.0, cost * (1 + share), 0.0)
        for quantile, cost, share in zip(QUANTILES, truth, noise, strict=False)
    ]


@st.composite
def noisy_frontiers(draw: st.DrawFn, amplitude: float, turns: int) -> tuple[list[float], list[list[Point]]]:
    """The true costs of a constant frontier, and noisy observations of it."""
    truth = draw(true_costs)
    noise = st.lists(st.floats(-amplitude, amplitude), min_size=len(truth), max_size=len(truth))
    return truth, [a_frontier(truth, draw(noise)) for _ in range(turns)]


def tuner_states(frontiers: list[list[Point]], interval: timedelta = INTERVAL) -> list[TunerState]:
    """The state of the tuner after each frontier."""
    states: list[TunerState] = []
    for step, points in enumerate(frontiers):
        states.append(update(states[-1] if states else None, points, PRICES, NOW + step * interval))
    return states


@given(noisy_frontiers(amplitude=0.1, turns=50))
def test_noise_around_a_constant_frontier_causes_few_reversals(
    observed: tuple[list[float], list[list[Point]]],
) -> None:
    """Noise of 10 % can look like a gain of 22 %: from the third reversal on that is not enough."""
    states = tuner_states(observed[1])
    assert NOW + 50 * INTERVAL - NOW < MIN_INTERVAL
    moves = [
        (before.quantile, after.quantile) for before, after in pairwise(states) if before.quantile != after.quantile
    ]
    rises = [before < after for before, after in moves]
    assert sum(rise is not next_rise for rise, next_rise in pairwise(rises)) <= 4
    # Once a move takes more than chance, the tuner never returns to an earlier quantile.
    late = [state.quantile for state in states if state.reversals >= 3]
    visited = [quantile for quantile, before in zip(late, [None, *late], strict=False) if quantile != before]
    assert len(visited) == len(set(visited))


@given(noisy_frontiers(amplitude=0.007, turns=20))
def test_noise_below_the_margin_causes_no_move(observed: tuple[list[float], list[list[Point]]]) -> None:
    assert len({state.quantile for state in tuner_states(observed[1])}) == 1


@given(st.integers(0, 6), st.sampled_from(QUANTILES[:2]))
def test_a_much_too_expensive_quantile_is_left_at_the_next_update(reversals: int, quantile: float) -> None:
    points = a_frontier([1000.0 if other == quantile else 10.0 for other in QUANTILES], [0.0] * 5)
    state = update(TunerState(quantile, NOW, rising=True, reversals=reversals), points, PRICES, NOW + INTERVAL)
    assert state.quantile == cheapest(points, PRICES).quantile != quantile
    assert state.moved_at == NOW + INTERVAL


def test_a_reversal_needs_twice_the_gain_until_the_minimum_interval_has_passed() -> None:
    five_percent_cheaper = [Point(0.9, 0.7, 0, 0, 95.0, 0.0), Point(0.95, 0.7, 0, 0, 100.0, 0.0)]
    risen = TunerState(0.95, NOW, rising=True)
    assert update(risen, five_percent_cheaper, PRICES, NOW + INTERVAL) == risen
    assert update(TunerState(0.95, NOW, rising=False), five_percent_cheaper, PRICES, NOW + INTERVAL).quantile == 0.9
    assert update(risen, five_percent_cheaper, PRICES, NOW + MIN_INTERVAL) == TunerState(
        0.9, NOW + MIN_INTERVAL, rising=False, reversals=0
    )


def test_a_reversal_is_counted() -> None:
    half_the_cost = [Point(0.9, 0.7, 0, 0, 50.0, 0.0), Point(0.95, 0.7, 0, 0, 100.0, 0.0)]
    later = NOW + INTERVAL
    assert update(TunerState(0.95, NOW, rising=True, reversals=1), half_the_cost, PRICES, later) == TunerState(
        0.9, later, False, 2
    )
    assert update(TunerState(0.95, NOW, rising=False, reversals=1), half_the_cost, PRICES, later) == TunerState(
        0.9, later, False, 1
    )


def test_a_quantile_outside_the_frontier_is_replaced_by_the_cheapest() -> None:
    points = [Point(0.9, 0.7, 0, 0, 100.0, 0.0), Point(0.95, 0.7, 0, 0, 99.9, 0.0)]
    assert update(TunerState(0.42, NOW), points, PRICES, NOW + INTERVAL).quantile == 0.95
