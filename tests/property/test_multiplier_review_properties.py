"""Reviews of declared multipliers, for any event, demand and gaps."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.decision.events.multiplier_review import review_multiplier, shares
from predictive_scaling.decision.events.windows import EventWindow, event_window
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.vocabulary import MultiplierVerdict
from tests.support.builders import NOON, a_forecast, an_event

MINUTE = timedelta(minutes=1)


def a_window(duration: int, up: int, down: int) -> EventWindow:
    end = NOON + duration * MINUTE
    return event_window(an_event(end=end, rampUp=f"{up}m", rampDown=f"{down}m"), Span(NOON, end))


windows = st.builds(a_window, st.integers(1, 240), st.integers(0, 60), st.integers(0, 60))
multipliers = st.floats(0.1, 50)


@given(windows, st.integers(0, 300))
def test_the_share_of_a_minute_lies_between_its_lowest_and_highest_share(window: EventWindow, minutes: int) -> None:
    for index, share in enumerate(shares(window, window.span.start, minutes)):
        minute = Span(window.span.start + index * MINUTE, window.span.start + (index + 1) * MINUTE)
        if minute.overlaps(window.span):
            assert window.lowest_share(minute) - 1e-9 <= share <= window.highest_share(minute) + 1e-9
        else:
            assert share == 0.0


@given(windows, multipliers, multipliers, st.integers(0, 360), st.integers(0, 2**32 - 1), st.floats(0, 0.5))
def test_the_true_multiplier_is_observed_and_an_exact_one_is_never_wrong(
    window: EventWindow, declared: float, truth: float, minutes: int, seed: int, missing: float
) -> None:
    generator = np.random.default_rng(seed)
    start = window.span.start
    values = 10.0 ** generator.uniform(0, 4, size=80)
    baseline = a_forecast(*values, origin=start, spread={0.1: 0.95, 0.9: 1.05})
    per_minute = np.repeat(values, 5)[:minutes]
    demand = per_minute * (1.0 + (truth - 1.0) * shares(window, start, minutes))
    demand[generator.random(minutes) < missing] = np.nan
    review = review_multiplier(window, declared, baseline, demand)
    if review is None:
        return
    assert review.multiplier == pytest.approx(truth, rel=1e-6)
    assert window.span.start < review.until <= start + minutes * MINUTE
    if review.verdict is MultiplierVerdict.TOO_LOW:
        assert truth > declared
    if review.verdict is MultiplierVerdict.TOO_HIGH:
        assert truth < declared
    if 0.9 * declared < truth < 1.1 * declared:
        assert review.verdict in (None, MultiplierVerdict.AS_DECLARED)


@given(windows, multipliers, st.lists(st.floats(0, 1e6), min_size=10, max_size=240))
def test_with_one_baseline_the_reports_of_an_event_follow_one_order(
    window: EventWindow, declared: float, demands: list[float]
) -> None:
    """Too high may turn into as declared and then too low, never back: the observed multiplier only rises."""
    baseline = a_forecast(*[100.0] * 80, origin=window.span.start, spread={0.1: 0.9, 0.9: 1.1})
    demand, before = np.array(demands), None
    order = [None, MultiplierVerdict.TOO_HIGH, MultiplierVerdict.AS_DECLARED, MultiplierVerdict.TOO_LOW]
    highest, ranks = 0.0, [0]
    for minutes in range(10, len(demand) + 1, 7):
        review = review_multiplier(window, declared, baseline, demand[:minutes], (), before)
        if review is None:
            continue
        assert review.multiplier >= highest
        highest, before = review.multiplier, review.verdict
        ranks.append(order.index(before))
    assert ranks == sorted(ranks)
