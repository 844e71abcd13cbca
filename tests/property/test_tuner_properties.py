from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forecasting.scaling.frontier import Point, Prices, cheapest
from forecasting.scaling.tuner import MIN_INTERVAL, TunerState, update

NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)
EVERY = timedelta(hours=6)
QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)
PRICES = Prices(1.0, 1.0)
costs = st.floats(10, 1000)
lasting = st.lists(costs, min_size=2, max_size=5)
"""What each quantile costs in truth, day after day."""


def a_frontier(truth: list[float], noise: list[float]) -> list[Point]:
    return [
        Point(quantile, 0.7, 0.0, 0.0, cost * (1 + share), 0.0)
        for quantile, cost, share in zip(QUANTILES, truth, noise, strict=False)
    ]


@st.composite
def looks(draw: st.DrawFn, amplitude: float, turns: int) -> tuple[list[float], list[list[Point]]]:
    """A frontier that lasts, and what is seen of it."""
    truth = draw(lasting)
    noise = st.lists(st.floats(-amplitude, amplitude), min_size=len(truth), max_size=len(truth))
    return truth, [a_frontier(truth, draw(noise)) for _ in range(turns)]


def history(seen: list[list[Point]], every: timedelta = EVERY) -> list[TunerState]:
    """What was held after each look."""
    held: list[TunerState] = []
    for turn, points in enumerate(seen):
        held.append(update(held[-1] if held else None, points, PRICES, NOW + turn * every))
    return held


@given(looks(amplitude=0.1, turns=50))
def test_noise_around_a_frontier_that_lasts_turns_a_tuner_round_a_few_times_at_the_most(
    seen: tuple[list[float], list[list[Point]]],
) -> None:
    """Ten per cent up and down are gains of 22 % by chance: from the third turn on they are not enough."""
    held = history(seen[1])
    assert NOW + 50 * EVERY - NOW < MIN_INTERVAL
    moves = [(before.quantile, after.quantile) for before, after in pairwise(held) if before.quantile != after.quantile]
    rises = [before < after for before, after in moves]
    assert sum(one is not other for one, other in pairwise(rises)) <= 4
    # Once it takes more than chance to move, no setting is come back to.
    late = [one.quantile for one in held if one.reversals >= 3]
    visits = [quantile for quantile, before in zip(late, [None, *late], strict=False) if quantile != before]
    assert len(visits) == len(set(visits))


@given(looks(amplitude=0.007, turns=20))
def test_less_noise_than_the_margin_moves_nothing(seen: tuple[list[float], list[list[Point]]]) -> None:
    assert len({one.quantile for one in history(seen[1])}) == 1


@given(st.integers(0, 6), st.sampled_from(QUANTILES[:2]))
def test_a_setting_that_became_far_too_dear_is_left_at_the_next_look(turns: int, quantile: float) -> None:
    points = a_frontier([*(1000.0 if it == quantile else 10.0 for it in QUANTILES)], [0.0] * 5)
    found = update(TunerState(quantile, NOW, rising=True, reversals=turns), points, PRICES, NOW + EVERY)
    assert found.quantile == cheapest(points, PRICES).quantile != quantile
    assert found.moved_at == NOW + EVERY


def test_a_turn_back_takes_twice_the_gain_and_a_calm_makes_it_forget() -> None:
    cheaper_by_5 = [Point(0.9, 0.7, 0, 0, 95.0, 0.0), Point(0.95, 0.7, 0, 0, 100.0, 0.0)]
    risen = TunerState(0.95, NOW, rising=True)
    assert update(risen, cheaper_by_5, PRICES, NOW + EVERY) == risen
    assert update(TunerState(0.95, NOW, rising=False), cheaper_by_5, PRICES, NOW + EVERY).quantile == 0.9
    assert update(risen, cheaper_by_5, PRICES, NOW + MIN_INTERVAL) == TunerState(
        0.9, NOW + MIN_INTERVAL, rising=False, reversals=0
    )


def test_a_turn_is_counted() -> None:
    half = [Point(0.9, 0.7, 0, 0, 50.0, 0.0), Point(0.95, 0.7, 0, 0, 100.0, 0.0)]
    later = NOW + EVERY
    assert update(TunerState(0.95, NOW, rising=True, reversals=1), half, PRICES, later) == TunerState(
        0.9, later, False, 2
    )
    assert update(TunerState(0.95, NOW, rising=False, reversals=1), half, PRICES, later) == TunerState(
        0.9, later, False, 1
    )


def test_a_quantile_that_the_frontier_does_not_have_is_left_for_the_cheapest() -> None:
    points = [Point(0.9, 0.7, 0, 0, 100.0, 0.0), Point(0.95, 0.7, 0, 0, 99.9, 0.0)]
    assert update(TunerState(0.42, NOW), points, PRICES, NOW + EVERY).quantile == 0.95
