"""Verification of each raise by its own floor and deadline (semantics 19)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.control.actuation.assessment import assess_progress
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.targets.port import Progress
from tests.support.builders import NOON
from tests.support.control import an_expected

MINUTE = timedelta(minutes=1)


def progress(
    floor: int, *, desired: int | None = None, replicas: int = 0, ready: int = 0, failure: str = ""
) -> Progress:
    return Progress(floor, floor if desired is None else desired, replicas, ready, failure or None)


def test_a_raise_succeeds_when_its_replicas_are_ready() -> None:
    verdict = assess_progress(an_expected(4, 9), progress(9, replicas=9, ready=9), NOON + 8 * MINUTE)
    assert verdict is not None
    assert verdict.phase is DecisionPhase.SUCCEEDED
    assert "480 s" in verdict.message


def test_a_raise_succeeds_without_replicas_where_the_target_holds_them_back() -> None:
    held = replace(progress(9), held_by="it is idle")
    verdict = assess_progress(an_expected(4, 9), held, NOON + MINUTE)
    assert verdict is not None
    assert (verdict.phase, verdict.measures_start) == (DecisionPhase.SUCCEEDED, False)
    assert "it is idle" in verdict.message


def test_a_raise_is_open_until_its_deadline() -> None:
    expected = an_expected(4, 9, deadline=24 * MINUTE)
    assert assess_progress(expected, progress(9, replicas=9, ready=4), NOON + 23 * MINUTE) is None


@pytest.mark.parametrize(
    ("observed", "cause", "fragment"),
    [
        (progress(9, desired=4, replicas=4, ready=4), FailureCause.TIMEOUT, "autoscaler still requests 4"),
        (progress(9, replicas=5, ready=5), FailureCause.TIMEOUT, "only 5 replicas exist"),
        (progress(9, replicas=9, ready=7), FailureCause.TIMEOUT, "only 7 of 9 replicas are ready"),
        (
            progress(9, replicas=5, ready=5, failure="FailedCreate: exceeded quota"),
            FailureCause.QUOTA,
            "exceeded quota",
        ),
        (progress(9, replicas=5, ready=5, failure="FailedCreate: denied"), FailureCause.REPLICAS_NOT_MADE, "denied"),
    ],
)
def test_a_late_raise_fails_with_the_reason(observed: Progress, cause: FailureCause, fragment: str) -> None:
    verdict = assess_progress(an_expected(4, 9), observed, NOON + 24 * MINUTE)
    assert verdict is not None
    assert (verdict.phase, verdict.cause) == (DecisionPhase.FAILED, cause)
    assert fragment in verdict.message


def test_a_raise_is_verified_by_its_own_floor_after_a_later_raise() -> None:
    first = an_expected(4, 9, newest="another")
    assert assess_progress(first, progress(14, replicas=14, ready=5), NOON + 8 * MINUTE) is None
    verdict = assess_progress(first, progress(14, replicas=14, ready=9), NOON + 9 * MINUTE)
    assert verdict is not None
    assert verdict.phase is DecisionPhase.SUCCEEDED


def test_a_raise_reverted_by_a_later_decision_is_superseded() -> None:
    verdict = assess_progress(an_expected(4, 9, newest="another"), progress(6, replicas=6, ready=6), NOON + MINUTE)
    assert verdict is not None
    assert verdict.phase is DecisionPhase.SUPERSEDED


def test_a_raise_with_a_foreign_minimum_fails_as_overwritten() -> None:
    for expected in (an_expected(4, 9), an_expected(9, 4)):
        verdict = assess_progress(expected, progress(3, replicas=9, ready=9), NOON + MINUTE)
        assert verdict is not None
        assert verdict.phase is DecisionPhase.FAILED
        assert "Overwritten" in verdict.message


@pytest.mark.parametrize(("before", "to"), [(4, 9), (12, 9)])
def test_a_floor_that_a_lower_maximum_took_with_it_is_superseded(before: int, to: int) -> None:
    cut = replace(progress(3, replicas=9, ready=9), maximum=3)
    verdict = assess_progress(an_expected(before, to), cut, NOON + MINUTE)
    assert verdict is not None
    assert (verdict.phase, verdict.cause) == (DecisionPhase.SUPERSEDED, None)
    assert "maximum was lowered to 3" in verdict.message


@pytest.mark.parametrize(
    "observed",
    [
        replace(progress(2), maximum=3),
        replace(progress(3), maximum=3, floor_manager="helm"),
        replace(progress(3), maximum=40),
    ],
)
def test_a_lower_floor_is_overwritten_unless_the_maximum_alone_explains_it(observed: Progress) -> None:
    verdict = assess_progress(an_expected(4, 9), observed, NOON + MINUTE)
    assert verdict is not None
    assert verdict.cause is FailureCause.OVERWRITTEN


def test_a_raise_is_cancelled_when_the_original_minimum_is_restored() -> None:
    expected = an_expected(4, 9)
    expected.state.begin_restoring()
    verdict = assess_progress(expected, progress(1, replicas=4, ready=4), NOON + MINUTE)
    assert verdict is not None
    assert verdict.phase is DecisionPhase.CANCELLED


def test_a_decrease_succeeds_when_the_target_keeps_the_minimum() -> None:
    verdict = assess_progress(an_expected(9, 4), progress(4, replicas=9, ready=9), NOON + MINUTE)
    assert verdict is not None
    assert verdict.phase is DecisionPhase.SUCCEEDED


def test_a_lead_time_is_a_high_percentile_of_the_last_measurements() -> None:
    lead_times = LeadTimes(timedelta(minutes=3))
    assert lead_times.of("uid", None) == timedelta(minutes=3)
    for minutes in range(1, 12):
        lead_times.learn("uid", minutes * MINUTE)
    assert lead_times.of("uid", None) == timedelta(minutes=10)
    assert lead_times.of("other", None) == timedelta(minutes=3)


def test_a_configured_lead_time_takes_precedence_over_a_measured_lead_time() -> None:
    lead_times = LeadTimes(timedelta(minutes=3))
    lead_times.learn("uid", 9 * MINUTE)
    assert lead_times.of("uid", timedelta(minutes=5)) == timedelta(minutes=5)


def test_a_lowered_floor_names_what_the_target_keeps() -> None:
    kept = replace(progress(4, replicas=6, ready=6), excess="6 units remain, as they are protected")
    verdict = assess_progress(an_expected(9, 4), kept, NOON + MINUTE)
    assert verdict is not None
    assert (verdict.phase, verdict.message) == (
        DecisionPhase.SUCCEEDED,
        "The target kept the minimum 4; 6 units remain, as they are protected.",
    )
