"""Semantics 8, 9, 11: the chain of forecast sources, then the fallback; missing data is never zero demand."""

from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import DecisionState, ForecastSource, Limit, Reason, Source
from tests.support.builders import (
    LONG_AGO,
    NOON,
    a_current_forecast,
    a_policy,
    a_situation,
    a_steady_forecast,
    an_event,
    an_occurrence,
    observed,
)

AT_ONCE = {"stabilizationWindow": "0s", "maxStep": "1000", "period": "1m"}
HOUR = timedelta(hours=1)


def without_forecast_for(minutes: int, floor: int = 10) -> DecisionState:
    return DecisionState(since=LONG_AGO, floor=floor, no_forecast_since=NOON - timedelta(minutes=minutes))


@pytest.mark.parametrize("source", list(ForecastSource))
def test_a_forecast_of_any_source_is_used(source: ForecastSource) -> None:
    current_forecast = a_current_forecast(a_steady_forecast(700.0), source)
    assert decide(a_situation(current_forecast=current_forecast, forecast=None)).floor == 7


def test_an_expired_forecast_is_not_used() -> None:
    current_forecast = a_current_forecast(a_steady_forecast(700.0), valid_for=timedelta(0))
    decision = decide(a_situation(current_forecast=current_forecast, forecast=None))
    assert (decision.floor, decision.state.no_forecast_since) == (4, NOON)


def test_a_forecast_that_ends_before_now_is_not_used() -> None:
    past = a_current_forecast(a_steady_forecast(700.0, origin=NOON - 2 * HOUR), valid_for=3 * HOUR)
    decision = decide(a_situation(current_forecast=past, forecast=None))
    assert (decision.floor, decision.state.no_forecast_since) == (4, NOON)


def test_a_new_forecast_ends_the_time_without_forecast() -> None:
    decision = decide(a_situation(state=without_forecast_for(50)))
    assert decision.state.no_forecast_since is None
    assert not decision.fallback


def test_without_a_forecast_the_floor_is_held() -> None:
    decision = decide(a_situation(a_policy(scaleDown=AT_ONCE), floor=10, forecast=None))
    assert (decision.floor, decision.limits, decision.fallback) == (10, (Limit.STALE_FORECAST,), False)


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(days=1)])
def test_with_stale_metrics_the_floor_is_held(age: timedelta) -> None:
    policy = a_policy(scaleDown=AT_ONCE)
    decision = decide(a_situation(policy, floor=10, forecast=400.0, demand=300.0, demand_age=age))
    assert (decision.floor, decision.limits) == (10, (Limit.STALE_FORECAST,))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0, 0.0])
def test_missing_and_impossible_values_are_never_zero_demand(value: float | None) -> None:
    decision = decide(a_situation(a_policy(scaleDown=AT_ONCE), floor=10, forecast=100.0, demand=value))
    assert (decision.floor, decision.limits) == (10, (Limit.STALE_FORECAST,))


def test_zero_is_valid_demand_where_the_policy_allows_it() -> None:
    policy = a_policy(scaleDown=AT_ONCE, demand={"zeroIsValid": True})
    assert decide(a_situation(policy, floor=10, forecast=100.0, demand=0.0)).floor == 1


def test_a_forecast_still_raises_while_metrics_are_missing() -> None:
    assert decide(a_situation(forecast=700.0, demand=None)).floor == 7


def test_after_an_outage_a_full_window_passes_before_any_decrease() -> None:
    policy = a_policy(scaleDown={"maxStep": "1000", "stabilizationWindow": "10m"})
    without_data = decide(a_situation(policy, floor=10, demand=None, forecast=100.0))
    assert without_data.state.since == NOON
    back = NOON + timedelta(minutes=9)
    assert (
        decide(a_situation(policy, floor=10, now=back, forecast=100.0, demand=90.0, state=without_data.state)).floor
        == 10
    )
    later = NOON + timedelta(minutes=10)
    assert (
        decide(a_situation(policy, floor=10, now=later, forecast=100.0, demand=90.0, state=without_data.state)).floor
        == 1
    )


def test_the_fallback_begins_after_its_time_and_holds_the_floor_by_default() -> None:
    waiting = decide(a_situation(floor=10, forecast=None, demand=None, state=without_forecast_for(29)))
    assert (waiting.floor, waiting.fallback) == (10, False)
    acting = decide(a_situation(floor=10, forecast=None, demand=None, state=without_forecast_for(30)))
    assert (acting.floor, acting.fallback, acting.source) == (10, True, Source.FALLBACK)


def test_the_floor_is_held_indefinitely_without_a_forecast() -> None:
    decision = decide(a_situation(floor=10, forecast=None, demand=None, state=without_forecast_for(60 * 24 * 30)))
    assert decision.floor == 10


@pytest.mark.parametrize(("replicas", "floor"), [(15, 15), (3, 3)])
def test_a_static_fallback_recommends_the_replicas_of_the_policy(replicas: int, floor: int) -> None:
    policy = a_policy(scaleDown=AT_ONCE, fallback={"behavior": "Static", "replicas": replicas})
    decision = decide(a_situation(policy, floor=10, forecast=None, demand=None, state=without_forecast_for(30)))
    assert (decision.floor, decision.reason) == (floor, Reason.FALLBACK_ACTIVATED)


def test_a_static_fallback_lowers_the_floor_in_steps() -> None:
    policy = a_policy(fallback={"behavior": "Static", "replicas": 3})
    decision = decide(a_situation(policy, floor=10, forecast=None, demand=None, state=without_forecast_for(30)))
    assert (decision.floor, decision.limits) == (8, (Limit.STEP_DOWN,))


def test_a_static_fallback_lowers_the_floor_after_the_stabilization_window() -> None:
    policy = a_policy(fallback={"behavior": "Static", "replicas": 3})
    state, floors = replace(without_forecast_for(30), since=NOON), list[int]()
    for minute in (0, 9, 10):
        now = NOON + timedelta(minutes=minute)
        decision = decide(a_situation(policy, floor=10, now=now, forecast=None, demand=None, state=state))
        floors.append(decision.floor)
        state = decision.state
    assert floors == [10, 10, 8]


@pytest.mark.parametrize(
    ("behavior", "current", "floor"),
    [
        ("CurrentReplicas", 14, 14),
        ("CurrentReplicas", 6, 6),
        ("CurrentReplicasIfHigher", 14, 14),
        ("CurrentReplicasIfHigher", 6, 10),
    ],
)
def test_a_fallback_to_the_current_replicas(behavior: str, current: int, floor: int) -> None:
    policy = a_policy(scaleDown=AT_ONCE, fallback={"behavior": behavior})
    situation = a_situation(
        policy, forecast=None, demand=None, observed=observed(10, current=current), state=without_forecast_for(30)
    )
    assert decide(situation).floor == floor


def test_an_event_raises_the_floor_also_without_any_data() -> None:
    event = an_occurrence(an_event(expect={"minReplicas": 8}))
    assert decide(a_situation(forecast=None, demand=None, events=[event])).floor == 8
