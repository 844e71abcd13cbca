"""Merging of conditions into a status."""

from datetime import UTC, datetime, timedelta

from predictive_scaling.resources.conditions import MAX_MESSAGE_LENGTH, Condition, merge, read_conditions
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)


def ready_condition(
    status: ConditionStatus, since: datetime | None = None, reason: str = "Seen", message: str = ""
) -> Condition:
    return Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=since)


def test_all_known_conditions_exist_from_the_first_merge() -> None:
    merged = merge([], [ready_condition(ConditionStatus.TRUE)], NOW)

    assert [condition.type for condition in merged] == [type_.value for type_ in ConditionType]
    assert merged[0].status is ConditionStatus.TRUE
    assert {condition.status for condition in merged[1:]} == {ConditionStatus.UNKNOWN}
    assert {condition.last_transition_time for condition in merged} == {NOW}


def test_the_transition_time_changes_with_the_status() -> None:
    (merged,) = merge(
        [ready_condition(ConditionStatus.TRUE, EARLIER)],
        [ready_condition(ConditionStatus.FALSE)],
        NOW,
        known=["Ready"],
    )

    assert merged.last_transition_time == NOW


def test_the_transition_time_is_kept_when_only_the_reason_changes() -> None:
    before = ready_condition(ConditionStatus.TRUE, EARLIER)
    after = ready_condition(ConditionStatus.TRUE, reason="StillSeen", message="and well")

    (merged,) = merge([before], [after], NOW, known=["Ready"])

    assert merged == after.model_copy(update={"last_transition_time": EARLIER})


def test_a_condition_without_a_new_value_is_kept() -> None:
    before = ready_condition(ConditionStatus.TRUE, EARLIER)

    assert merge([before], [], NOW, known=["Ready"]) == (before,)


def test_conditions_of_unknown_types_are_kept_at_the_end() -> None:
    foreign = Condition(type="Blessed", status=ConditionStatus.TRUE, reason="Luck", last_transition_time=EARLIER)

    assert merge([foreign], [], NOW, known=["Ready"])[-1] == foreign


def test_merging_the_same_condition_again_changes_nothing() -> None:
    once = merge([], [ready_condition(ConditionStatus.TRUE)], EARLIER)

    assert merge(once, [ready_condition(ConditionStatus.TRUE)], NOW) == once


def test_a_message_is_truncated_to_the_maximum_length() -> None:
    condition = ready_condition(ConditionStatus.TRUE, message="x" * 5000)

    assert len(condition.message) == MAX_MESSAGE_LENGTH
    assert condition.message.endswith("x…")


def test_conditions_survive_a_round_trip() -> None:
    merged = merge([], [ready_condition(ConditionStatus.TRUE)], NOW)
    status = {"conditions": [condition.to_manifest() for condition in merged]}

    assert status["conditions"][0] == {
        "type": "Ready",
        "status": "True",
        "reason": "Seen",
        "message": "",
        "observedGeneration": 0,
        "lastTransitionTime": "2026-11-24T18:00:00Z",
    }
    assert read_conditions(status) == merged


def test_an_invalid_condition_is_ignored() -> None:
    good = ready_condition(ConditionStatus.TRUE, NOW).to_manifest()

    assert read_conditions({"conditions": [{"type": "Ready", "status": "Maybe"}, good]}) == (
        ready_condition(ConditionStatus.TRUE, NOW),
    )
    assert read_conditions({}) == ()
