"""The table of decisions on a real PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from predictive_scaling.errors import InvalidCursorError
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.decision_lists import DecisionLists
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow, ScalingDecisions

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CHECKOUT = ("shop", "checkout")


def a_decision(number: int = 1, **changes: object) -> ScalingDecisionRow:
    decision = ScalingDecisionRow(
        id=f"d{number}",
        created_at=NOW + number * MINUTE,
        service_name="checkout",
        namespace="shop",
        policy="checkout",
        policy_uid="uid",
        generation=1,
        target="HorizontalPodAutoscaler/checkout",
        decision_type="scale_up",
        status="pending",
        from_replicas=4,
        to_replicas=9,
        uncapped_replicas=12,
        source="Forecast",
        reason="ForecastRises",
        message="Raised.",
        mode="Auto",
        deadline_at=NOW + timedelta(hours=1),
        forecast={"quantile": "0.9", "value": 4.5},
        limits=["ScaleUpStep"],
    )
    return replace(decision, **changes)  # pyright: ignore[reportArgumentType] (a builder: fields by name)


async def test_an_intent_is_recorded_once_under_its_id(database: Database) -> None:
    decisions = ScalingDecisions(database)
    assert await decisions.intend(a_decision())
    assert not await decisions.intend(a_decision(message="Another."))
    assert await decisions.unfinished() == [a_decision()]
    assert (await decisions.by_id(["d1", "d2"])) == {"d1": a_decision()}


async def test_a_finished_decision_has_no_further_transition(database: Database) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision())
    assert await decisions.transition("d1", DecisionPhase.EXECUTING, NOW)
    assert await decisions.transition("d1", DecisionPhase.EXECUTING, NOW + MINUTE)
    assert await decisions.transition("d1", DecisionPhase.VERIFYING, NOW + MINUTE, deadline_at=NOW + 9 * MINUTE)
    assert await decisions.transition("d1", DecisionPhase.SUCCEEDED, NOW + 2 * MINUTE, outcome="Ready.")
    assert not await decisions.transition("d1", DecisionPhase.FAILED, NOW + 3 * MINUTE)
    assert not await decisions.transition("unknown", DecisionPhase.FAILED, NOW)
    last = await decisions.last_of_each([CHECKOUT])
    assert last[CHECKOUT] == a_decision(
        status="succeeded",
        attempts=2,
        started_at=NOW,
        finished_at=NOW + 2 * MINUTE,
        deadline_at=NOW + 9 * MINUTE,
        outcome="Ready.",
    )
    assert await decisions.unfinished() == []


async def test_a_failed_decision_keeps_its_cause(database: Database) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision())
    assert await decisions.transition("d1", DecisionPhase.EXECUTING, NOW)
    assert await decisions.transition("d1", DecisionPhase.ROLLED_BACK, NOW, outcome="CrashLoop: …", cause="CrashLoop")
    last = (await decisions.last_of_each([CHECKOUT]))[CHECKOUT]
    assert (last.status, last.cause) == ("rolled_back", "CrashLoop")


@pytest.mark.parametrize("phase", [DecisionPhase.PENDING, DecisionPhase.VERIFYING, DecisionPhase.SUCCEEDED])
async def test_a_pending_decision_must_be_executed_first(database: Database, phase: DecisionPhase) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision())
    assert not await decisions.transition("d1", phase, NOW)


async def test_pages_contain_all_decisions_newest_first(database: Database) -> None:
    decisions, lists = ScalingDecisions(database), DecisionLists(database)
    for number in range(5):
        await decisions.intend(a_decision(number, created_at=NOW, service_name="cart" if number == 2 else "checkout"))
    ids: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await lists.page(2, cursor=cursor)
        ids += [decision.id for decision in page.decisions]
        cursor = page.next_cursor
    assert ids == ["d4", "d3", "d2", "d1", "d0"]
    assert cursor is None
    assert [row.id for row in (await lists.page(9, service="cart")).decisions] == ["d2"]
    assert (await lists.page(9, phase=DecisionPhase.FAILED)).decisions == []
    assert {key: row.id for key, row in (await decisions.last_of_each([CHECKOUT])).items()} == {CHECKOUT: "d4"}


async def test_the_decisions_of_a_policy_after_its_time_are_returned_oldest_first(database: Database) -> None:
    decisions = ScalingDecisions(database)
    for number, policy in enumerate(["checkout", "cart", "checkout", "checkout", "search"]):
        await decisions.intend(a_decision(number, policy=policy))
    since = {("shop", "checkout"): NOW, ("shop", "cart"): NOW + MINUTE, ("other", "search"): NOW, ("shop", "gone"): NOW}
    assert [row.id for row in await decisions.since_of_each(since)] == ["d2", "d3"]


@pytest.mark.parametrize("cursor", ["x", "%%%", "MjAyNi0xMS0yNCBkMQ", "ä", "AAAA"])
async def test_an_invalid_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursorError, match=r"^cursor: "):
        await DecisionLists(database).page(cursor=cursor)


async def test_decisions_past_their_deadline_are_listed_until_they_end(database: Database) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision(1))
    await decisions.intend(a_decision(2, deadline_at=NOW + timedelta(hours=9)))
    after_deadline = NOW + timedelta(hours=2)
    assert [decision.id for decision in await decisions.stuck(after_deadline)] == ["d1"]
    assert await decisions.transition("d1", DecisionPhase.CANCELLED, after_deadline, outcome="Cleared.")
    assert await decisions.stuck(after_deadline) == []
    cleared = (await decisions.by_id(["d1"]))["d1"]
    assert (cleared.status, cleared.finished_at, cleared.outcome) == ("cancelled", after_deadline, "Cleared.")


async def test_the_success_rate_counts_executed_decisions_that_ended(database: Database) -> None:
    decisions, lists = ScalingDecisions(database), DecisionLists(database)
    assert await lists.success_rate(NOW) is None
    for number, phase in enumerate([DecisionPhase.SUCCEEDED, DecisionPhase.SUCCEEDED, DecisionPhase.FAILED]):
        await decisions.intend(a_decision(number))
        await decisions.transition(f"d{number}", DecisionPhase.EXECUTING, NOW)
        await decisions.transition(f"d{number}", phase, NOW + MINUTE)
    await decisions.intend(a_decision(9, status="recommended", finished_at=NOW + MINUTE))
    assert await lists.success_rate(NOW) == pytest.approx(2 / 3)
    assert await lists.success_rate(NOW + 2 * MINUTE) is None
