"""Semantics 30: headroom for the next raise exists a node's start time before its replicas."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import RaiseHold, Situation
from predictive_scaling.decision.limits import effective_maximum
from predictive_scaling.decision.node_headroom import HeadroomState, node_headroom, resumed_headroom
from predictive_scaling.resources.annotations import PIN
from tests.support.builders import NOON, a_forecast, a_policy, a_situation, an_event, an_occurrence, observed
from tests.support.situations import situations

REQUESTED = {"leadTime": "15m"}
"""The floor covers the next 8 minutes: 3 of lead time, 5 until the next forecast."""


def headroom(situation: Situation, state: HeadroomState | None = None) -> int:
    """The headroom that a situation requires."""
    return node_headroom(situation, decide(situation), state or HeadroomState())[0]


def rising(**spec: object) -> Situation:
    """Demand of 4 replicas for 15 minutes, and of 9 afterwards."""
    policy = a_policy(nodeHeadroom=REQUESTED, **spec)  # type: ignore[arg-type]
    return a_situation(policy, forecast=a_forecast(400, 400, 400, 900, 900, 900))


def test_no_headroom_is_reserved_unless_the_policy_requests_it() -> None:
    assert headroom(replace(rising(), policy=a_policy())) == 0


def test_headroom_exists_before_the_floor_rises() -> None:
    situation = rising()
    assert decide(situation).floor == 4
    assert headroom(situation) == 5


def test_headroom_shrinks_as_replicas_are_added() -> None:
    assert headroom(replace(rising(), observed=observed(4, current=7))) == 2


def test_headroom_is_limited_by_the_maxima() -> None:
    assert headroom(rising(max=6)) == 2
    assert headroom(replace(rising(), policy=a_policy(nodeHeadroom=REQUESTED | {"maxReplicas": 3}))) == 3


def test_an_event_gets_headroom_before_it_acts() -> None:
    event = an_event(start=NOON + timedelta(minutes=20), end=NOON + timedelta(hours=1), expect={"minReplicas": 12})
    policy = a_policy(nodeHeadroom=REQUESTED)
    assert headroom(a_situation(policy, events=[an_occurrence(event)])) == 8


def test_a_dip_of_the_forecast_releases_no_headroom_within_the_stabilization_window() -> None:
    situation = rising()
    replicas, state = node_headroom(situation, decide(situation), HeadroomState())
    lower = a_situation(situation.policy, now=NOON + timedelta(minutes=5), forecast=400.0)
    assert (replicas, headroom(lower, state)) == (5, 5)
    later = a_situation(situation.policy, now=NOON + timedelta(minutes=11), forecast=400.0)
    assert headroom(later, state) == 0


def test_headroom_is_kept_while_there_is_no_forecast() -> None:
    situation = rising()
    _, state = node_headroom(situation, decide(situation), HeadroomState())
    without = a_situation(situation.policy, now=NOON + timedelta(hours=2), forecast=None)
    assert headroom(without, state) == 5


def test_headroom_is_kept_for_a_window_after_a_restart() -> None:
    policy = a_policy(nodeHeadroom=REQUESTED)
    state = resumed_headroom(5, 4, NOON)
    assert headroom(a_situation(policy, now=NOON + timedelta(minutes=9), forecast=400.0), state) == 5
    assert headroom(a_situation(policy, now=NOON + timedelta(minutes=11), forecast=400.0), state) == 0


def test_a_policy_whose_floor_may_not_rise_gets_no_headroom() -> None:
    situation = rising()
    hold = RaiseHold(4, 8, NOON + timedelta(minutes=5), 1, 1, "", "CrashLoop", "The raise did harm.")
    assert headroom(replace(situation, raise_hold=hold)) == 0
    assert headroom(replace(situation, conflict="manager kubectl sets it")) == 0
    assert headroom(rising(suspend=True)) == 0
    assert headroom(rising(annotations={PIN: "4"})) == 0


@given(situations(suppressing=True, overridden=True), st.integers(1, 3600), st.integers(1, 60))
def test_replicas_and_headroom_stay_within_the_maxima(situation: Situation, seconds: int, limit: int) -> None:
    spec = situation.policy.to_manifest()["spec"] | {"nodeHeadroom": {"leadTime": f"{seconds}s", "maxReplicas": limit}}
    situation = replace(
        situation, policy=type(situation.policy).model_validate(situation.policy.to_manifest() | {"spec": spec})
    )
    decision = decide(situation)
    replicas, state = node_headroom(situation, decision, HeadroomState())
    existing = max(situation.observed.current_replicas, decision.floor)
    assert 0 <= replicas <= limit
    assert replicas == 0 or existing + replicas <= effective_maximum(situation)
    assert node_headroom(situation, decision, state)[0] == replicas, "a second computation changes nothing"
