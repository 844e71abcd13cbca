"""Semantics 6, 7, 17, 24: overrides of the floor and their precedence."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Decision, DecisionState, Limit, Reason, Source, TargetPause
from predictive_scaling.resources.annotations import DIRECTION, PAUSED, PIN, UNTIL
from predictive_scaling.resources.vocabulary import Direction
from tests.support.builders import LONG_AGO, NOON, a_policy, a_situation, observed

AT_ONCE = {"stabilizationWindow": "0s", "maxStep": "1000", "period": "1m"}
LATER, EARLIER = (NOON + timedelta(hours=1)).isoformat(), (NOON - timedelta(hours=1)).isoformat()


def decided(annotations: dict[str, str] | None = None, forecast: float = 700.0, **spec: Any) -> Decision:
    policy = a_policy(annotations=annotations, scaleDown=AT_ONCE, **spec)
    return decide(a_situation(policy, forecast=forecast, demand=forecast * 0.9))


def test_suspend_freezes_the_floor() -> None:
    decision = decided(suspend=True)
    assert (decision.floor, decision.limits, decision.paused) == (4, (Limit.PAUSED,), "Suspended")


def test_a_pause_annotation_freezes_the_floor() -> None:
    decision = decided({PAUSED: "true"})
    assert (decision.floor, decision.paused) == (4, "PausedByAnnotation")


def test_a_pin_sets_its_floor_without_steps() -> None:
    decision = decided({PIN: "20"})
    assert (decision.floor, decision.source, decision.reason) == (20, Source.PIN, Reason.PINNED)
    assert decision.paused == "Pinned"


def test_a_pin_stays_within_bounds() -> None:
    decision = decided({PIN: "90"}, max=30)
    assert (decision.floor, decision.limits) == (30, (Limit.PINNED, Limit.MAXIMUM))


@pytest.mark.parametrize(
    ("direction", "forecast", "floor"),
    [("UpOnly", 700.0, 7), ("UpOnly", 200.0, 4), ("DownOnly", 700.0, 4), ("DownOnly", 200.0, 2)],
)
def test_a_direction_annotation_allows_one_direction(direction: str, forecast: float, floor: int) -> None:
    decision = decided({DIRECTION: direction}, forecast)
    assert decision.floor == floor
    assert (Limit.DIRECTION in decision.limits) == (floor == 4)
    assert decision.paused is None


@pytest.mark.parametrize("annotation", [{PAUSED: "true"}, {PIN: "20"}, {DIRECTION: "DownOnly"}])
def test_an_annotation_ends_at_its_time(annotation: dict[str, str]) -> None:
    assert decided({**annotation, UNTIL: LATER}).floor != 7
    assert decided({**annotation, UNTIL: EARLIER}).floor == 7
    assert decided({**annotation, UNTIL: NOON.isoformat()}).floor == 7


def test_the_spec_takes_precedence_over_annotations() -> None:
    decision = decided({PAUSED: "true", PIN: "20", DIRECTION: "UpOnly"}, suspend=True)
    assert (decision.floor, decision.paused) == (4, "Suspended")


def test_a_pause_takes_precedence_over_a_pin_and_a_pin_over_a_direction() -> None:
    assert decided({PAUSED: "true", PIN: "20"}).paused == "PausedByAnnotation"
    assert decided({PIN: "20", DIRECTION: "DownOnly"}).floor == 20


@pytest.mark.parametrize("annotation", [{PIN: "many"}, {DIRECTION: "Sideways"}, {PAUSED: "perhaps"}])
def test_an_invalid_annotation_is_ignored_and_reported(annotation: dict[str, str]) -> None:
    decision = decided(annotation)
    assert decision.floor == 7
    assert next(iter(annotation)) in decision.pause.errors[0]


def test_a_pause_with_an_invalid_end_stays_active() -> None:
    assert decided({PAUSED: "true", UNTIL: "tomorrow"}).floor == 4


def test_a_target_scaled_to_zero_by_a_user_stays_at_zero() -> None:
    for annotations in ({}, {PIN: "20"}):
        policy = a_policy(min=2, annotations=annotations)
        situation = a_situation(policy, forecast=700.0, observed=observed(1, current=0, scaled_to_zero=True))
        decision = decide(situation)
        assert (decision.floor, decision.paused) == (1, "TargetScaledToZero")


def test_a_conflict_freezes_the_floor() -> None:
    decision = decide(a_situation(forecast=700.0, conflict="argocd-controller set minReplicas to 4 at 11:58"))
    assert (decision.floor, decision.limits, decision.paused) == (4, (Limit.PAUSED,), None)
    assert "argocd-controller" in decision.message


def test_off_keeps_the_floor() -> None:
    decision = decided(mode="Off")
    assert (decision.floor, decision.changes, decision.paused) == (4, False, None)


def test_a_frozen_floor_stays_out_of_bounds() -> None:
    assert decided(suspend=True, min=10).floor == 4


def test_the_held_floor_is_kept_while_frozen() -> None:
    policy, state = a_policy(suspend=True), DecisionState(since=LONG_AGO, floor=9)
    assert decide(a_situation(policy, floor=4, state=state)).state.floor == 9


def test_the_floor_follows_the_forecast_immediately_after_a_pause() -> None:
    frozen = decide(a_situation(a_policy(suspend=True), forecast=700.0))
    assert decide(a_situation(a_policy(), forecast=700.0, state=frozen.state)).floor == 7


def decided_on(pause: TargetPause, annotations: dict[str, str] | None = None, forecast: float = 700.0) -> Decision:
    """The decision for a target at 4 replicas that a person paused itself; the forecast of 700 recommends 7."""
    policy = a_policy(annotations=annotations, scaleDown=AT_ONCE)
    situation = a_situation(policy, forecast=forecast, demand=forecast * 0.9)
    return decide(replace(situation, observed=replace(situation.observed, pause=pause)))


def test_a_target_that_is_paused_itself_freezes_the_floor() -> None:
    decision = decided_on(TargetPause("its annotation is set"))
    assert (decision.floor, decision.paused) == (4, "TargetPaused")
    assert "its annotation is set" in decision.pause.message


@pytest.mark.parametrize(
    ("direction", "annotations", "floor"),
    [
        (Direction.UP_ONLY, {}, 7),
        (Direction.DOWN_ONLY, {}, 4),
        (Direction.DOWN_ONLY, {PIN: "9"}, 4),
        (Direction.DOWN_ONLY, {DIRECTION: "DownOnly"}, 4),
        (Direction.UP_ONLY, {DIRECTION: "DownOnly"}, 4),
    ],
)
def test_a_target_that_scales_in_one_direction_only_is_not_scaled_in_the_other(
    direction: Direction, annotations: dict[str, str], floor: int
) -> None:
    assert decided_on(TargetPause("its annotation is set", direction), annotations).floor == floor


def test_the_minimum_of_the_policy_does_not_raise_a_target_that_may_not_grow() -> None:
    policy = a_policy(min=6)
    situation = a_situation(policy, forecast=700.0)
    pause = TargetPause("its annotation is set", Direction.DOWN_ONLY)
    assert decide(replace(situation, observed=replace(situation.observed, pause=pause))).floor == 4
