"""How long a raise that did harm is held back, and what a restart knows of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.control.actuation.assessment import Verdict
from predictive_scaling.control.actuation.raise_holds import (
    FIRST_HOLD,
    MAX_HOLD,
    current_hold,
    next_hold,
    recovered_hold,
)
from predictive_scaling.decision.inputs import RaiseHold
from predictive_scaling.resources.vocabulary import DecisionPhase, FailureCause
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from tests.support.builders import NOON, a_policy, observed
from tests.support.control import an_expected
from tests.support.decision_rows import a_raise_row

HARMFUL = Verdict(DecisionPhase.FAILED, "CrashLoop: 7 of 9 pods crash.", FailureCause.CRASH_LOOP, is_harmful=True)


def hold_after(
    before: int, to: int, last: RaiseHold | None = None, *, minute: int = 0, generation: int = 1
) -> RaiseHold:
    expected = replace(an_expected(before, to), template="first")
    if last is not None:
        expected.state.hold_raises(last)
    return next_hold(expected, HARMFUL, generation, NOON + timedelta(minutes=minute))


def test_the_back_off_doubles_for_the_same_policy_and_release() -> None:
    hold = hold_after(2, 9)
    assert (hold.floor, hold.raised_to, hold.until - NOON, hold.failures) == (2, 9, FIRST_HOLD, 1)
    second = hold_after(3, 8, hold, minute=30)
    assert (second.floor, second.raised_to, second.failures) == (3, 8, 2)
    assert second.until == NOON + timedelta(minutes=30) + 2 * FIRST_HOLD
    assert hold_after(2, 9, hold, minute=30, generation=2).failures == 1
    assert hold_after(2, 9, replace(hold, template="second"), minute=30).failures == 1
    many = hold_after(2, 9, replace(hold, failures=50), minute=30)
    assert many.until == NOON + timedelta(minutes=30) + MAX_HOLD


def test_another_step_of_the_same_raise_extends_the_hold_to_its_floors_only() -> None:
    last = replace(hold_after(4, 8), is_reverted=True)
    for before, to in ((2, 4), (8, 9)):
        step = hold_after(before, to, last, minute=1)
        assert (step.floor, step.raised_to) == (min(4, before), min(8, to))
        assert (step.until, step.failures, step.is_reverted) == (last.until, 1, False)


@pytest.mark.parametrize(("floor", "is_held"), [(4, True), (8, True), (9, False), (12, False)])
def test_only_a_raise_to_the_harmful_floor_ends_the_hold(floor: int, is_held: bool) -> None:
    state = an_expected(2, 9).state
    state.hold_raises(hold_after(2, 9))
    state.release_raises_to(floor)
    assert (state.raise_hold is not None) is is_held


def a_row(
    phase: DecisionPhase, before: int, to: int, reason: str = "ForecastRose", **fields: Any
) -> ScalingDecisionRow:
    """The decision from noon that a restart finds."""
    replicas = {"from_replicas": before, "to_replicas": to, "uncapped_replicas": 9}
    return a_raise_row(phase=phase, created_at=NOON, generation=3, reason=reason, **replicas, **fields)


HOUR = timedelta(hours=1)


def test_a_restart_reverts_a_raise_that_is_not_reverted_yet_however_long_the_operator_was_down() -> None:
    row = a_row(DecisionPhase.ROLLED_BACK, 2, 9, cause="CrashLoop", outcome="CrashLoop: 7 of 9 pods crash.")
    hold = recovered_hold(row, NOON + HOUR)
    assert hold is not None
    assert (hold.floor, hold.raised_to, hold.is_reverted, hold.generation) == (2, 9, False, 3)
    assert (hold.until, hold.cause, hold.message) == (NOON + HOUR + FIRST_HOLD, row.cause, row.outcome)


@pytest.mark.parametrize("phase", [phase for phase in DecisionPhase if phase is not DecisionPhase.ROLLED_BACK])
def test_a_restart_continues_after_a_decision_that_reverts(phase: DecisionPhase) -> None:
    hold = recovered_hold(a_row(phase, 9, 2, "RolledBack"), NOON + HOUR)
    assert hold is not None
    assert (hold.floor, hold.raised_to, hold.until) == (2, 9, NOON + FIRST_HOLD)
    assert hold.is_reverted is (phase in (DecisionPhase.VERIFYING, DecisionPhase.SUCCEEDED))


def test_a_restart_after_a_raise_to_the_demand_still_holds_the_rest_back() -> None:
    row = a_row(DecisionPhase.SUCCEEDED, 2, 5, limits=["RolledBack"])
    hold = recovered_hold(row, NOON + HOUR)
    assert hold is not None
    assert (hold.floor, hold.raised_to, hold.until, hold.is_reverted) == (2, 9, NOON + FIRST_HOLD, True)


def test_other_decisions_hold_nothing_back() -> None:
    for phase in DecisionPhase:
        if phase is not DecisionPhase.ROLLED_BACK:
            assert recovered_hold(a_row(phase, 2, 9, limits=["StepUp"]), NOON) is None


@pytest.mark.parametrize(
    ("template", "observed_templates", "is_held"),
    [
        ("first", ["first", "", "first"], True),
        ("first", ["second"], False),
        ("", ["first", "first"], True),
        ("", ["", "first", "", "second"], False),
    ],
)
def test_a_new_release_ends_the_hold(template: str, observed_templates: list[str], is_held: bool) -> None:
    state = an_expected(2, 9).state
    state.hold_raises(replace(hold_after(2, 9), template=template))
    holds = [current_hold(state, a_policy(), replace(observed(9), template=name)) for name in observed_templates]
    assert (holds[-1] is not None) is is_held
    assert state.raise_hold == holds[-1]
