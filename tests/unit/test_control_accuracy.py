"""Scores of forecasts whose target time has passed, and the capacity of a replica."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.control.jobs.accuracy import Accuracy, score
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.model_performance import (
    ErrorSums,
    ModelPerformance,
    PolicyAccuracy,
    ScoredInterval,
    total,
)
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, a_policy
from tests.support.control import World, a_policy_named

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
KEY = ("hpa-uid", SeriesKey("checkout", "requests_per_second", "Sum"))


def sums_of(*triples: tuple[float, float, float], quantile: float = 0.9) -> ErrorSums:
    """Error sums of triples: actual demand, p50 and p90."""
    values = [[p50 / 2, p50, (p50 + p90) / 2, p90, 1.1 * p90] for _, p50, p90 in triples]
    return score(np.array([actual for actual, _, _ in triples]), np.array(values).reshape(-1, 5), quantile)


def test_error_sums_add_up() -> None:
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
    sums = sums_of((0.0, 5.0, 9.0))
    assert (sums.relative_samples, sums.absolute_error, sums.mape) == (0, 5.0, None)


def test_coverage_is_that_of_the_quantile_of_the_floor() -> None:
    """The quantiles are 10, 100, 150, 200 and 220; the demand rises from 1 to 250."""
    demands = np.arange(1.0, 251.0)
    values = np.tile([10.0, 100.0, 150.0, 200.0, 220.0], (250, 1))
    counts = {quantile: score(demands, values, quantile).covered for quantile in (0.5, 0.8, 0.85, 0.9, 0.95, 0.99)}
    assert (counts[0.5], counts[0.8], counts[0.9], counts[0.95]) == (100, 150, 200, 220)
    assert 150 < counts[0.85] < 200
    assert counts[0.99] > 220


def test_values_that_are_not_finite_are_ignored() -> None:
    sums = sums_of((100.0, 90.0, 120.0), (np.nan, 90.0, 120.0), (100.0, np.inf, np.inf))
    assert sums == sums_of((100.0, 90.0, 120.0))
    assert sums_of() == ErrorSums()


@given(st.lists(st.tuples(*[st.floats(0, 3.4e38)] * 3), max_size=6), st.floats(0.5, 0.999))
def test_any_demand_and_forecast_can_be_scored(triples: list[tuple[float, float, float]], quantile: float) -> None:
    ordered = [(actual, min(p50, p90), max(p50, p90)) for actual, p50, p90 in triples]
    sums_of(*ordered, quantile=quantile)


class Forecasts:
    """The table predictions: forecasts of five-minute bins, made 15 minutes ahead."""

    def __init__(self, p50: dict[str, float]) -> None:
        self.p50 = p50
        self.failing: dict[str, Exception] = {}
        self.queried: list[str] = []

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str]
    ) -> Sequence[Prediction]:
        del lead
        name = policy[1]
        self.queried.append(name)
        if name in self.failing:
            raise self.failing[name]
        return [
            a_prediction(name, since + step * 5 * MINUTE, self.p50[name])
            for step in range((until - since) // (5 * MINUTE))
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
        selected = [row for row in self.rows if row.since >= since and row.until <= until]
        return [
            PolicyAccuracy("shop", policy, 0.9, total(row.sums for row in selected if row.policy == policy))
            for policy in sorted({row.policy for row in selected})
        ]


def a_prediction(policy: str, at: datetime, p50: float) -> Prediction:
    quantiles = (p50 / 2, p50, 1.1 * p50, 1.2 * p50, 1.3 * p50)
    return Prediction(at - 15 * MINUTE, policy, at, *quantiles, "LightGBM", "1", "shop", policy, "FreshForecast")


async def a_world_of(*names: str) -> World:
    """Policies of a service whose demand is 100, after two ticks."""
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
async def test_unreadable_forecasts_of_a_policy_do_not_affect_others(failure: Exception) -> None:
    world = await a_world_of("a", "b", "c", "d")
    forecasts, table = Forecasts(dict.fromkeys("abcd", 90.0)), Performances()
    forecasts.failing["b"] = failure
    await scoring(world, forecasts, table).run()
    assert {row.policy for row in table.rows} == {"a", "c", "d"}
    assert {name for name, accuracy in accuracies(world).items() if accuracy is not None} == {"a", "c", "d"}


class OldForecasts(Forecasts):
    """Forecasts of which every second one was made three hours ahead, with another demand."""

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str]
    ) -> Sequence[Prediction]:
        recent = await super().ahead(lead, since, until, policy)
        old = replace(recent[1], p50=900.0)
        return [
            replace(old, target_time=point.target_time, created_at=point.target_time - 3 * HOUR) if index % 2 else point
            for index, point in enumerate(recent)
        ]


async def test_a_forecast_made_hours_ahead_is_not_scored() -> None:
    world = await a_world_of("a", "b")
    table = Performances()
    await scoring(world, OldForecasts({"a": 90.0, "b": 90.0}), table).run()
    assert accuracies(world)["a"].wape == pytest.approx(0.1)
    assert all(row.sums.samples > 0 for row in table.rows)


async def test_an_absurd_error_ratio_is_capped_and_does_not_affect_others() -> None:
    world = await a_world_of("a", "b")
    await scoring(world, Forecasts({"a": 1e30, "b": 90.0}), Performances()).run()
    scores = accuracies(world)
    assert (scores["a"].wape, scores["b"].wape) == (999_999, pytest.approx(0.1))


async def test_an_unavailable_database_is_not_queried_for_every_policy() -> None:
    world = await a_world_of(*"abcdefgh")
    forecasts = Forecasts({})
    forecasts.failing = dict.fromkeys("abcdefgh", DatabaseUnavailableError("PostgreSQL is away"))
    with pytest.raises(DatabaseUnavailableError):
        await scoring(world, forecasts, Performances()).run()
    assert len(forecasts.queried) == 3


async def test_each_interval_is_scored_once_across_leaders() -> None:
    world = await a_world_of("a")
    forecasts, table = Forecasts({"a": 90.0}), Performances()
    leaders = [scoring(world, forecasts, table), scoring(world, forecasts, table)]
    for turn in range(9):
        await leaders[turn % 2].run()
        world.clock.advance(7 * MINUTE)
        await world.turn(1)
        if turn == 4:
            leaders[0] = scoring(world, forecasts, table)  # a restart
    starts = [row.since for row in table.rows]
    assert len(starts) == len(set(starts))
    assert sorted(starts) == [min(starts) + step * 15 * MINUTE for step in range(len(starts))]
    assert max(starts) > NOON
    assert accuracies(world)["a"].coverage == 1.0


async def test_late_demand_is_scored_when_it_arrives() -> None:
    world = await a_world_of("a")
    forecasts, table = Forecasts({"a": 90.0}), Performances()
    accuracy = scoring(world, forecasts, table)
    await accuracy.run()
    demand_until = world.source.until
    world.source.until = world.clock.now()
    world.clock.advance(timedelta(hours=1))
    await world.turn(1)
    await accuracy.run()
    before = len(table.rows)
    world.source.until = demand_until
    world.restart()
    await world.turn(2)
    accuracy = replace(accuracy, window=world.window, states=world.states)
    await accuracy.run()
    assert len(table.rows) >= before + 2


class HalfUtilizedTarget(InMemoryTarget):
    """A target whose CPU utilization is 50 %."""

    async def observe(self) -> Any:
        return replace(await InMemoryTarget.observe(self), utilization=0.5)


async def test_capacity_is_learned_per_metric() -> None:
    older_at, younger_at = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    automatic = {"metric": "requests_per_second", "perReplica": "Auto"}
    world = World(a_policy_named("older", demand=automatic))
    world.put(a_policy_named("older", demand=automatic), created_at=older_at)
    queue_demand = {"metric": "queued_jobs", "perReplica": "Auto", "service": "worker"}
    world.put(a_policy_named("younger", demand=queue_demand, mode="Recommend"), created_at=younger_at)
    world.target = world.targets["checkout"] = HalfUtilizedTarget(2, 40, 2, 2)
    await world.turn(20, step=timedelta(minutes=1))
    assert float(world.policy("older")["status"]["perReplica"]) == pytest.approx(880 / (2 * 0.5))
    # It does not hold the target, and its metric has no learned capacity.
    assert "perReplica" not in world.policy("younger")["status"]

    world.put(a_policy_named("older", generation=2, demand=queue_demand), created_at=older_at)
    await world.turn(1)
    assert "perReplica" not in world.policy("older")["status"]
