"""Semantics 1, 2, 14, 15, 25: the floor covers the window ahead, within bounds."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import DecisionState, Limit, Source
from tests.support.builders import LONG_AGO, NOON, a_current_forecast, a_forecast, a_policy, a_situation, observed

FAST = {"maxStep": "1000%", "period": "1m"}


def test_the_floor_covers_the_highest_demand_of_the_window() -> None:
    # Lead time 3 min and margin 5 min: the window ends at 12:08, within the second bin.
    decision = decide(a_situation(a_policy(scaleUp=FAST), forecast=a_forecast(410, 780, 2000)))
    assert (decision.floor, decision.uncapped, decision.source) == (8, 8, Source.FORECAST)
    assert decision.forecast_value == 780
    assert decision.forecast_at == NOON + timedelta(minutes=5)


def test_the_window_includes_its_last_moment() -> None:
    situation = a_situation(a_policy(scaleUp=FAST), forecast=a_forecast(410, 780, 2000), lead_time=timedelta(minutes=5))
    assert decide(situation).floor == 20


def test_a_window_is_never_shorter_than_the_margin() -> None:
    situation = a_situation(a_policy(scaleUp=FAST), forecast=a_forecast(410, 780, 2000), lead_time=timedelta(0))
    assert decide(situation).floor == 8


def test_the_floor_rises_before_demand_and_falls_after_it() -> None:
    peak_at_ten_past = a_forecast(400, 400, 800, 400, 400)
    policy = a_policy(scaleDown={"stabilizationWindow": "0s", "maxStep": "100"})
    floors = [
        decide(
            a_situation(
                policy,
                now=NOON + timedelta(minutes=minute),
                current_forecast=a_current_forecast(peak_at_ten_past),
                forecast=None,
            )
        ).floor
        for minute in (0, 1, 2, 10, 14, 15)
    ]
    assert floors == [4, 4, 8, 8, 8, 4]


def test_a_higher_quantile_is_read_from_the_forecast() -> None:
    spread = {0.1: 0.5, 0.5: 1.0, 0.8: 1.2, 0.9: 1.4, 0.95: 1.5}
    floors = {
        quantile: decide(
            a_situation(
                a_policy(scaleUp=FAST, forecast={"quantile": quantile}), forecast=a_forecast(1000, 1000, spread=spread)
            )
        ).floor
        for quantile in ("0.5", "0.8", "0.85", "0.9", "0.95", "0.99")
    }
    assert floors == {"0.5": 10, "0.8": 12, "0.85": 13, "0.9": 14, "0.95": 15, "0.99": 17}


def test_an_objective_determines_the_quantile() -> None:
    objective = {"underProvisionedMinute": "1.0", "replicaHour": "15"}
    decision = decide(a_situation(a_policy(forecast={"objective": objective})))
    assert decision.quantile == pytest.approx(0.8)


def test_a_lower_utilization_raises_the_floor() -> None:
    assert decide(a_situation(a_policy(forecast={"utilization": 80}), forecast=560.0)).floor == 7


def test_the_reactive_target_does_not_divide_the_floor() -> None:
    half_utilized = a_policy(demand={"targetUtilization": 50})
    assert decide(a_situation(half_utilized, forecast=560.0)).floor == decide(a_situation(forecast=560.0)).floor == 6


def test_rounding_up_happens_once_and_ignores_binary_fractions() -> None:
    assert decide(a_situation(a_policy(forecast={"utilization": 90}), forecast=630.0)).floor == 7
    assert decide(a_situation(forecast=700.0)).floor == 7
    assert decide(a_situation(forecast=700.001)).floor == 8


def test_the_policys_minimum_is_restored_immediately() -> None:
    decision = decide(a_situation(a_policy(min=6), floor=2, forecast=100.0, demand=None))
    assert (decision.floor, decision.source) == (6, Source.MINIMUM)


def test_the_policys_maximum_caps_and_the_recommendation_is_reported() -> None:
    decision = decide(a_situation(a_policy(max=10, scaleUp=FAST), forecast=6000.0))
    assert (decision.floor, decision.uncapped, decision.limited) == (10, 60, True)
    assert decision.limits == (Limit.MAXIMUM,)


def test_a_lower_maximum_of_the_target_limits_the_floor() -> None:
    decision = decide(a_situation(a_policy(max=40, scaleUp=FAST), forecast=6000.0, observed=observed(4, maximum=20)))
    assert (decision.floor, decision.limited) == (20, True)


def test_the_maximum_of_the_target_takes_precedence_over_the_minimum_of_the_policy() -> None:
    decision = decide(a_situation(a_policy(min=10), observed=observed(4, maximum=6)))
    assert decision.floor == 6


def test_a_maximum_below_the_floor_applies_immediately_and_without_data() -> None:
    situation = a_situation(
        a_policy(max=10), floor=30, forecast=None, demand=None, state=DecisionState(since=NOON, floor=30)
    )
    assert decide(situation).floor == 10


def test_a_recommendation_above_the_maximum_is_reported_while_steps_hold_the_floor() -> None:
    decision = decide(a_situation(a_policy(max=10), floor=4, forecast=6000.0))
    assert (decision.floor, decision.limited) == (8, True)
    assert decision.limits == (Limit.MAXIMUM, Limit.STEP_UP)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_bin_with_an_invalid_value_is_ignored(bad: float) -> None:
    assert decide(a_situation(forecast=a_forecast(600, bad))).floor == 6
    decision = decide(a_situation(forecast=a_forecast(bad, bad)))
    assert (decision.floor, decision.forecast_value) == (4, None)


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), 0.0, -5.0])
def test_the_floor_is_held_while_a_replicas_capacity_is_unknown(bad: float | None) -> None:
    decision = decide(a_situation(forecast=100.0, demand=90.0, per_replica=bad))
    assert (decision.floor, decision.limits) == (4, (Limit.STALE_FORECAST,))


def test_an_extremely_high_demand_is_capped() -> None:
    assert decide(a_situation(a_policy(max=40, scaleUp=FAST), forecast=1e308, per_replica=1e-300)).floor == 40


def test_auto_starts_from_the_target_and_recommend_from_its_own_floor() -> None:
    state = DecisionState(since=LONG_AGO, floor=7)
    auto = a_situation(forecast=700.0, observed=observed(4), state=state)
    assert decide(auto).before == 4, "a lost write is repaired"
    recommend = a_situation(a_policy(mode="Recommend"), forecast=700.0, observed=observed(4), state=state)
    assert decide(recommend).before == 7


def test_recommend_starts_from_the_targets_minimum() -> None:
    fresh = a_situation(
        a_policy(mode="Recommend"), forecast=700.0, observed=observed(5), state=DecisionState(since=LONG_AGO)
    )
    decision = decide(fresh)
    assert (decision.before, decision.floor, decision.state.floor) == (5, 7, 7)


def test_the_floor_covers_the_joint_peak_of_the_window_and_not_the_highest_bin() -> None:
    by_bin = a_forecast(410, 780, 2000)
    peaks = np.maximum.accumulate(by_bin.values[:, 1:], axis=0) * 1.3
    decision = decide(a_situation(a_policy(scaleUp=FAST), forecast=replace(by_bin, peaks=peaks)))
    assert (decision.floor, decision.forecast_value) == (11, pytest.approx(780 * 1.3))
    assert decision.forecast_at == NOON + timedelta(minutes=5)


def test_a_joint_peak_is_not_used_for_a_window_that_starts_much_later() -> None:
    by_bin = a_forecast(4000, 400, 400, 400, 400, origin=NOON - timedelta(minutes=10))
    peaks = np.maximum.accumulate(by_bin.values[:, 1:], axis=0)
    policy = a_policy(scaleUp=FAST)
    late = a_situation(policy, current_forecast=a_current_forecast(replace(by_bin, peaks=peaks)), forecast=None)
    assert decide(late).uncapped == 4
