"""Simulated scaling: vectorized floors equal live decisions, and baselines are comparable."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.series import Series
from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.replay import Replayed, replay
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts
from predictive_scaling.resources.business_event import BusinessEvent, parse_event
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.simulation.outcomes import EventFloors, ScalingSimulation, at_same_hours, outcome
from predictive_scaling.simulation.workload import METRIC_DELAY_STEPS, learned_capacity, workload
from tests.support.backtests import BEGIN, BIN, a_demand, a_simulation, rolling_forecasts_of, with_gap

QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)


def ignore_progress(done: float) -> None:
    pass


def rolling_forecasts_in(simulation: ScalingSimulation) -> RollingForecasts:
    assert isinstance(simulation.forecasts, RollingForecasts)
    return simulation.forecasts


def replayed(simulation: ScalingSimulation) -> Replayed:
    return replay(simulation.scenario, simulation.work, rolling_forecasts_in(simulation), ignore_progress)


def a_policy(**spec: object) -> ScalingPolicy:
    manifest = default_policy("shop").to_manifest()
    manifest["spec"] |= spec
    return parse_policy(manifest)


def an_event(hours: float, length: float, **spec: object) -> BusinessEvent:
    start = BEGIN + timedelta(hours=hours)
    return parse_event(
        {
            "apiVersion": "predictive-scaling.io/v1alpha1",
            "kind": "BusinessEvent",
            "metadata": {"name": "sale", "namespace": "backtest"},
            "spec": {
                "start": start.isoformat(),
                "end": (start + timedelta(hours=length)).isoformat(),
                "policies": {"all": True},
                **spec,
            },
        }
    )


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"scaleUp": {"maxStep": "10%", "period": "2m"}, "scaleDown": {"maxStep": "1", "period": "90s"}},
        {"deadBand": {"replicas": 3, "percent": 15}, "replicas": {"min": 4, "max": 17}},
        {"scaleDown": {"stabilizationWindow": "0s", "maxStep": "100%", "period": "15s"}},
    ],
    ids=["defaults", "slow steps", "wide dead band and tight bounds", "no window"],
)
def test_vectorized_floors_equal_those_of_the_live_decision(spec: dict[str, object]) -> None:
    simulation = a_simulation(a_demand(), a_policy(**spec))
    live = replayed(simulation)
    floors = simulation.floors(simulation.forecasts, (0.9,))[:, 0]
    assert (floors == live.floors).mean() > 0.999
    assert len(set(live.floors.tolist())) > 2


def test_a_point_of_the_frontier_equals_the_replay_of_live_decisions() -> None:
    simulation = a_simulation(a_demand())
    live = replayed(simulation)
    expected = outcome(simulation.work, live.existing, live.ready, simulation.scenario.per_replica)
    points = simulation.frontier(QUANTILES, (0.7, 0.8))
    point = next(point for point in points if (point.quantile, point.hpa_target) == (0.9, 0.7))
    assert point.replica_hours == pytest.approx(expected.replica_hours, rel=0.002)
    assert point.minutes == pytest.approx(expected.minutes, abs=2)


def test_a_higher_quantile_has_no_more_short_minutes_and_no_fewer_replica_hours() -> None:
    points = a_simulation(a_demand()).frontier(QUANTILES, (0.7,))
    assert [point.minutes for point in points] == sorted((point.minutes for point in points), reverse=True)
    assert [point.replica_hours for point in points] == sorted(point.replica_hours for point in points)


def test_the_oracle_is_never_short() -> None:
    oracle = a_simulation(a_demand(noise=0.5)).oracle()
    assert (oracle.under_provisioned_share, oracle.lost_demand_share) == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.8, 1.0, 1.2, 1.6])
def test_the_hpa_at_the_same_hours_has_another_target_utilization(share: float) -> None:
    simulation = a_simulation(a_demand())
    hours = share * simulation.hpa_only(np.array([0.7]))[0].replica_hours
    hpa = at_same_hours(simulation.hpa_by_target(), hours)
    assert hpa.outcome.replica_hours == pytest.approx(hours, rel=0.02)
    assert (hpa.target < 0.7) == (share > 1.0) or share == 1.0
    assert hpa.outcome == simulation.hpa_only(np.array([hpa.target]))[0]


def test_future_demand_changes_no_decision() -> None:
    series = a_demand()
    cut = len(series.values) - 40
    values = series.values.copy()
    values[cut:] *= 3
    changed_series = Series(series.name, series.start, series.step, values)
    simulation, changed = a_simulation(series), a_simulation(changed_series)
    changed = replace(changed, scenario=simulation.scenario)
    first, second = (replayed(run) for run in (simulation, changed))
    # Demand is interpolated between the middles of bins, so it differs from half a bin before the cut on.
    unchanged_steps = (cut - rolling_forecasts_in(simulation).plan.split) * 20 - 10 + METRIC_DELAY_STEPS
    assert first.floors[:unchanged_steps].tolist() == second.floors[:unchanged_steps].tolist()
    assert first.floors.tolist() != second.floors.tolist()


def test_an_event_raises_the_floor_before_its_start_from_a_baseline_forecast() -> None:
    series = a_demand(days=3)
    hours = 24 * 2.8
    values = series.values.copy()
    begin = round(timedelta(hours=hours) / BIN)
    values[begin : begin + 24] *= 3
    series = replace(series, values=values)
    plain = a_simulation(series)
    known = a_simulation(series, events=(an_event(hours, 2, expect={"multiplier": "3"}),))
    known = replace(known, scenario=replace(known.scenario, per_replica=plain.scenario.per_replica))
    without_event, with_event = (replayed(run) for run in (plain, known))
    start_step = round((BEGIN + timedelta(hours=hours) - known.work.begins_at) / timedelta(seconds=15))
    assert with_event.floors[start_step] >= 2 * without_event.floors[start_step]
    short_minutes = [
        outcome(run.work, result.existing, result.ready, run.scenario.per_replica).minutes
        for run, result in ((plain, without_event), (known, with_event))
    ]
    assert short_minutes[1] < short_minutes[0]
    messages = [change.message for change in with_event.changes if change.source == "Event"]
    assert any("multiplies demand by 3" in message for message in messages)
    recommendations = replace(known, events=EventFloors(with_event.event_recommendations, with_event.suppressed))
    assert (recommendations.floors(known.forecasts, (0.9,))[:, 0] == with_event.floors).mean() > 0.97


def test_gaps_are_not_judged_and_no_floor_is_lowered_without_data() -> None:
    series = a_demand()
    split = round(len(series.values) * 0.8)
    series_with_gap = with_gap(series, split + 50, split + 70)
    simulation = a_simulation(series_with_gap)
    live = replayed(simulation)
    assert int((~simulation.work.observed).sum()) == 20 * 20
    floors_in_gap = live.floors[50 * 20 + 60 : 70 * 20]
    assert (np.diff(floors_in_gap) >= 0).all()


def test_the_default_capacity_gives_twenty_replicas_at_the_99_9th_percentile() -> None:
    series = a_demand()
    capacity = learned_capacity(series, 0.7)
    assert np.quantile(series.values, 0.999) / (capacity * 0.7) == pytest.approx(20)


def test_the_metric_lags_by_a_minute() -> None:
    series = a_demand()
    work = workload(series, series.start + 10 * BIN, series.end)
    assert work.metric[METRIC_DELAY_STEPS:].tolist() == work.demand[:-METRIC_DELAY_STEPS].tolist()


def test_the_unit_of_demand_changes_no_decision() -> None:
    series = a_demand()
    larger = replace(series, values=series.values * 1000)
    first, second = (
        replayed(run) for run in (a_simulation(series), a_simulation(larger, forecasts=rolling_forecasts_of(larger)))
    )
    assert (first.floors == second.floors).mean() > 0.999
