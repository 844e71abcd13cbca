"""How `make bench` compares what it measured with the bars."""

import math

import pytest

from tests.bench.traces import DEVELOPMENT, STREAM
from tests.bench.verdicts import (
    WAPE_WITH_STREAM,
    WAPE_WITHOUT_STREAM,
    at_least,
    at_most,
    wape_bars,
    within_points,
)


@pytest.mark.parametrize(
    ("measured", "text"),
    [(0.2, "met"), (0.264, "met"), (0.2644, "met"), (0.2646, "missed by 0.001"), (0.3, "missed by 0.036")],
)
def test_an_error_meets_its_bar_when_it_is_no_higher_at_the_bars_decimals(measured: float, text: str) -> None:
    assert at_most("WAPE", measured, 0.264).text == text


@pytest.mark.parametrize(
    ("measured", "text"),
    [(3.0, "met"), (2.96, "met"), (2.9, "missed by 0.1"), (math.inf, "met"), (1.2, "missed by 1.8")],
)
def test_a_gain_meets_its_bar_when_it_is_no_lower(measured: float, text: str) -> None:
    assert at_least("fewer", measured, 3.0, 1).text == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9, "met"), (0.88, "met"), (0.92, "met"), (0.875, "missed by 0.5"), (0.931, "missed by 1.1")],
)
def test_coverage_may_stray_to_both_sides_by_so_many_points(share: float, text: str) -> None:
    assert within_points("coverage", share, 0.9, 2, 1).text == text


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    nothing = at_most("WAPE", math.nan, 0.264)
    assert (nothing.text, nothing.measured) == ("not measured", "–")


def test_means_are_compared_with_the_bar_of_exactly_the_series_that_they_are_of() -> None:
    assert wape_bars(DEVELOPMENT, STREAM, DEVELOPMENT) == WAPE_WITHOUT_STREAM
    assert wape_bars(DEVELOPMENT | {STREAM}, STREAM, DEVELOPMENT) == WAPE_WITH_STREAM
    assert wape_bars({"aws-elb-requests-per-5min"}, STREAM, DEVELOPMENT) is None


def test_what_lies_behind_a_bar_is_said_with_how_far_it_is() -> None:
    assert at_most("WAPE", 0.244, 0.248, goal=0.235).towards == "≤ 0.235: 0.009 to go"
    assert at_least("fewer", 5.2, 3.7, 1, goal=5.0).towards == "≥ 5.0: reached"
    assert at_most("WAPE", 0.244, 0.248).towards == ""
