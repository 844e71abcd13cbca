"""Declared multipliers against observed demand: verdicts, what to write instead, and what is left out."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from forecasting.forecast import Forecast
from predictive_scaling.decision.events.multiplier_review import (
    MultiplierReview,
    review_multiplier,
    shares,
    summary_of,
)
from predictive_scaling.decision.events.windows import EventWindow, event_window
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.vocabulary import MultiplierVerdict
from tests.support.builders import NOON, a_forecast, an_event

MINUTE = timedelta(minutes=1)
BAND = {0.1: 0.9, 0.9: 1.1}


def a_window(hours: float = 2, **spec: Any) -> EventWindow:
    event = an_event(expect={"multiplier": "3"}, end=NOON + timedelta(hours=hours), **spec)
    return event_window(event, Span(NOON, NOON + timedelta(hours=hours)))


def a_baseline(demand: float = 100.0, origin_before: timedelta = timedelta(hours=1)) -> Forecast:
    return a_forecast(*[demand] * 60, origin=NOON - origin_before, spread=BAND)


def review(window: EventWindow, multiplier: float, minutes: int, **options: Any) -> MultiplierReview | None:
    """The review after some minutes of the window with this multiplier of a baseline of 100."""
    start = window.span.start
    demand = 100.0 * (1.0 + (multiplier - 1.0) * shares(window, start, minutes))
    return review_multiplier(window, 3.0, a_baseline(), demand, **options)


@pytest.mark.parametrize(
    ("multiplier", "verdict"),
    [
        (5.0, MultiplierVerdict.TOO_LOW),
        (3.8, MultiplierVerdict.TOO_LOW),
        (3.5, MultiplierVerdict.AS_DECLARED),
        (2.4, MultiplierVerdict.AS_DECLARED),
        (2.2, MultiplierVerdict.TOO_HIGH),
        (1.0, MultiplierVerdict.TOO_HIGH),
        (0.2, MultiplierVerdict.TOO_HIGH),
    ],
)
def test_the_multiplier_is_compared_with_the_declared_one(multiplier: float, verdict: MultiplierVerdict) -> None:
    result = review(a_window(), multiplier, 60)
    assert result is not None
    assert result.multiplier == pytest.approx(multiplier)
    assert result.verdict is verdict


def test_a_multiplier_that_is_too_low_is_reported_during_the_ramp() -> None:
    window = a_window(rampUp="40m")
    assert review(window, 5.0, 27) is None, "under half of the effect, the baseline's own error is larger"
    result = review(window, 5.0, 30)
    assert result is not None
    assert result.verdict is MultiplierVerdict.TOO_LOW
    assert result.multiplier == pytest.approx(5.0)
    assert result.until <= NOON


def test_a_low_demand_is_no_evidence_before_half_of_the_event() -> None:
    window = a_window(hours=1, rampUp="1h")
    for minutes, verdict in ((60, None), (89, None), (90, MultiplierVerdict.TOO_HIGH)):
        result = review(window, 1.0, minutes)
        assert result is not None
        assert result.verdict is verdict


def test_fewer_than_ten_minutes_are_not_compared() -> None:
    assert review(a_window(), 5.0, 9) is None
    assert review(a_window(), 5.0, 10) is not None
    assert review(a_window(), 5.0, 0) is None


def test_a_difference_within_the_band_of_the_baseline_is_not_reported() -> None:
    demand = np.full(60, 400.0)
    wide = a_forecast(*[100.0] * 24, origin=NOON, spread={0.1: 0.5, 0.9: 1.5})
    result = review_multiplier(a_window(), 3.0, wide, demand)
    assert result is not None
    assert (result.multiplier, result.verdict) == (4.0, MultiplierVerdict.AS_DECLARED)


@pytest.mark.parametrize(
    ("multiplier", "before", "verdict"),
    [
        (3.5, MultiplierVerdict.TOO_LOW, MultiplierVerdict.TOO_LOW),
        (3.2, MultiplierVerdict.TOO_LOW, MultiplierVerdict.AS_DECLARED),
        (2.6, MultiplierVerdict.TOO_HIGH, MultiplierVerdict.TOO_HIGH),
        (2.8, MultiplierVerdict.TOO_HIGH, MultiplierVerdict.AS_DECLARED),
    ],
)
def test_a_verdict_ends_at_a_wider_threshold(
    multiplier: float, before: MultiplierVerdict, verdict: MultiplierVerdict
) -> None:
    result = review(a_window(), multiplier, 70, before=before)
    assert result is not None
    assert result.verdict is verdict


def test_minutes_of_another_event_are_left_out() -> None:
    whole = Span(NOON - MINUTE, NOON + timedelta(hours=2))
    assert review(a_window(), 5.0, 60, others=[whole]) is None
    first_half = Span(NOON - MINUTE, NOON + 30 * MINUTE)
    result = review(a_window(), 5.0, 60, others=[first_half])
    assert result is not None
    assert result.until >= NOON + 38 * MINUTE


def test_missing_minutes_and_minutes_beyond_the_baseline_are_left_out() -> None:
    demand = np.full(60, 500.0)
    demand[np.arange(60) % 3 == 0] = np.nan
    assert review_multiplier(a_window(), 3.0, a_baseline(), demand) is None
    short = a_forecast(100.0, origin=NOON, spread=BAND)
    assert review_multiplier(a_window(), 3.0, short, np.full(60, 500.0)) is None


def reviews(**multipliers: float) -> dict[str, MultiplierReview]:
    results = {name: review(a_window(), multiplier, 70) for name, multiplier in multipliers.items()}
    return {name: result for name, result in results.items() if result is not None}


def test_the_message_says_what_to_write_instead() -> None:
    summary = summary_of(reviews(checkout=5.13, search=3.0), 3.0)
    assert summary is not None
    verdict, message = summary
    assert verdict is MultiplierVerdict.TOO_LOW
    assert "policy checkout (of 2) was 5.1 times its baseline" in message
    assert message.endswith('declared 3; set spec.expect.multiplier to "5.2"')

    summary = summary_of(reviews(checkout=1.4, search=1.1), 3.0)
    assert summary is not None
    assert summary[0] is MultiplierVerdict.TOO_HIGH
    assert summary[1].endswith('set spec.expect.multiplier to "1.4"')


def test_a_multiplier_that_fits_one_policy_is_not_too_high() -> None:
    summary = summary_of(reviews(checkout=3.0, search=1.1), 3.0)
    assert summary is not None
    assert summary[0] is MultiplierVerdict.AS_DECLARED
    assert "too high for search" in summary[1]


def test_there_is_no_summary_without_a_verdict() -> None:
    assert summary_of({}, 3.0) is None
    assert summary_of({"checkout": MultiplierReview(1.0, NOON, None)}, 3.0) is None
