"""Scores of forecasts whose time has come, and what a replica carries."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.control.capacity import Capacities
from predictive_scaling.control.jobs.accuracy import Accuracy, score
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.model_performance import (
    ErrorSums,
    ModelPerformance,
    PolicyAccuracy,
    ScoredInterval,
    total,
)
from tests.support.builders import NOON, a_policy
from tests.support.control import World

MINUTE = timedelta(minutes=1)
KEY = ("hpa-uid", SeriesKey("checkout", "requests_per_second", "Sum"))


def sums_of(*triples: tuple[float, float, float], quantile: float = 0.9) -> ErrorSums:
    """Of actuals and forecasts with p50 and p90."""
    values = [[p50 / 2, p50, (p50 + p90) / 2, p90, 1.1 * p90] for _, p50, p90 in triples]
    return score(np.array([actual for actual, _, _ in triples]), np.array(values).reshape(-1, 5), quantile)


def test_scores_add_up() -> None:
    first = sums_of((100.0, 90.0, 120.0), (100.0, 110.0, 115.0))
    second = sums_of((50.0, 50.0, 50.0), (60.0, 50.0, 50.0))
    both = total([first, second])
    assert both.samples == 4
    assert both.wape == pytest.approx(30 / 310)
    assert both.mape == pytest.approx((0.1 + 0.1 + 0 + 1 / 6) / 4)
    assert both.bias == pytest.approx(-10 / 310)
    assert both.coverage == {"0.5": 0.5, "0.8": 0.75, "0.9": 0.75, "0.95": 0.75}
    assert both == sums_of((100.0, 90.0, 120.0), (100.0, 110.0, 115.0), (50.0, 50.0, 50.0), (60.0, 50.0, 50.0))


def test_a_demand_of_zero_has_no_relative_error() -> None:
    found = sums_of((0.0, 5.0, 9.0))
    assert (found.relative_samples, found.absolute_error, found.mape) == (0, 5.0, None)


def test_coverage_is_of_the_quantile_that_the_floor_covers() -> None:
    """The forecast says 10, 100, 150, 200, 220; demand goes from 1 to 250."""
    demands = np.arange(1.0, 251.0)
    values = np.tile([10.0, 100.0, 150.0, 200.0, 220.0], (250, 1))
    counts = {quantile: score(demands, values, quantile).covered for quantile in (0.5, 0.8, 0.85, 0.9, 0.95, 0.99)}
    assert (counts[0.5], counts[0.8], counts[0.9], counts[0.95]) == (100, 150, 200, 220)
    assert 150 < counts[0.85] < 200
    assert counts[0.99] > 220


def test_what_is_not_finite_is_left_out() -> None:
    found = sums_of((100.0, 90.0, 120.0), (np.nan, 90.0, 120.0), (100.0, np.inf, np.inf))
    assert found == sums_of((100.0, 90.0, 120.0))
    assert sums_of() == ErrorSums()


@given(st.lists(st.tuples(*[st.floats(0, 3.4e38)] * 3), max_size=6), st.floats(0.5, 0.999))
def test_any_demand_and_forecast_can_be_scored(triples: list[tuple[float, float, float]], quantile: float) -> None:
    ordered = [(actual, min(p50, p90), max(p50, p90)) for actual, p50, p90 in triples]
    sums_of(*ordered, quantile=quantile)


class Forecasts:
    """Forecasts of the table predictions: each bin of five minutes, made a quarter of an hour before."""

    def __init__(self, p50: dict[str, float]) -> None:
        self.p50 = p50
        self.failing: dict[str, Exception] = {}
        self.asked: list[str] = []

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str]
    ) -> Sequence[Prediction]:
        del lead
        name = policy[1]
        self.asked.append(name)
        if name in self.failing:
            raise self.failing[name]
        return [
            a_point(name, since + step * 5 * MINUTE, self.p50[name]) for step in range((until - since) // (5 * MINUTE))
        ]


class Performances:
    """The table model_performance."""

    def __init__(self) -> None:
        self.rows: list[ModelPerformance] = []

    async def record(self, rows: Sequence[ModelPerformance]) -> None:
        known = {(row.policy, row.since) for row in self.rows}
        self.rows += [row for row in rows if (row.policy, row.since) not in known]

    async def scored(self, since: datetime) -> Sequence[ScoredInterval]:
        return [ScoredInterval(row.namespace, row.policy, row.since) for row in self.rows if row.since >= since]

    async def by_policy(self, since: datetime, until: datetime) -> Sequence[PolicyAccuracy]:
        chosen = [row for row in self.rows if row.since >= since and row.until <= until]
        return [
            PolicyAccuracy("shop", policy, 0.9, total(row.sums for row in chosen if row.policy == policy))
            for policy in sorted({row.policy for row in chosen})
        ]


def a_point(policy: str, at: datetime, p50: float) -> Prediction:
    quantiles = (p50 / 2, p50, 1.1 * p50, 1.2 * p50, 1.3 * p50)
    return Prediction(at - 15 * MINUTE, policy, at, *quantiles, "LightGBM", "1", "shop", policy, "FreshForecast")


async def a_world_of(*names: str) -> World:
    """Policies of one service with a demand of 100, seen for a while."""
    policy = a_policy()
    named = [
        policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"name": name, "uid": name})})
        for name in names
    ]
    world = World(*named, demand=100.0)
    await world.turn(2)
    return world


def scoring(world: World, forecasts: Forecasts, table: Performances) -> Accuracy:
    return Accuracy(forecasts, table, world.window, world.states, world.clock)


def accuracies(world: World) -> dict[str, Any]:
    return {key.name: state.accuracy for key, state in world.states.by_key().items()}


@pytest.mark.parametrize("failure", [RuntimeError("no such column"), DatabaseUnavailableError("statement timeout")])
async def test_a_policy_whose_forecasts_cannot_be_read_stops_no_other(failure: Exception) -> None:
    world = await a_world_of("a", "b", "c", "d")
    forecasts, table = Forecasts(dict.fromkeys("abcd", 90.0)), Performances()
    forecasts.failing["b"] = failure
    await scoring(world, forecasts, table).run()
    assert {row.policy for row in table.rows} == {"a", "c", "d"}
    assert {name for name, found in accuracies(world).items() if found is not None} == {"a", "c", "d"}


async def test_an_absurd_ratio_is_shown_as_the_largest_and_stops_no_other() -> None:
    world = await a_world_of("a", "b")
    await scoring(world, Forecasts({"a": 1e30, "b": 90.0}), Performances()).run()
    found = accuracies(world)
    assert (found["a"].wape, found["b"].wape) == (999_999, pytest.approx(0.1))


async def test_a_database_that_is_away_is_not_asked_for_every_policy() -> None:
    world = await a_world_of(*"abcdefgh")
    forecasts = Forecasts({})
    forecasts.failing = dict.fromkeys("abcdefgh", DatabaseUnavailableError("PostgreSQL is away"))
    with pytest.raises(DatabaseUnavailableError):
        await scoring(world, forecasts, Performances()).run()
    assert len(forecasts.asked) == 3


async def test_each_interval_is_scored_once_by_whoever_leads() -> None:
    world = await a_world_of("a")
    forecasts, table = Forecasts({"a": 90.0}), Performances()
    leaders = [scoring(world, forecasts, table), scoring(world, forecasts, table)]
    for turn in range(9):
        await leaders[turn % 2].run()
        world.clock.advance(7 * MINUTE)
        await world.turn(1)
        if turn == 4:
            leaders[0] = scoring(world, forecasts, table)  # a restart
    begins = [row.since for row in table.rows]
    assert len(begins) == len(set(begins))
    assert sorted(begins) == [min(begins) + step * 15 * MINUTE for step in range(len(begins))]
    assert max(begins) > NOON
    assert accuracies(world)["a"].coverage == 1.0


async def test_demand_that_comes_late_is_scored_when_it_is_there() -> None:
    world = await a_world_of("a")
    forecasts, table = Forecasts({"a": 90.0}), Performances()
    accuracy = scoring(world, forecasts, table)
    await accuracy.run()
    seen = world.source.until
    world.source.until = world.clock.now()
    world.clock.advance(timedelta(hours=1))
    await world.turn(1)
    await accuracy.run()
    before = len(table.rows)
    world.source.until = seen
    world.restart()
    await world.turn(2)
    accuracy = replace(accuracy, window=world.window, states=world.states)
    await accuracy.run()
    assert len(table.rows) >= before + 2


def test_capacity_is_known_after_enough_observations_and_is_their_median() -> None:
    capacities = Capacities()
    for _ in range(9):
        capacities.observe(KEY, 400.0, 10, 0.8)
    assert capacities.of(KEY, None) is None
    capacities.observe(KEY, 4000.0, 10, 0.8)
    assert capacities.of(KEY, None) == 50.0


def test_an_idle_target_says_nothing_about_capacity() -> None:
    capacities = Capacities()
    for _ in range(20):
        capacities.observe(KEY, 4.0, 10, 0.01)
        capacities.observe(KEY, 4.0, 0, 0.8)
        capacities.observe(KEY, 4.0, 10, None)
    assert capacities.of(KEY, None) is None


def test_a_configured_capacity_wins() -> None:
    capacities = Capacities()
    for _ in range(20):
        capacities.observe(KEY, 400.0, 10, 0.8)
    assert capacities.of(KEY, 70.0) == 70.0
