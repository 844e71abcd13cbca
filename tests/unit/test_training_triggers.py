"""A series is trained when a trigger applies; the trigger states its cause and evidence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from forecasting.context import CalendarContext
from forecasting.quality.drift import Drift
from predictive_scaling.models.manifest import GateRecord, Manifest, Scores
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.training.demand_history import event_types
from predictive_scaling.training.triggers import Cause, RetrainPolicy, SeriesState, Trigger, trigger

NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POLICY = RetrainPolicy.of(DAY)
SETTLED = NOW - 13 * HOUR
"""Training time of a model that is settled and not yet due."""


def a_model(trained_until: datetime = SETTLED, event_types: tuple[str, ...] = ()) -> Manifest:
    scores = [Scores(model=name, cost=0.1, wape=0.1, mape=mape, coverage=0.9, judged=500) for name, mape in MAPES]
    gate = GateRecord(passed=True, acting="LightGBM", evidence="it is good", scores=tuple(scores))
    return Manifest(
        schema_version=1,
        model="LightGBM",
        version="20261115T230000Z-00000000",
        service="checkout",
        metric="rps",
        aggregation="Sum",
        resolution_seconds=300,
        features=(),
        columns=(),
        quantiles=(),
        trained_from=trained_until - 30 * DAY,
        trained_until=trained_until,
        bins=8640,
        gate=gate,
        holt_winters=None,
        residual_horizons=(),
        files=(),
        event_types=event_types,
    )


MAPES = (("LightGBM", 0.12), ("LastValue", 0.3))
ACCURATE = SeriesState(now=NOW, observed=60 * DAY, model=a_model(), mape=0.13)
DRIFTED = Drift(distance=0.6, usual=0.2, since=NOW - DAY, days=7)


def cause(state: SeriesState, policy: RetrainPolicy = POLICY) -> Cause | None:
    active = trigger(state, policy)
    return active.cause if active else None


def test_an_accurate_model_is_not_trained() -> None:
    assert trigger(ACCURATE, POLICY) is None


def test_a_series_without_a_model_is_trained_after_two_days_of_demand() -> None:
    assert trigger(SeriesState(NOW, observed=47 * HOUR), POLICY) is None
    assert cause(SeriesState(NOW, observed=48 * HOUR)) is Cause.NO_MODEL


def test_a_model_is_trained_again_an_interval_after_its_data_end() -> None:
    assert cause(replace(ACCURATE, model=a_model(NOW - DAY + HOUR / 60))) is None
    active = trigger(replace(ACCURATE, model=a_model(NOW - DAY)), POLICY)
    assert active is not None
    assert active.cause is Cause.INTERVAL
    assert active.evidence.count("24 h") == 2, "the age of the data and the interval"


def test_a_series_without_new_data_is_tried_once_per_interval() -> None:
    silent = replace(ACCURATE, model=a_model(NOW - 9 * DAY), attempted_at=NOW - 23 * HOUR)
    assert cause(silent) is None
    assert cause(replace(silent, attempted_at=NOW - DAY)) is Cause.INTERVAL


def test_a_mape_five_points_above_that_of_the_training_triggers_a_training() -> None:
    assert cause(replace(ACCURATE, mape=0.169)) is None
    active = trigger(replace(ACCURATE, mape=0.19), POLICY)
    assert active is not None
    assert active.cause is Cause.ACCURACY
    assert all(number in active.evidence for number in ("19.0%", "7.0 points", "12.0%"))


def test_an_unknown_mape_triggers_nothing() -> None:
    assert cause(replace(ACCURATE, mape=None)) is None


def test_a_changed_pattern_triggers_a_training() -> None:
    active = trigger(replace(ACCURATE, drift=DRIFTED), POLICY)
    assert active is not None
    assert active.cause is Cause.PATTERN
    assert all(number in active.evidence for number in ("0.60", "0.20", "7 days"))
    assert cause(replace(ACCURATE, drift=replace(DRIFTED, distance=0.29))) is None


def test_an_event_type_unknown_to_the_training_triggers_a_training() -> None:
    state = replace(
        ACCURATE, model=a_model(event_types=("match",)), event_types=frozenset({"match", "flash-sale", "a"})
    )
    active = trigger(state, POLICY)
    assert active is not None
    assert active.cause is Cause.EVENT_TYPES
    assert active.evidence.endswith(": a, flash-sale")
    assert cause(replace(state, event_types=frozenset({"match"}))) is None


def test_a_changed_time_zone_or_country_triggers_a_training_at_once() -> None:
    unchanged = replace(ACCURATE, model=a_model(NOW - HOUR), calendars=frozenset({CalendarContext()}))
    assert cause(unchanged) is None
    moved = replace(unchanged, calendars=frozenset({CalendarContext("Europe/Paris", "FR")}))
    active = trigger(moved, POLICY)
    assert active is not None
    assert active.cause is Cause.CALENDAR
    assert all(place in active.evidence for place in ("UTC", "Europe/Paris", "FR"))
    assert cause(replace(moved, attempted_at=NOW - HOUR / 2)) is None
    # Two policies disagree; the model fits one of them, and training again would not change that.
    assert (
        cause(replace(moved, calendars=frozenset({CalendarContext("Europe/Paris", "FR"), CalendarContext()}))) is None
    )


@pytest.mark.parametrize(
    "evidence", [{"mape": 0.5}, {"drift": DRIFTED}, {"event_types": frozenset({"new"})}], ids=["mape", "drift", "event"]
)
def test_evidence_counts_only_against_a_settled_model(evidence: dict[str, float]) -> None:
    assert cause(replace(ACCURATE, **evidence)) is not None
    assert cause(replace(ACCURATE, model=a_model(NOW - 11 * HOUR), **evidence)) is None
    assert cause(replace(ACCURATE, attempted_at=NOW - 11 * HOUR, **evidence)) is None, (
        "a failed attempt is not repeated"
    )
    assert cause(replace(ACCURATE, attempted_at=NOW - 12 * HOUR, **evidence)) is not None


@pytest.mark.parametrize(
    "state",
    [SeriesState(NOW, 60 * DAY), replace(ACCURATE, mape=0.9), replace(ACCURATE, model=a_model(NOW - 90 * DAY))],
    ids=["no model", "bad", "old"],
)
def test_two_attempts_are_at_least_an_hour_apart(state: SeriesState) -> None:
    assert cause(state) is not None
    assert cause(replace(state, attempted_at=NOW - HOUR / 2)) is None


def test_a_version_restored_by_a_rollback_is_kept_for_an_interval() -> None:
    bad = replace(ACCURATE, model=a_model(NOW - 3 * DAY), mape=0.9, drift=DRIFTED)
    assert cause(replace(bad, rolled_back_at=NOW - 23 * HOUR)) is None
    assert cause(replace(bad, rolled_back_at=NOW - 25 * HOUR)) is not None


def test_causes_have_an_order_of_urgency() -> None:
    order = [Cause.NO_MODEL, Cause.ACCURACY, Cause.CALENDAR, Cause.PATTERN, Cause.EVENT_TYPES, Cause.INTERVAL]
    assert [Trigger(cause, "").urgency for cause in order] == [0, 1, 2, 3, 4, 5]


def test_a_short_interval_shortens_the_spacing() -> None:
    policy = RetrainPolicy.of(HOUR / 2)
    assert (policy.spacing, policy.settling_time) == (HOUR / 2, HOUR / 4)


def an_occurrence(kind: str | None, *policies: str, namespace: str = "shop") -> BusinessEventRow:
    return BusinessEventRow(namespace, "x", kind, NOW - HOUR, NOW, None, None, 0, policies, NOW)


def test_the_event_types_of_a_series_are_those_of_the_events_of_its_policies() -> None:
    rows = [
        an_occurrence("sale", "checkout", "search"),
        an_occurrence("match", "other"),
        an_occurrence(None, "checkout"),
        an_occurrence("show", "checkout", namespace="elsewhere"),
    ]
    assert event_types(rows, [("shop", "checkout")]) == {"sale"}
    assert event_types(rows, [("shop", "checkout"), ("shop", "other")]) == {"sale", "match"}
    assert event_types(rows, []) == frozenset()
