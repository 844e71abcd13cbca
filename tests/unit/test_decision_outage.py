"""Semantics 10: capacity is kept during an outage for the retries that follow it."""

from dataclasses import replace
from datetime import timedelta

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Decision, DecisionState, Limit
from tests.support.builders import LONG_AGO, NOON, a_current_forecast, a_forecast, a_policy, a_situation

POLICY = a_policy(scaleDown={"stabilizationWindow": "0s", "maxStep": "1000", "period": "1m"})
SPREAD = {0.1: 0.8}
EXPECTED = a_forecast(*[1000] * 12, spread=SPREAD)
"""0.1 quantile: 800. Its horizon is one hour from noon."""


def at(minute: int, demand: float, state: DecisionState, forecast: float = 100.0) -> Decision:
    """Ten replicas; the newest forecast includes the drop and expects it to continue."""
    now = NOON + timedelta(minutes=minute)
    return decide(a_situation(POLICY, floor=10, now=now, demand=demand, forecast=forecast, state=state))


def before_the_drop() -> DecisionState:
    state = DecisionState(since=LONG_AGO, floor=10)
    usual = a_situation(
        POLICY, floor=10, demand=950.0, current_forecast=a_current_forecast(EXPECTED), forecast=None, state=state
    )
    return decide(usual).state


def test_a_drop_far_below_the_low_quantile_does_not_lower_the_floor() -> None:
    decision = at(5, demand=390.0, state=before_the_drop())
    assert (decision.floor, decision.limits) == (10, (Limit.OUTAGE,))


def test_low_demand_above_half_the_quantile_is_no_outage() -> None:
    assert at(5, demand=410.0, state=before_the_drop()).floor == 5


def test_forecasts_made_during_the_outage_are_no_reference() -> None:
    state = before_the_drop()
    for minute in range(5, 60, 5):
        decision = at(minute, demand=20.0, state=state)
        assert decision.floor == 10, minute
        state = decision.state
    assert state.reference_forecast is EXPECTED


def test_demand_that_stays_low_beyond_the_horizon_is_the_new_normal() -> None:
    state = at(55, demand=20.0, state=before_the_drop()).state
    assert at(61, demand=20.0, state=state).floor == 1


def test_after_the_outage_a_full_window_passes() -> None:
    slow = a_policy(scaleDown={"stabilizationWindow": "10m", "maxStep": "1000"})
    state = at(5, demand=20.0, state=before_the_drop()).state
    back = a_situation(slow, floor=10, now=NOON + timedelta(minutes=14), demand=900.0, forecast=500.0, state=state)
    assert decide(back).limits == (Limit.STABILIZATION_WINDOW,)
    assert decide(replace(back, now=NOON + timedelta(minutes=15))).floor == 9


def test_a_forecast_raises_the_floor_during_an_outage() -> None:
    assert at(5, demand=20.0, state=before_the_drop(), forecast=1500.0).floor == 15
