"""Semantics 27, 28: manifests that can never work; names of decisions."""

import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from forecasting.context import Context
from predictive_scaling.decision.decision_state import decision_id, decision_name
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.decision.review import Problem, review_event, review_policy
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


def test_a_valid_manifest_is_returned_as_a_typed_resource() -> None:
    assert isinstance(review_policy(POLICY), ScalingPolicy)
    assert isinstance(review_event(weekly()), BusinessEvent)


def test_an_invalid_policy_is_a_problem_and_no_exception() -> None:
    problem = review_policy({**POLICY, "spec": {**POLICY["spec"], "replicas": {"min": 5, "max": 2}}})
    assert isinstance(problem, Problem)
    assert "min (5)" in problem.message or "must not exceed max" in problem.message


def test_a_wrong_time_zone_is_named_with_the_right_one() -> None:
    problem = review_event(weekly(timezone="Europe/Pari"))
    assert isinstance(problem, Problem)
    assert problem.reason == "InvalidTimezone"
    assert "Europe/Paris" in problem.message


@pytest.mark.parametrize(
    ("field", "value", "reason", "fragment"),
    [
        ("timezone", "Europe/Pari", "InvalidTimezone", "did you mean Europe/Paris?"),
        ("holidays", "XX", "InvalidHolidays", "no public holidays of 'XX'"),
        ("holidays", "DE-XX", "InvalidHolidays", "no public holidays of 'DE-XX'"),
    ],
)
def test_an_unknown_time_zone_or_holiday_calendar_is_named(field: str, value: str, reason: str, fragment: str) -> None:
    problem = review_policy({**POLICY, "spec": {**POLICY["spec"], "forecast": {field: value}}})
    assert isinstance(problem, Problem)
    assert problem.reason == reason
    assert fragment in problem.message


def test_a_forecast_uses_the_policys_time_zone_and_holidays() -> None:
    bavaria = {"timezone": "Europe/Berlin", "holidays": "DE-BY"}
    for forecast, context in ((bavaria, Context(ZoneInfo("Europe/Berlin"), "DE-BY")), ({}, Context())):
        policy = review_policy({**POLICY, "spec": {**POLICY["spec"], "forecast": forecast}})
        assert isinstance(policy, ScalingPolicy)
        assert forecast_context(policy) == context


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
def test_a_rule_that_never_occurs_is_a_problem(rrule: str) -> None:
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
def test_rules_with_occurrences_are_accepted(rrule: str) -> None:
    assert isinstance(review_event(weekly(rrule=rrule)), BusinessEvent)


def test_a_decision_keeps_its_name_after_a_crash_and_has_another_name_the_next_day() -> None:
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


@pytest.mark.parametrize(
    ("rrule", "fragment"),
    [
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be between 1 and 999"),
        ("FREQ=MONTHLY;INTERVAL=0", "INTERVAL must be between 1 and 999"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL must be between 1 and 999"),
        ("FREQ=DAILY;INTERVAL=99999999999", "INTERVAL must be between 1 and 999"),
        ("FREQ=MONTHLY;BYDAY=60MO", "BYDAY must list weekdays"),
        ("FREQ=WEEKLY;BYDAY=2MO", "BYDAY may have ordinals"),
        ("FREQ=HOURLY;BYHOUR=99", "BYHOUR must list hours between 0 and 23"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY must list days between 1 and 31"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "BYSETPOS must list positions between 1 and 366"),
        ("FREQ=DAILY;COUNT=0", "COUNT must be between 1 and 10000"),
        ("FREQ=DAILY;UNTIL=99991231T235959Z", "UNTIL must be a time in UTC between 1970 and 2199"),
        ("FREQ=DAILY;UNTIL=20271231", "UNTIL must be a time in UTC"),
        ("FREQ=DAILY;UNTIL=20260230T120000Z", "is not a date of the calendar"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ must not occur twice"),
        ("FREQ=DAILY;BYEASTER=0", "must be a recurrence rule"),
        ("FREQ=MONTHLY;BYDAY=5FR;BYMONTHDAY=1", "never occurs"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "never occurs"),
        ("FREQ=YEARLY;BYDAY=MO;BYWEEKNO=20;BYMONTH=1", "never occurs"),
        ("FREQ=HOURLY;INTERVAL=12;BYHOUR=17", "never occurs"),
        ("FREQ=DAILY;UNTIL=19990101T000000Z", "never occurs"),
    ],
)
def test_an_invalid_rule_is_refused_with_the_invalid_part(rrule: str, fragment: str) -> None:
    problem = review_event(weekly(rrule=rrule))
    assert isinstance(problem, Problem), rrule
    assert problem.reason == "InvalidRecurrence"
    assert fragment in problem.message
    assert "shop/sale" in problem.message


@pytest.mark.parametrize(
    ("rrule", "changes"),
    [
        ("FREQ=HOURLY;INTERVAL=12;BYHOUR=18", {"start": "18:00"}),
        ("FREQ=HOURLY;INTERVAL=24;BYHOUR=18", {"start": "18:00"}),
        ("FREQ=DAILY;INTERVAL=2;BYDAY=MO", {"from": "2026-01-02"}),
        ("FREQ=YEARLY;BYMONTH=2", {"from": "2026-01-28"}),
        ("FREQ=MONTHLY;BYDAY=MO,-1FR", {}),
        ("FREQ=YEARLY;BYDAY=-53TH", {"from": "2026-01-02"}),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", {}),
    ],
)
def test_a_rule_with_occurrences_after_its_own_start_is_accepted(rrule: str, changes: dict[str, str]) -> None:
    assert isinstance(review_event(weekly(rrule=rrule, **changes)), BusinessEvent)


def test_a_rule_is_checked_from_the_day_that_it_counts_from() -> None:
    assert isinstance(review_event(weekly(rrule="FREQ=YEARLY;BYMONTH=2", **{"from": "2026-01-28"})), BusinessEvent)
    problem = review_event(weekly(rrule="FREQ=YEARLY;BYMONTH=2", **{"from": "2026-01-30"}))
    assert isinstance(problem, Problem)
    assert "counted from 2026-01-30 18:00" in problem.message


@pytest.mark.parametrize("first", ["9999-12-31", "0001-01-01", "1969-12-31", "2200-01-01"])
def test_a_day_outside_of_the_calendar_is_refused(first: str) -> None:
    problem = review_event(weekly(**{"from": first}))
    assert isinstance(problem, Problem)
    assert "must be between the years 1970 and 2199" in problem.message


@pytest.mark.parametrize(
    "zone", ["Factory", "localtime", "posixrules", "posix/Europe/Paris", "right/UTC", "leapseconds", "Europe"]
)
def test_a_file_of_the_time_zone_database_that_is_not_a_zone_is_refused(zone: str) -> None:
    problem = review_event(weekly(timezone=zone))
    assert isinstance(problem, Problem)
    assert problem.reason == "InvalidTimezone"
    policy = review_policy({**POLICY, "spec": {**POLICY["spec"], "forecast": {"timezone": zone}}})
    assert isinstance(policy, Problem)
    assert policy.reason == "InvalidTimezone"


def test_an_event_may_have_24_overlapping_occurrences() -> None:
    assert isinstance(review_event(weekly(rrule="FREQ=HOURLY", duration="24h")), BusinessEvent)
    assert isinstance(review_event(weekly(rrule="FREQ=HOURLY;INTERVAL=7", duration="168h")), BusinessEvent)
    assert isinstance(review_event(weekly(rrule="FREQ=DAILY", duration="168h")), BusinessEvent)
    problem = review_event(weekly(rrule="FREQ=HOURLY;INTERVAL=2", duration="49h"))
    assert isinstance(problem, Problem)
    assert problem.reason == "InvalidRecurrence"
    assert "shorten recurrence.duration" in problem.message
