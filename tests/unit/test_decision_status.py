"""Semantics 14, 22, 23, 27, 29: conditions, status and the sentence that explains a decision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from forecasting.models.explanation import Reasons
from predictive_scaling.decision.conditions import ReconcileResult, Verification, policy_conditions
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import DecisionState, ForecastSource, Situation
from predictive_scaling.decision.review import Problem
from predictive_scaling.decision.status import policy_status, status_without_decision
from predictive_scaling.resources.annotations import DIRECTION, PIN
from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.vocabulary import ConditionType
from tests.support.builders import (
    LONG_AGO,
    NOON,
    a_forecast,
    a_policy,
    a_situation,
    a_steady_forecast,
    an_outlook,
    observed,
)

VISIT = ReconcileResult(generation=7)
BLIND = DecisionState(since=LONG_AGO, floor=4, no_forecast_since=NOON - timedelta(hours=1))


def conditions(situation: Situation, visit: ReconcileResult = VISIT) -> dict[str, Condition]:
    return {
        policy_condition.type: policy_condition
        for policy_condition in policy_conditions(visit, situation, decide(situation))
    }


def told(situation: Situation, type_: str, visit: ReconcileResult = VISIT) -> tuple[str, str]:
    condition = conditions(situation, visit)[type_]
    return condition.status.value, condition.reason


def test_all_ten_conditions_are_judged_at_a_visit_with_the_generation_they_are_for() -> None:
    found = conditions(a_situation())
    assert set(found) == {str(it) for it in ConditionType}
    assert {it.observed_generation for it in found.values()} == {7}
    assert all(it.message for type_, it in found.items() if type_ != "Verified")


@pytest.mark.parametrize(
    "situation",
    [
        a_situation(a_policy(mode="Off")),
        a_situation(a_policy(suspend=True)),
        a_situation(forecast=None, demand=None, state=BLIND),
        a_situation(conflict="argocd-controller holds minReplicas"),
    ],
)
def test_off_paused_in_fallback_or_in_conflict_is_ready(situation: Situation) -> None:
    assert told(situation, "Ready") == ("True", "TargetObserved")


def test_never_is_stalled_and_not_yet_is_only_unready() -> None:
    never = {
        policy_condition.type: policy_condition
        for policy_condition in policy_conditions(
            ReconcileResult(1, stalled=Problem("InvalidTimezone", "no such zone"))
        )
    }
    assert (never["Stalled"].status, never["Ready"].status) == ("True", "False")
    missing = Problem("TargetNotFound", 'horizontalpodautoscalers "checkout" not found')
    not_yet = {
        policy_condition.type: policy_condition
        for policy_condition in policy_conditions(ReconcileResult(1, failure=missing))
    }
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
def test_metrics_fresh(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert told(a_situation(**changes), "MetricsFresh") == expected


@pytest.mark.parametrize(
    ("rung", "expected"),
    [(ForecastSource.FRESH, "True"), (ForecastSource.LAST, "False"), (ForecastSource.LAST_WEEK, "False")],
)
def test_each_rung_of_the_ladder_is_a_reason(rung: ForecastSource, expected: str) -> None:
    situation = a_situation(current_forecast=an_outlook(a_steady_forecast(400.0), rung))
    assert told(situation, "ForecastReady") == (expected, rung.value)


def test_a_model_that_acts_against_the_gate_is_told() -> None:
    note = "spec.forecast.model is LightGBM, against the verdict on the last days: LastValue acts"
    forecast = replace(a_steady_forecast(400.0), note=note)
    ready = conditions(a_situation(current_forecast=an_outlook(forecast, ForecastSource.FRESH)))["ForecastReady"]
    assert (ready.status, ready.reason) == ("True", "FreshForecast")
    assert ready.message.endswith(f"; {note}")


def test_without_a_forecast_the_fallback_is_waited_for_and_then_active() -> None:
    blind = a_situation(forecast=None)
    assert told(blind, "ForecastReady") == ("False", "NoForecast")
    assert told(blind, "Fallback") == ("False", "Waiting")
    assert told(replace(blind, state=BLIND), "Fallback") == ("True", "HoldFloor")
    assert told(a_situation(), "Fallback") == ("False", "NotNeeded")


def test_hitting_the_maximum_is_told_with_what_was_wanted() -> None:
    limited = conditions(a_situation(a_policy(max=10), forecast=6000.0))["ScalingLimited"]
    assert (limited.status, limited.reason) == ("True", "PolicyMaximum")
    assert "60 replicas wanted" in limited.message
    of_target = a_situation(a_policy(max=30), forecast=6000.0, observed=observed(4, maximum=20))
    assert told(of_target, "ScalingLimited") == ("True", "TargetMaximum")
    assert told(a_situation(), "ScalingLimited") == ("False", "WithinBounds")


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
def test_scaling_active(situation: Situation, expected: tuple[str, str]) -> None:
    assert told(situation, "ScalingActive") == expected


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
def test_paused(situation: Situation, expected: tuple[str, str]) -> None:
    assert told(situation, "Paused") == expected


def test_a_conflict_says_who_and_what() -> None:
    conflict = conditions(a_situation(conflict="argocd-controller set minReplicas to 2"))["Conflict"]
    assert (conflict.status, conflict.message) == ("True", "argocd-controller set minReplicas to 2")
    assert told(a_situation(), "Conflict") == ("False", "NoConflict")


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        (ReconcileResult(1), ("Unknown", "NothingToVerify")),
        (ReconcileResult(1, verification=Verification.PENDING), ("Unknown", "Verifying")),
        (ReconcileResult(1, verification=Verification.SUCCEEDED), ("True", "ReplicasReady")),
        (ReconcileResult(1, verification=Verification.FAILED), ("False", "VerificationFailed")),
        (
            ReconcileResult(1, verification=Verification.FAILED, verification_reason="Unschedulable"),
            ("False", "Unschedulable"),
        ),
    ],
)
def test_verified(visit: ReconcileResult, expected: tuple[str, str]) -> None:
    assert told(a_situation(), "Verified", visit) == expected


def test_the_status_says_what_api_md_names() -> None:
    situation = a_situation(forecast=a_forecast(*[650] * 12, spread={0.5: 0.8}))
    decision = decide(situation)
    status = policy_status(situation, decision, merge((), policy_conditions(VISIT, situation, decision), NOON))
    assert (status["floor"], status["uncappedFloor"], status["source"]) == (7, 7, "Forecast")
    assert (status["currentReplicas"], status["readyReplicas"], status["mode"]) == (4, 4, "Auto")
    assert (status["leadTime"], status["perReplica"], status["observedGeneration"]) == ("3m", "100", 1)
    assert status["forecast"]["points"][0] == {"time": "2026-06-17T12:00:00Z", "p50": "520", "p90": "650"}
    assert (status["forecast"]["model"], status["forecast"]["summary"]) == ("LightGBM", "650 (p90)")
    assert status["forecast"]["validUntil"] == "2026-06-17T13:00:00Z"
    assert len(status["conditions"]) == 10


@pytest.mark.parametrize(("bins", "points"), [(12, 12), (24, 24), (25, 13), (288, 24), (1440, 24)])
def test_a_status_has_at_most_24_points(bins: int, points: int) -> None:
    situation = a_situation(forecast=a_steady_forecast(400.0, bins=bins))
    assert len(policy_status(situation, decide(situation), ())["forecast"]["points"]) == points


def test_points_that_are_over_are_not_shown() -> None:
    current_forecast = an_outlook(a_steady_forecast(400.0, origin=NOON - timedelta(minutes=12)))
    situation = a_situation(current_forecast=current_forecast, forecast=None)
    points = policy_status(situation, decide(situation), ())["forecast"]["points"]
    assert points[0]["time"] == "2026-06-17T11:58:00Z"


def test_a_visit_without_a_decision_leaves_its_conditions() -> None:
    missing = ReconcileResult(3, failure=Problem("TargetNotFound", "hpa/checkout is not there"))
    status = status_without_decision(3, merge((), policy_conditions(missing), NOON))
    assert status["observedGeneration"] == 3
    assert {it["status"] for it in status["conditions"] if it["type"] not in ("Ready", "Stalled")} == {"Unknown"}


def test_the_sentence_says_why_and_what_cut_it_and_what_the_forecast_leans_on() -> None:
    forecast = replace(a_steady_forecast(6230.0), contributions=("demand of the last 30 minutes (+21 %)",))
    situation = a_situation(floor=4, per_replica=700.0, forecast=forecast)
    assert decide(situation).message == (
        "Raise from 4 to 8: 6,230 requests_per_second expected until 12:08 (p90, LightGBM 19980703-1) "
        "need 9 replicas of 700; 9 wanted, cut by StepUp. "
        "The forecast leans on demand of the last 30 minutes (+21 %)."
    )


def test_contributions_are_computed_for_a_floor_that_changes_only() -> None:
    def unexpected() -> tuple[str, ...]:
        raise AssertionError("contributions were computed")

    forecast = replace(a_steady_forecast(400.0), contributions=Reasons(unexpected))
    assert not decide(a_situation(floor=4, forecast=forecast)).changes
    with pytest.raises(AssertionError, match="were computed"):
        decide(a_situation(floor=2, forecast=forecast))


def test_the_sentence_names_the_maximum() -> None:
    assert "cut by Maximum of 10" in decide(a_situation(a_policy(max=10), floor=9, forecast=6000.0)).message


def test_the_sentence_of_a_paused_policy_says_who_paused_it() -> None:
    assert decide(a_situation(a_policy(suspend=True), forecast=700.0)).message == (
        "Hold 4: spec.suspend is true; 7 wanted, cut by Paused."
    )


def test_points_that_are_no_numbers_are_left_out() -> None:
    situation = a_situation(forecast=a_forecast(400, float("nan"), 400))
    assert len(policy_status(situation, decide(situation), ())["forecast"]["points"]) == 2


def test_a_capacity_that_is_no_number_is_not_shown() -> None:
    situation = a_situation(per_replica=float("nan"))
    assert "perReplica" not in policy_status(situation, decide(situation), ())
