"""A held-back raise is reverted once; then the floor rises only with the demand, and falls by the usual rules."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Decision, Limit, RaiseHold
from tests.support.builders import NOON, a_policy, a_situation, observed

WORKLOAD = {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}
HOLD = RaiseHold(
    floor=2,
    raised_to=9,
    until=NOON + timedelta(minutes=5),
    failures=1,
    generation=1,
    template="first",
    cause="CrashLoop",
    message="CrashLoop: 7 of 9 pods crash.",
)
REVERTED = replace(HOLD, is_reverted=True)


def held(before: int, demand: float | None, hold: RaiseHold = HOLD, **spec: Any) -> Decision:
    """The forecast requires nine replicas; each serves 100."""
    policy = a_policy(scaleUp={"maxStep": 100, "period": "1m"}, **spec)
    fields: dict[str, Any] = {"observed": observed(before, None)} if "target" in spec else {}
    return decide(a_situation(policy, floor=before, forecast=880, demand=demand, raise_hold=hold, **fields))


def test_the_raise_is_reverted_to_the_demand_without_window_and_steps() -> None:
    decision = held(9, 180, scaleDown={"maxStep": 1, "period": "10m", "stabilizationWindow": "1h"})
    assert (decision.floor, decision.limits) == (2, (Limit.ROLLED_BACK,))
    assert held(9, 450).floor == 5


def test_a_harmful_raise_to_the_minimum_is_reverted_to_the_minimum() -> None:
    hold = replace(HOLD, floor=0, raised_to=3)
    assert held(9, 100, hold, min=3).floor == 3
    assert held(9, 500, hold, min=3).floor == 5


def test_a_revert_by_one_replica_is_written_in_spite_of_the_dead_band() -> None:
    assert held(9, 800, deadBand={"replicas": 5, "percent": 50}).floor == 8


def test_while_a_raise_is_held_back_demand_that_falls_does_not_lower_the_floor_at_once() -> None:
    """The usual rules lower it: the forecast still requires nine, so that they do not."""
    raised = held(2, 700)
    assert raised.floor == 7
    assert held(7, 300).floor == 7


@pytest.mark.parametrize(("before", "demand", "floor"), [(8, 900, 9), (9, 880, 9), (9, 300, 9)])
def test_a_floor_that_the_demand_raised_to_the_harmful_one_is_not_reverted_again(
    before: int, demand: float, floor: int
) -> None:
    assert held(before, demand, REVERTED).floor == floor


def test_small_changes_of_demand_are_ignored_while_a_raise_is_held_back() -> None:
    assert held(5, 580, REVERTED, deadBand={"replicas": 2, "percent": 50}).floor == 5


def test_without_demand_a_held_back_floor_stays() -> None:
    assert (held(9, None).floor, held(5, None).floor, held(1, None, min=0).floor) == (9, 5, 2)


def test_a_workload_keeps_the_replicas_for_its_demand_at_the_lower_utilization() -> None:
    """Its reactive part requests 880 / 70 replicas: a revert to 880 / 100 would overload it."""
    assert held(20, 880, target=WORKLOAD).floor == 13
    assert held(20, 880, target=WORKLOAD, forecast={"utilization": 50}).floor == 18
    assert held(20, 880).floor == 9


def test_the_back_off_ends() -> None:
    assert held(2, 180, replace(HOLD, until=NOON)).floor == 9
