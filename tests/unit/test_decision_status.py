"""Semantics 14, 22, 23, 27, 29: conditions, status and the message of a decision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from forecasting.models.explanation import Reasons
from predictive_scaling.decision.conditions import ReconcileResult, VerificationState, policy_conditions
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import DecisionState, ForecastSource, Situation
from predictive_scaling.decision.review import Problem
from predictive_scaling.decision.status import policy_status, status_without_decision
from predictive_scaling.resources.annotations import DIRECTION, PIN
from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.statuses import ForecastPoint
from predictive_scaling.resources.vocabulary import ConditionType
from tests.support.builders import (
    LONG_AGO,
    NOON,
    a_current_forecast,
    a_forecast,
    a_policy,
    a_situation,
    a_steady_forecast,
    observed,
)

RESULT = ReconcileResult(generation=7)
NO_FORECAST = DecisionState(since=LONG_AGO, floor=4, no_forecast_since=NOON - timedelta(hours=1))


def conditions(situation: Situation, result: ReconcileResult = RESULT) -> dict[str, Condition]:
    return {condition.type: condition for condition in policy_conditions(result, situation, decide(situation))}


def state_of(situation: Situation, type_: str, result: ReconcileResult = RESULT) -> tuple[str, str]:
    condition = conditions(situation, result)[type_]
    return condition.status.value, condition.reason


def test_a_reconcile_sets_all_ten_conditions_with_their_generation() -> None:
    by_type = conditions(a_situation())
    assert set(by_type) == {str(type_) for type_ in ConditionType}
    assert {condition.observed_generation for condition in by_type.values()} == {7}
    assert all(condition.message for type_, condition in by_type.items() if type_ != "Verified")


@pytest.mark.parametrize(
    "situation",
    [
        a_situation(a_policy(mode="Off")),
        a_situation(a_policy(suspend=True)),
        a_situation(forecast=None, demand=None, state=NO_FORECAST),
        a_situation(conflict="argocd-controller holds minReplicas"),
    ],
)
def test_off_paused_in_fallback_or_in_conflict_is_ready(situation: Situation) -> None:
    assert state_of(situation, "Ready") == ("True", "TargetObserved")


def test_a_permanent_problem_is_stalled_and_a_temporary_problem_is_only_unready() -> None:
    never = {
        condition.type: condition
        for condition in policy_conditions(ReconcileResult(1, stalled=Problem("InvalidTimezone", "no such zone")))
    }
    assert (never["Stalled"].status, never["Ready"].status) == ("True", "False")
    missing = Problem("TargetNotFound", 'horizontalpodautoscalers "checkout" not found')
    not_yet = {condition.type: condition for condition in policy_conditions(ReconcileResult(1, failure=missing))}
    assert (not_yet["Stalled"].status, not_yet["Ready"].reason) == ("False", "TargetNotFound")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("True", "MetricsFresh")),
        ({"demand": None}, ("False", "NoMetrics")),
        ({"demand_age": timedelta(minutes=6)}, ("False", "MetricsStale")),
        ({"demand": 0.0}, ("False", "ImplausibleValue")),
        ({"demand": float("nan")}, ("False", "ImplausibleValue")),
    ],
)
def test_the_condition_metrics_fresh(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert state_of(a_situation(**changes), "MetricsFresh") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [(ForecastSource.FRESH, "True"), (ForecastSource.LAST, "False"), (ForecastSource.LAST_WEEK, "False")],
)
def test_each_forecast_source_is_a_reason(source: ForecastSource, expected: str) -> None:
    situation = a_situation(current_forecast=a_current_forecast(a_steady_forecast(400.0), source))
    assert state_of(situation, "ForecastReady") == (expected, source.value)


def test_the_note_of_a_forecast_is_in_the_message() -> None:
    note = "spec.forecast.model is LightGBM, against the verdict on the last days: LastValue acts"
    forecast = replace(a_steady_forecast(400.0), note=note)
    ready = conditions(a_situation(current_forecast=a_current_forecast(forecast, ForecastSource.FRESH)))[
        "ForecastReady"
    ]
    assert (ready.status, ready.reason) == ("True", "FreshForecast")
    assert ready.message.endswith(f"; {note}")


def test_without_a_forecast_the_fallback_waits_and_then_becomes_active() -> None:
    without_forecast = a_situation(forecast=None)
    assert state_of(without_forecast, "ForecastReady") == ("False", "NoForecast")
    assert state_of(without_forecast, "Fallback") == ("False", "Waiting")
    assert state_of(replace(without_forecast, state=NO_FORECAST), "Fallback") == ("True", "HoldFloor")
    assert state_of(a_situation(), "Fallback") == ("False", "NotNeeded")


def test_a_reached_maximum_is_reported_with_the_recommendation() -> None:
    limited = conditions(a_situation(a_policy(max=10), forecast=6000.0))["ScalingLimited"]
    assert (limited.status, limited.reason) == ("True", "PolicyMaximum")
    assert "60 replicas recommended" in limited.message
    of_target = a_situation(a_policy(max=30), forecast=6000.0, observed=observed(4, maximum=20))
    assert state_of(of_target, "ScalingLimited") == ("True", "TargetMaximum")
    assert state_of(a_situation(), "ScalingLimited") == ("False", "WithinBounds")


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (a_situation(), ("True", "Forecast")),
        (a_situation(a_policy(mode="Recommend")), ("False", "Recommend")),
        (a_situation(a_policy(mode="Off")), ("False", "Off")),
        (a_situation(a_policy(suspend=True)), ("False", "Suspended")),
        (a_situation(conflict="x"), ("False", "Conflict")),
        (a_situation(per_replica=None), ("False", "PerReplicaUnknown")),
        (a_situation(per_replica=float("nan")), ("False", "PerReplicaUnknown")),
    ],
)
def test_the_condition_scaling_active(situation: Situation, expected: tuple[str, str]) -> None:
    assert state_of(situation, "ScalingActive") == expected


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (a_situation(), ("False", "NotPaused")),
        (a_situation(a_policy(suspend=True)), ("True", "Suspended")),
        (a_situation(a_policy(annotations={PIN: "9"})), ("True", "Pinned")),
        (a_situation(a_policy(annotations={PIN: "some"})), ("False", "InvalidAnnotation")),
        (a_situation(a_policy(annotations={DIRECTION: "UpOnly"})), ("False", "UpOnly")),
        (a_situation(observed=observed(4, current=0, scaled_to_zero=True)), ("True", "TargetScaledToZero")),
    ],
)
def test_the_condition_paused(situation: Situation, expected: tuple[str, str]) -> None:
    assert state_of(situation, "Paused") == expected


def test_a_conflict_names_the_writer_and_the_write() -> None:
    conflict = conditions(a_situation(conflict="argocd-controller set minReplicas to 2"))["Conflict"]
    assert (conflict.status, conflict.message) == ("True", "argocd-controller set minReplicas to 2")
    assert state_of(a_situation(), "Conflict") == ("False", "NoConflict")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (ReconcileResult(1), ("Unknown", "NothingToVerify")),
        (ReconcileResult(1, verification=VerificationState.PENDING), ("Unknown", "Verifying")),
        (ReconcileResult(1, verification=VerificationState.SUCCEEDED), ("True", "ReplicasReady")),
        (ReconcileResult(1, verification=VerificationState.FAILED), ("False", "VerificationFailed")),
        (
            ReconcileResult(1, verification=VerificationState.FAILED, verification_reason="Unschedulable"),
            ("False", "Unschedulable"),
        ),
    ],
)
def test_the_condition_verified(result: ReconcileResult, expected: tuple[str, str]) -> None:
    assert state_of(a_situation(), "Verified", result) == expected


def test_the_status_has_the_fields_of_the_api() -> None:
    situation = a_situation(forecast=a_forecast(*[650] * 12, spread={0.5: 0.8}))
    decision = decide(situation)
    conditions = merge((), policy_conditions(RESULT, situation, decision), NOON)
    status = policy_status(situation, decision, conditions).to_manifest()
    assert (status["floor"], status["uncappedFloor"], status["source"]) == (7, 7, "Forecast")
    assert (status["currentReplicas"], status["readyReplicas"], status["mode"]) == (4, 4, "Auto")
    assert (status["leadTime"], status["perReplica"], status["observedGeneration"]) == ("3m", "100", 1)
    assert status["forecast"]["points"][0] == {"time": "2026-06-17T12:00:00Z", "p50": "520", "p90": "650"}
    assert (status["forecast"]["model"], status["forecast"]["summary"]) == ("LightGBM", "650 (p90)")
    assert status["forecast"]["validUntil"] == "2026-06-17T13:00:00Z"
    assert len(status["conditions"]) == 10


def points_of(situation: Situation) -> tuple[ForecastPoint, ...]:
    forecast = policy_status(situation, decide(situation), ()).forecast
    assert forecast is not None
    return forecast.points


@pytest.mark.parametrize(("bins", "points"), [(12, 12), (24, 24), (25, 13), (288, 24), (1440, 24)])
def test_a_status_has_at_most_24_points(bins: int, points: int) -> None:
    situation = a_situation(forecast=a_steady_forecast(400.0, bins=bins))
    assert len(points_of(situation)) == points


def test_points_in_the_past_are_not_in_the_status() -> None:
    current_forecast = a_current_forecast(a_steady_forecast(400.0, origin=NOON - timedelta(minutes=12)))
    situation = a_situation(current_forecast=current_forecast, forecast=None)
    points = points_of(situation)
    assert points[0].time == NOON - timedelta(minutes=2)


def test_a_reconcile_without_a_decision_writes_its_conditions() -> None:
    missing = ReconcileResult(3, failure=Problem("TargetNotFound", "hpa/checkout is not there"))
    status = status_without_decision(3, merge((), policy_conditions(missing), NOON))
    assert status.observed_generation == 3
    others = [condition for condition in status.conditions if condition.type not in ("Ready", "Stalled")]
    assert {condition.status for condition in others} == {"Unknown"}


def test_the_message_has_the_cause_the_limits_and_the_contributions() -> None:
    forecast = replace(a_steady_forecast(6230.0), contributions=("demand of the last 30 minutes (+21 %)",))
    situation = a_situation(floor=4, per_replica=700.0, forecast=forecast)
    message = decide(situation).message
    for fragment in (
        "Raise from 4 to 8: ",
        "6,230 requests_per_second until 12:08 (p90, LightGBM 19980703-1)",
        "9 replicas at 700 per replica",
        "StepUp",
        "demand of the last 30 minutes (+21 %)",
    ):
        assert fragment in message


def test_contributions_are_computed_only_for_a_floor_that_changes() -> None:
    def unexpected() -> tuple[str, ...]:
        raise AssertionError("contributions were computed")

    forecast = replace(a_steady_forecast(400.0), contributions=Reasons(unexpected))
    assert not decide(a_situation(floor=4, forecast=forecast)).changes
    with pytest.raises(AssertionError, match="were computed"):
        decide(a_situation(floor=2, forecast=forecast))


def test_the_message_names_the_maximum() -> None:
    assert "Maximum of 10" in decide(a_situation(a_policy(max=10), floor=9, forecast=6000.0)).message


def test_the_message_of_a_paused_policy_names_the_cause() -> None:
    message = decide(a_situation(a_policy(suspend=True), forecast=700.0)).message
    assert message.startswith("Hold 4: spec.suspend is true; 7 ")
    assert message.endswith("Paused.")


def test_points_without_finite_values_are_omitted() -> None:
    situation = a_situation(forecast=a_forecast(400, float("nan"), 400))
    assert len(points_of(situation)) == 2


def test_an_invalid_capacity_is_not_in_the_status() -> None:
    situation = a_situation(per_replica=float("nan"))
    assert policy_status(situation, decide(situation), ()).per_replica is None
