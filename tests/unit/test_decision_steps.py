"""Semantics 4, 5, 26: raises are immediate within a step; decreases are late, slow and above the current load."""

from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import DecisionState, FloorChange, Limit, Situation
from predictive_scaling.resources.annotations import PIN
from tests.support.builders import LONG_AGO, NOON, a_policy, a_situation, an_event, an_occurrence, observed

AT_ONCE = {"stabilizationWindow": "0s", "maxStep": "1000", "period": "1m"}


def after(situation: Situation, elapsed: timedelta, **changes: object) -> Situation:
    """The situation `elapsed` later: the decision is applied and all data are fresh."""
    decision = decide(situation)
    later = a_situation(
        situation.policy,
        floor=decision.floor,
        now=situation.now + elapsed,
        state=decision.state,
        **{"forecast": 400.0, **changes},  # type: ignore[arg-type]
    )
    return replace(later, observed=observed(decision.floor))


def test_a_raise_within_the_step_is_immediate() -> None:
    decision = decide(a_situation(forecast=700.0))
    assert (decision.floor, decision.limits) == (7, ())


def test_a_raise_beyond_the_step_is_cut_and_named() -> None:
    decision = decide(a_situation(forecast=1900.0))
    assert (decision.floor, decision.uncapped, decision.limits) == (8, 19, (Limit.STEP_UP,))


def test_the_raises_of_a_period_together_stay_within_the_step() -> None:
    first = a_situation(forecast=600.0)
    second = after(first, timedelta(seconds=15), forecast=1900.0)
    assert decide(second).floor == 8, "4 at the period's start, so 4 more at most, 2 of which are used"
    third = after(second, timedelta(seconds=15), forecast=1900.0)
    assert decide(third).floor == 8
    fourth = after(third, timedelta(seconds=30), forecast=1900.0)
    assert decide(fourth).floor == 12, "6 at the period's start, so 6 more at most, 2 of which are used"


def test_a_count_of_replicas_is_a_step_too() -> None:
    assert decide(a_situation(a_policy(scaleUp={"maxStep": "3"}), forecast=1900.0)).floor == 7


def test_from_zero_a_percentage_is_at_least_one_replica() -> None:
    assert decide(a_situation(a_policy(min=0), floor=0, forecast=1900.0)).floor == 1


def test_events_respect_the_step() -> None:
    event = an_event(expect={"minReplicas": 30})
    decision = decide(a_situation(events=[an_occurrence(event)]))
    assert (decision.floor, decision.limits) == (8, (Limit.STEP_UP,))


def test_a_decrease_waits_until_the_highest_recommendation_leaves_the_window() -> None:
    situation = a_situation(floor=10, forecast=1000.0, demand=550.0)
    for minute in (1, 5, 9):
        later = after(situation, timedelta(minutes=minute), forecast=400.0, demand=550.0)
        assert decide(later).limits == (Limit.STABILIZATION_WINDOW,)
        assert decide(later).floor == 10
    assert decide(after(situation, timedelta(minutes=10), forecast=400.0, demand=550.0)).floor == 8


def test_a_recommendation_within_the_window_limits_a_decrease() -> None:
    policy = a_policy(scaleDown={"maxStep": "1000"})
    state = DecisionState(since=LONG_AGO, floor=20, recommendations=((NOON - timedelta(minutes=5), 12),))
    decision = decide(a_situation(policy, floor=20, demand=300.0, state=state))
    assert (decision.floor, decision.limits) == (12, (Limit.STABILIZATION_WINDOW,))


def test_an_earlier_and_higher_recommendation_does_not_raise_the_floor_again() -> None:
    state = DecisionState(since=LONG_AGO, floor=12, recommendations=((NOON - timedelta(minutes=5), 20),))
    decision = decide(a_situation(floor=12, demand=300.0, state=state))
    assert (decision.floor, decision.limits) == (12, (Limit.STABILIZATION_WINDOW,))


def test_the_floor_is_not_lowered_before_a_full_window() -> None:
    policy, started = (
        a_policy(scaleDown={"maxStep": "1000"}),
        DecisionState(since=NOON - timedelta(minutes=9), floor=10),
    )
    assert decide(a_situation(policy, floor=10, state=started, demand=300.0)).floor == 10
    long_enough = DecisionState(since=NOON - timedelta(minutes=10), floor=10)
    assert decide(a_situation(policy, floor=10, state=long_enough, demand=300.0)).floor == 4


def test_a_decrease_is_one_step_per_period_rounded_up() -> None:
    situation = a_situation(floor=21, forecast=400.0, demand=300.0)
    floors = [decide(situation).floor]
    for _ in range(3):
        situation = after(situation, timedelta(minutes=1), forecast=400.0, demand=300.0)
        floors.append(decide(situation).floor)
    assert floors == [16, 12, 9, 7]


def test_a_step_down_is_used_once_per_period() -> None:
    situation = a_situation(floor=21, forecast=400.0, demand=300.0)
    again = after(situation, timedelta(seconds=59), forecast=400.0, demand=300.0)
    assert (decide(again).floor, decide(again).limits) == (16, (Limit.STEP_DOWN,))


def test_a_step_down_is_at_least_one_replica() -> None:
    policy = a_policy(scaleDown={"maxStep": "1%"})
    assert decide(a_situation(policy, floor=3, forecast=100.0, demand=90.0)).floor == 2


def test_a_decrease_keeps_enough_replicas_for_the_current_load() -> None:
    policy = a_policy(scaleDown=AT_ONCE)
    decision = decide(a_situation(policy, floor=20, forecast=400.0, demand=1150.0))
    assert (decision.floor, decision.limits) == (12, (Limit.CURRENT_LOAD,))


def test_the_current_load_uses_the_forecasts_utilization() -> None:
    policy = a_policy(scaleDown=AT_ONCE, forecast={"utilization": 50})
    assert decide(a_situation(policy, floor=40, forecast=400.0, demand=1150.0)).floor == 23


def test_the_current_load_does_not_raise_the_floor() -> None:
    decision = decide(a_situation(forecast=200.0, demand=4000.0))
    assert (decision.floor, decision.limits) == (4, (Limit.CURRENT_LOAD,))


@pytest.mark.parametrize(
    ("before", "demand", "floor"),
    [(40, 4100.0, 40), (40, 4200.0, 42), (100, 10400.0, 100), (100, 10500.0, 105), (4, 500.0, 4), (4, 600.0, 6)],
)
def test_a_change_below_the_count_and_the_percentage_is_skipped(before: int, demand: float, floor: int) -> None:
    # 4 -> 5 is 25 %: the percentage has to be higher, so that the count decides.
    percent = 50 if before == 4 else 5
    policy = a_policy(max=200, deadBand={"replicas": 2 if before < 100 else 10, "percent": percent})
    situation = a_situation(policy, floor=before, forecast=demand, observed=observed(before, maximum=None))
    decision = decide(situation)
    assert decision.floor == floor
    assert (Limit.DEAD_BAND in decision.limits) == (floor == before)


def test_an_event_bypasses_the_dead_band() -> None:
    policy = a_policy(deadBand={"replicas": 5, "percent": 100})
    event = an_occurrence(an_event(expect={"minReplicas": 5}))
    assert decide(a_situation(policy, events=[event])).floor == 5


def test_bounds_bypass_the_dead_band() -> None:
    wide = {"replicas": 5, "percent": 100}
    raised = decide(a_situation(a_policy(min=5, deadBand=wide)))
    assert (raised.floor, raised.limits) == (5, ())
    lowered = decide(a_situation(a_policy(max=3, deadBand=wide), forecast=300.0))
    assert (lowered.floor, Limit.DEAD_BAND in lowered.limits) == (3, False)


def test_a_pin_bypasses_the_dead_band() -> None:
    policy = a_policy(annotations={PIN: "5"}, deadBand={"replicas": 5, "percent": 100})
    assert decide(a_situation(policy)).floor == 5


def test_changes_and_recommendations_that_are_too_old_are_dropped() -> None:
    old = DecisionState(
        since=LONG_AGO,
        floor=4,
        recommendations=((NOON - timedelta(minutes=10), 9),),
        changes=(FloorChange(NOON - timedelta(minutes=1), 2, 4),),
    )
    state = decide(a_situation(state=old)).state
    assert state.recommendations == ((NOON, 4),)
    assert state.changes == ()


def test_a_steady_recommendation_has_a_single_entry() -> None:
    situation = a_situation()
    for _ in range(20):
        situation = after(situation, timedelta(seconds=15))
    assert len(situation.state.recommendations) == 1
