"""Semantics 27, 28: what can never work is told from what may heal; names of decisions."""

import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from forecasting.context import Context
from predictive_scaling.decision.identity import decision_id, decision_name
from predictive_scaling.decision.review import Problem, review_event, review_policy
from predictive_scaling.decision.surroundings import context_of
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy

POLICY = {
    "metadata": {"name": "checkout", "namespace": "shop"},
    "spec": {
        "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
        "demand": {"metric": "requests_per_second"},
        "replicas": {"max": 10},
    },
}


def weekly(**changes: Any) -> dict[str, Any]:
    recurrence = {"rrule": "FREQ=WEEKLY", "timezone": "Europe/Paris", "start": "18:00", "duration": "2h", **changes}
    spec = {"policies": {"all": True}, "recurrence": recurrence}
    return {"metadata": {"name": "sale", "namespace": "shop"}, "spec": spec}


def test_what_is_well_is_given_back_typed() -> None:
    assert isinstance(review_policy(POLICY), ScalingPolicy)
    assert isinstance(review_event(weekly()), BusinessEvent)


def test_a_policy_that_cannot_be_read_is_a_problem_and_no_exception() -> None:
    problem = review_policy({**POLICY, "spec": {**POLICY["spec"], "replicas": {"min": 5, "max": 2}}})
    assert isinstance(problem, Problem)
    assert "min (5)" in problem.message or "must not exceed max" in problem.message


def test_a_wrong_time_zone_is_named_with_the_right_one() -> None:
    problem = review_event(weekly(timezone="Europe/Pari"))
    assert isinstance(problem, Problem)
    assert problem.reason == "InvalidTimezone"
    assert "Europe/Paris" in problem.message


@pytest.mark.parametrize(
    ("field", "value", "reason", "told"),
    [
        ("timezone", "Europe/Pari", "InvalidTimezone", "did you mean Europe/Paris?"),
        ("holidays", "XX", "InvalidHolidays", "no public holidays of 'XX'"),
        ("holidays", "DE-XX", "InvalidHolidays", "no public holidays of 'DE-XX'"),
    ],
)
def test_a_place_that_does_not_exist_is_named(field: str, value: str, reason: str, told: str) -> None:
    problem = review_policy({**POLICY, "spec": {**POLICY["spec"], "forecast": {field: value}}})
    assert isinstance(problem, Problem)
    assert problem.reason == reason
    assert told in problem.message


def test_a_policy_is_forecast_by_its_own_clocks_and_holidays() -> None:
    there = {"timezone": "Europe/Berlin", "holidays": "DE-BY"}
    for forecast, context in ((there, Context(ZoneInfo("Europe/Berlin"), "DE-BY")), ({}, Context())):
        policy = review_policy({**POLICY, "spec": {**POLICY["spec"], "forecast": forecast}})
        assert isinstance(policy, ScalingPolicy)
        assert context_of(policy) == context


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=4,6;BYMONTHDAY=31",
        "FREQ=MONTHLY;BYMONTHDAY=40",
        "FREQ=DAILY;BYMONTH=13",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=DAILY;BYSETPOS=2",
        "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=5",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=40",
        "FREQ=YEARLY;BYWEEKNO=60",
        "FREQ=YEARLY;BYYEARDAY=60;BYMONTH=12",
    ],
)
def test_a_rule_that_never_comes_true_is_a_problem(rrule: str) -> None:
    problem = review_event(weekly(rrule=rrule))
    assert isinstance(problem, Problem), rrule
    assert problem.reason == "InvalidRecurrence"
    assert rrule in problem.message


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;BYMONTHDAY=31",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=DAILY;INTERVAL=2",
        "FREQ=DAILY;BYDAY=MO,TU",
        "FREQ=HOURLY;BYHOUR=9,10,11",
        "FREQ=YEARLY;BYWEEKNO=53",
    ],
)
def test_rules_that_come_true_are_accepted(rrule: str) -> None:
    assert isinstance(review_event(weekly(rrule=rrule)), BusinessEvent)


def test_a_decision_has_the_same_name_after_a_crash_and_another_one_the_next_day() -> None:
    identity = decision_id("8b0c", 3, "abc", 4, 9)
    assert decision_id("8b0c", 3, "abc", 4, 9) == identity
    others = {
        decision_id("8b0d", 3, "abc", 4, 9),
        decision_id("8b0c", 4, "abc", 4, 9),
        decision_id("8b0c", 3, "abd", 4, 9),
        decision_id("8b0c", 3, None, 4, 9),
        decision_id("8b0c", 3, "abc", 5, 9),
        decision_id("8b0c", 3, "abc", 4, 10),
    }
    assert len(others | {identity}) == 7


@pytest.mark.parametrize("policy", ["a", "checkout", "x" * 63, "y" * 49 + "." + "z" * 13])
def test_a_decisions_name_is_a_label_value_and_a_dns_name(policy: str) -> None:
    name = decision_name(policy, decision_id("uid", 1, None, 4, 9))
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name)
    assert ".-" not in name
