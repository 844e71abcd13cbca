"""Causes and roll-backs for any pods, and holds of raises in any situation (semantics 19)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.cluster.pod_record import PodEvent, parse_pod
from predictive_scaling.control.actuation.assessment import assess_progress
from predictive_scaling.control.actuation.failure_causes import PodReport, diagnose_pods
from predictive_scaling.decision.context import assess_inputs
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import RaiseHold, Situation
from predictive_scaling.decision.limits import effective_maximum, effective_minimum
from predictive_scaling.decision.peak_demand import replicas_for
from predictive_scaling.decision.spans import window_ahead
from predictive_scaling.resources.vocabulary import DecisionPhase, TargetKind
from predictive_scaling.targets.port import Progress
from tests.support.builders import NOON
from tests.support.control import an_expected
from tests.support.pods import a_pod_body
from tests.support.situations import replicas, situations


def a_hold(floor: int, raised_by: int, seconds: int, is_reverted: bool) -> RaiseHold:
    return RaiseHold(
        floor=floor,
        raised_to=floor + raised_by,
        until=NOON + timedelta(seconds=seconds),
        failures=1,
        generation=1,
        template="first",
        cause="CrashLoop",
        message="CrashLoop: 7 of 9 pods crash.",
        is_reverted=is_reverted,
    )


def a_pod(listed: list[dict[str, Any]], ready: bool, minutes: int) -> dict[str, Any]:
    return a_pod_body(*listed, ready=ready, created_at=NOON + timedelta(minutes=minutes))


holds = st.builds(a_hold, replicas, st.integers(1, 20), st.integers(-60, 3600), st.booleans())
words = st.sampled_from(
    ["", "CrashLoopBackOff", "ImagePullBackOff", "CreateContainerConfigError", "ContainerCreating", "Unheard"]
)
keys = st.sampled_from(["type", "status", "state", "waiting", "terminated", "exitCode"])
junk: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(keys, children, max_size=3),
    max_leaves=8,
)
states = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries({"reason": words, "message": st.text(max_size=20)}),
        "running": st.just({"startedAt": "2026-06-17T12:00:00Z"}),
        "terminated": st.fixed_dictionaries({"exitCode": st.integers(0, 255)}),
    },
)
containers = st.fixed_dictionaries(
    {"name": st.just("web"), "image": st.just("shop/web:1"), "ready": st.booleans(), "state": states},
    optional={"lastState": states, "restartCount": st.integers(0, 9)},
)
bodies = st.builds(a_pod, st.lists(containers, max_size=2), st.booleans(), st.integers(-5, 5))
progresses = st.builds(Progress, st.just(9), replicas, replicas, replicas, st.none() | st.text(max_size=30))


def report_of(listed: list[dict[str, Any]], messages: list[str] | None = None) -> PodReport:
    pods = tuple(pod for body in listed if (pod := parse_pod(body)) is not None)
    return PodReport(pods, tuple(PodEvent("NotTriggerScaleUp", message) for message in messages or ()))


def needed_by(situation: Situation) -> int | None:
    """The replicas for the newest demand; None while it or the capacity of a replica is unknown."""
    spec = situation.policy.spec
    inputs = assess_inputs(situation, window_ahead(situation.now, situation.lead_time, situation.margin))
    if inputs.demand is None or inputs.per_replica is None:
        return None
    utilization = spec.forecast.utilization
    if spec.target.kind is TargetKind.WORKLOAD:
        utilization = min(utilization, spec.demand.target_utilization)
    return replicas_for(inputs.demand, inputs.per_replica, utilization / 100)


def needed_within_bounds(situation: Situation) -> int | None:
    """Return the lowest floor that holds what the demand needs; None without data."""
    needed = needed_by(situation)
    if needed is None:
        return None
    return min(max(needed, effective_minimum(situation)), effective_maximum(situation))


@given(situations(suppressing=True, overridden=True), holds)
def test_a_held_back_floor_stays_within_its_bounds(situation: Situation, hold: RaiseHold) -> None:
    floor = decide(replace(situation, raise_hold=hold)).floor
    assert effective_minimum(situation) <= floor <= effective_maximum(situation)


@given(situations(), holds)
def test_a_hold_never_raises_and_keeps_what_the_demand_needs(situation: Situation, hold: RaiseHold) -> None:
    """Without data it lowers nothing that would have stayed."""
    free, held = decide(situation), decide(replace(situation, raise_hold=hold))
    assert held.floor <= max(free.floor, hold.floor, effective_minimum(situation))
    needed = needed_by(situation)
    assert held.floor >= min(free.floor, free.before if needed is None else needed)


@given(situations(), holds)
def test_a_hold_lowers_only_a_floor_that_did_harm(situation: Situation, hold: RaiseHold) -> None:
    """And only once: otherwise the floor would follow each change of demand."""
    free, held = decide(situation), decide(replace(situation, raise_hold=hold))
    is_due = not hold.is_reverted and situation.now < hold.until and free.before >= hold.raised_to
    if held.floor < min(free.before, free.floor):
        assert is_due
        assert held.floor < hold.raised_to or held.floor == needed_within_bounds(situation)


@given(situations(), holds)
def test_a_second_decision_with_a_hold_changes_nothing(situation: Situation, hold: RaiseHold) -> None:
    first = decide(replace(situation, raise_hold=hold))
    target = replace(situation.observed, minimum=first.floor)
    again = replace(situation, observed=target, state=first.state, raise_hold=hold)
    assert decide(again).floor == first.floor


@given(st.lists(bodies, max_size=6), st.lists(st.text(max_size=30), max_size=2))
def test_a_diagnosis_counts_pods_that_are_not_ready(listed: list[dict[str, Any]], messages: list[str]) -> None:
    report = report_of(listed, messages)
    diagnosis = diagnose_pods(report)
    if diagnosis is not None:
        assert 0 < diagnosis.pods <= len(report.unready)
        assert len(diagnosis.details) <= 400


@given(progresses, st.lists(bodies, max_size=6), st.integers(0, 60))
def test_a_late_raise_always_ends_with_a_cause(progress: Progress, listed: list[dict[str, Any]], minutes: int) -> None:
    expected = replace(an_expected(4, 9, deadline=timedelta(minutes=24)), written_at=NOON)
    verdict = assess_progress(expected, progress, NOON + timedelta(minutes=minutes), report_of(listed))
    if verdict is None:
        assert minutes < 24
        return
    assert (verdict.cause is None) == (verdict.phase is DecisionPhase.SUCCEEDED)
    if verdict.is_harmful:
        assert verdict.phase is DecisionPhase.FAILED


@given(progresses, st.lists(bodies, max_size=6))
def test_a_decrease_does_no_harm(progress: Progress, listed: list[dict[str, Any]]) -> None:
    expected = replace(an_expected(12, 9), written_at=NOON)
    verdict = assess_progress(expected, progress, NOON + timedelta(hours=1), report_of(listed))
    assert verdict is not None
    assert not verdict.is_harmful


@given(junk, junk)
def test_a_pod_with_any_status_is_read(status: Any, listed: Any) -> None:
    for body_status in (status, {"containerStatuses": listed, "conditions": listed}):
        body = a_pod_body() | {"status": body_status}
        diagnose_pods(report_of([body]))
