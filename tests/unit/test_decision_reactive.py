"""Reactive scaling of workloads without an HPA: the HPA's arithmetic above the forecast's floor."""

from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import DecisionState, Limit, Observed, Reason, Source
from predictive_scaling.decision.reactive import floor_to_restore, reactive_replicas
from tests.support.builders import LONG_AGO, NOON, a_policy, a_situation, observed

WORKLOAD = {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}
FAST = {"maxStep": "1000%", "period": "1m"}
AT_ONCE = {"maxStep": "100", "stabilizationWindow": "0s"}


def a_workload(replicas: int, ready: int | None = None) -> Observed:
    scaled = replace(observed(replicas, None), is_scaled_directly=True)
    return scaled if ready is None else replace(scaled, ready_replicas=ready)


@pytest.mark.parametrize(
    ("demand", "current", "ready", "replicas"),
    [
        (880, 9, 9, 13),  # 98 % used: 12.6 replicas at 70 %
        (700, 10, 10, 10),  # exactly at the target
        (769, 10, 10, 10),  # within 10 % above it
        (771, 10, 10, 12),  # beyond
        (631, 10, 10, 10),  # within 10 % below it
        (629, 10, 10, 9),  # beyond
        (700, 10, 5, 10),  # five more are starting: as idle replicas they suffice
        (1400, 10, 5, 20),  # even with them there are too few
        (100, 10, 5, 2),  # the ready ones are too many already
        (700, 10, 0, 10),  # none is ready: all of them will share the demand
        (700, 5, 10, 10),  # replicas that are being removed do not count
        (700, 0, 0, 10),
        (0, 10, 10, 0),
    ],
)
def test_the_arithmetic_is_that_of_the_hpa(demand: float, current: int, ready: int, replicas: int) -> None:
    assert reactive_replicas(demand, 100, 0.7, current, ready) == replicas


def test_demand_above_the_forecast_raises_a_workload_reactively() -> None:
    situation = a_situation(
        a_policy(scaleUp=FAST, target=WORKLOAD), floor=4, forecast=200, demand=880, observed=a_workload(4)
    )
    decision = decide(situation)
    assert (decision.floor, decision.source, decision.reason) == (13, Source.REACTIVE, Reason.DEMAND_ROSE)
    assert "the demand of 880 requests_per_second requires 13 replicas at 70 % of 100 per replica" in decision.message


def test_the_target_utilization_of_the_policy_is_the_target() -> None:
    policy = a_policy(scaleUp=FAST, target=WORKLOAD, demand={"targetUtilization": 50})
    assert decide(a_situation(policy, forecast=200, demand=880, observed=a_workload(4))).floor == 18


def test_the_forecast_is_the_floor_of_a_workload() -> None:
    situation = a_situation(a_policy(scaleUp=FAST, target=WORKLOAD), forecast=2000, demand=350, observed=a_workload(4))
    decision = decide(situation)
    assert (decision.floor, decision.source) == (20, Source.FORECAST)


def test_an_hpa_keeps_the_reactive_part_to_itself() -> None:
    decision = decide(a_situation(a_policy(scaleUp=FAST), forecast=200, demand=880))
    assert (decision.floor, decision.source) == (4, Source.FORECAST)


def test_a_workload_is_lowered_when_demand_fell() -> None:
    policy = a_policy(target=WORKLOAD, scaleDown=AT_ONCE)
    state = DecisionState(since=LONG_AGO, floor=13, floor_source=Source.REACTIVE)
    situation = a_situation(policy, floor=13, forecast=200, demand=350, observed=a_workload(13), state=state)
    decision = decide(situation)
    assert (decision.floor, decision.source, decision.reason) == (5, Source.REACTIVE, Reason.DEMAND_FELL)


def test_a_workload_is_lowered_within_the_policys_steps_and_window() -> None:
    policy = a_policy(target=WORKLOAD, scaleDown={"maxStep": "2", "stabilizationWindow": "10m"})
    recent = DecisionState(LONG_AGO, 13, recommendations=((NOON - timedelta(minutes=5), 13),))
    situation = a_situation(policy, floor=13, forecast=200, demand=350, observed=a_workload(13), state=recent)
    held = decide(situation)
    assert held.floor == 13
    assert Limit.STABILIZATION_WINDOW in held.limits
    later = decide(replace(situation, state=DecisionState(LONG_AGO, 13)))
    assert later.floor == 11
    assert Limit.STEP_DOWN in later.limits


def test_missing_demand_holds_the_replicas() -> None:
    policy = a_policy(target=WORKLOAD, scaleDown=AT_ONCE)
    decision = decide(a_situation(policy, floor=13, forecast=200, demand=None, observed=a_workload(13)))
    assert decision.floor == 13
    assert Limit.STALE_FORECAST in decision.limits


def test_replicas_close_to_the_target_are_kept_and_the_message_says_so() -> None:
    policy = a_policy(target=WORKLOAD, scaleDown=AT_ONCE)
    decision = decide(a_situation(policy, floor=10, forecast=200, demand=680, observed=a_workload(10)))
    assert not decision.changes
    assert "requires no change of 10 replicas at 70 % of 100 per replica" in decision.message


def test_a_released_workload_keeps_what_demand_needs() -> None:
    last = a_situation(a_policy(target=WORKLOAD), demand=350, observed=a_workload(12))
    assert floor_to_restore(2, a_workload(12), last, NOON) == 5
    assert floor_to_restore(8, a_workload(12), last, NOON) == 8


def test_a_released_workload_keeps_its_replicas_where_demand_is_not_known() -> None:
    last = a_situation(a_policy(target=WORKLOAD), demand=350, observed=a_workload(12))
    assert floor_to_restore(2, a_workload(12), None, NOON) == 12
    assert floor_to_restore(2, a_workload(12), last, NOON + timedelta(hours=1)) == 12


def test_a_released_minimum_is_the_original_one() -> None:
    assert floor_to_restore(2, observed(12), a_situation(), NOON) == 2
