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


def nothing(done: float) -> None:
    pass


def foresight_of(simulation: ScalingSimulation) -> RollingForecasts:
    assert isinstance(simulation.forecasts, RollingForecasts)
    return simulation.forecasts


def replayed(simulation: ScalingSimulation) -> Replayed:
    return replay(simulation.scenario, simulation.work, foresight_of(simulation), nothing)


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
def test_the_arithmetic_of_floors_is_that_of_the_live_decision(spec: dict[str, object]) -> None:
    simulation = a_simulation(a_demand(), a_policy(**spec))
    done = replayed(simulation)
    floors = simulation.floors(simulation.forecasts, (0.9,))[:, 0]
    assert (floors == done.floors).mean() > 0.999
    assert len(set(done.floors.tolist())) > 2


def test_a_point_of_the_frontier_is_what_the_live_decision_does_there() -> None:
    simulation = a_simulation(a_demand())
    done = replayed(simulation)
    full = outcome(simulation.work, done.existing, done.ready, simulation.scenario.per_replica)
    quick = next(it for it in simulation.frontier(QUANTILES, (0.7, 0.8)) if (it.quantile, it.hpa_target) == (0.9, 0.7))
    assert quick.replica_hours == pytest.approx(full.replica_hours, rel=0.002)
    assert quick.minutes == pytest.approx(full.minutes, abs=2)


def test_a_higher_quantile_is_short_for_no_longer_and_costs_no_less() -> None:
    points = a_simulation(a_demand()).frontier(QUANTILES, (0.7,))
    assert [point.minutes for point in points] == sorted((point.minutes for point in points), reverse=True)
    assert [point.replica_hours for point in points] == sorted(point.replica_hours for point in points)


def test_one_who_knows_the_future_is_never_short() -> None:
    found = a_simulation(a_demand(noise=0.5)).oracle()
    assert (found.under_provisioned_share, found.lost_demand_share) == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.8, 1.0, 1.2, 1.6])
def test_the_hpa_at_the_same_hours_spends_them_by_a_cooler_or_hotter_target(share: float) -> None:
    simulation = a_simulation(a_demand())
    hours = share * simulation.hpa_only(np.array([0.7]))[0].replica_hours
    found = at_same_hours(simulation.hpa_by_target(), hours)
    assert found.outcome.replica_hours == pytest.approx(hours, rel=0.02)
    assert (found.target < 0.7) == (share > 1.0) or share == 1.0
    assert found.outcome == simulation.hpa_only(np.array([found.target]))[0]


def test_no_decision_changes_when_the_future_does() -> None:
    series = a_demand()
    cut = len(series.values) - 40
    values = series.values.copy()
    values[cut:] *= 3
    other = Series(series.name, series.start, series.step, values)
    simulation, changed = a_simulation(series), a_simulation(other)
    changed = replace(changed, scenario=simulation.scenario)
    first, second = (replayed(each) for each in (simulation, changed))
    # Demand is a line between the middles of bins, so it differs from half a bin before the cut on.
    same = (cut - foresight_of(simulation).plan.split) * 20 - 10 + METRIC_DELAY_STEPS
    assert first.floors[:same].tolist() == second.floors[:same].tolist()
    assert first.floors.tolist() != second.floors.tolist()


def test_an_event_raises_the_floor_before_it_starts_from_a_forecast_that_knows_nothing_of_it() -> None:
    series = a_demand(days=3)
    hours = 24 * 2.8
    values = series.values.copy()
    begin = round(timedelta(hours=hours) / BIN)
    values[begin : begin + 24] *= 3
    series = replace(series, values=values)
    plain = a_simulation(series)
    known = a_simulation(series, events=(an_event(hours, 2, expect={"multiplier": "3"}),))
    known = replace(known, scenario=replace(known.scenario, per_replica=plain.scenario.per_replica))
    without, with_it = (replayed(each) for each in (plain, known))
    at = round((BEGIN + timedelta(hours=hours) - known.work.begins_at) / timedelta(seconds=15))
    assert with_it.floors[at] >= 2 * without.floors[at]
    missing = [
        outcome(each.work, done.existing, done.ready, each.scenario.per_replica).minutes
        for each, done in ((plain, without), (known, with_it))
    ]
    assert missing[1] < missing[0]
    told = [change.message for change in with_it.changes if change.source == "Event"]
    assert any("multiplies demand by 3" in message for message in told)
    recommendations = replace(known, events=EventFloors(with_it.event_recommendations, with_it.suppressed))
    assert (recommendations.floors(known.forecasts, (0.9,))[:, 0] == with_it.floors).mean() > 0.97


def test_nobody_is_judged_in_a_gap_and_no_floor_sinks_for_want_of_data() -> None:
    series = a_demand()
    split = round(len(series.values) * 0.8)
    gappy = with_gap(series, split + 50, split + 70)
    simulation = a_simulation(gappy)
    done = replayed(simulation)
    assert int((~simulation.work.observed).sum()) == 20 * 20
    blind = done.floors[50 * 20 + 60 : 70 * 20]
    assert (np.diff(blind) >= 0).all()


def test_without_a_capacity_the_99_9th_percentile_needs_twenty_replicas_at_the_target() -> None:
    series = a_demand()
    capacity = learned_capacity(series, 0.7)
    assert np.quantile(series.values, 0.999) / (capacity * 0.7) == pytest.approx(20)


def test_the_metric_is_a_minute_old() -> None:
    series = a_demand()
    work = workload(series, series.start + 10 * BIN, series.end)
    assert work.metric[METRIC_DELAY_STEPS:].tolist() == work.demand[:-METRIC_DELAY_STEPS].tolist()


def test_the_scale_of_a_series_changes_no_decision() -> None:
    series = a_demand()
    larger = replace(series, values=series.values * 1000)
    first, second = (
        replayed(each) for each in (a_simulation(series), a_simulation(larger, forecasts=rolling_forecasts_of(larger)))
    )
    assert (first.floors == second.floors).mean() > 0.999
