"""Scores of forecasts whose time has come, and what a replica carries."""

import pytest

from predictive_scaling.control.accuracy import score, total
from predictive_scaling.control.capacity import Capacities
from tests.support.builders import NOON


def test_scores_add_up() -> None:
    first = score([(100.0, 90.0, 120.0), (100.0, 110.0, 105.0)], NOON)
    second = score([(50.0, 50.0, 40.0)], NOON)
    both = total([first, second], NOON)
    assert both.samples == 3
    assert both.absolute_error / both.demand == pytest.approx(20 / 250)
    assert both.relative_error / both.relative_samples == pytest.approx(0.2 / 3)
    assert both.covered == 2


def test_a_demand_of_zero_has_no_relative_error() -> None:
    found = score([(0.0, 5.0, 9.0)], NOON)
    assert (found.relative_samples, found.absolute_error) == (0, 5.0)


def test_capacity_is_known_after_enough_observations_and_is_their_median() -> None:
    capacities = Capacities()
    for _ in range(9):
        capacities.observe("uid", 400.0, 10, 0.8)
    assert capacities.of("uid", None) is None
    capacities.observe("uid", 4000.0, 10, 0.8)
    assert capacities.of("uid", None) == 50.0


def test_an_idle_target_says_nothing_about_capacity() -> None:
    capacities = Capacities()
    for _ in range(20):
        capacities.observe("uid", 4.0, 10, 0.01)
        capacities.observe("uid", 4.0, 0, 0.8)
        capacities.observe("uid", 4.0, 10, None)
    assert capacities.of("uid", None) is None


def test_a_configured_capacity_wins() -> None:
    capacities = Capacities()
    for _ in range(20):
        capacities.observe("uid", 400.0, 10, 0.8)
    assert capacities.of("uid", 70.0) == 70.0
