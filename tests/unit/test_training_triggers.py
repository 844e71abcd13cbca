"""A series is trained when something calls for it, says what, and is left alone otherwise."""

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
TERMS = RetrainPolicy.of(DAY)
LATE = NOW - 13 * HOUR
"""When a model was trained that has settled and is not due."""


def a_model(trained_until: datetime = LATE, event_types: tuple[str, ...] = ()) -> Manifest:
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
FINE = SeriesState(now=NOW, observed=60 * DAY, model=a_model(), mape=0.13)
CHANGED = Drift(distance=0.6, usual=0.2, since=NOW - DAY, days=7)


def cause(state: SeriesState, policy: RetrainPolicy = TERMS) -> Cause | None:
    found = trigger(state, policy)
    return found.cause if found else None


def test_a_good_model_is_left_alone() -> None:
    assert trigger(FINE, TERMS) is None


def test_without_a_model_it_waits_for_two_days_of_demand() -> None:
    assert trigger(SeriesState(NOW, observed=47 * HOUR), TERMS) is None
    found = trigger(SeriesState(NOW, observed=48 * HOUR), TERMS)
    assert found == Trigger(Cause.NO_MODEL, "there is no model, and 48 h of demand to learn from")


def test_an_interval_after_the_end_of_its_data_it_is_trained_again() -> None:
    assert cause(replace(FINE, model=a_model(NOW - DAY + HOUR / 60))) is None
    found = trigger(replace(FINE, model=a_model(NOW - DAY)), TERMS)
    assert found == Trigger(Cause.INTERVAL, "the model's data end 24 h ago, the interval is 24 h")


def test_a_service_that_fell_silent_is_not_tried_again_each_hour() -> None:
    silent = replace(FINE, model=a_model(NOW - 9 * DAY), tried_at=NOW - 23 * HOUR)
    assert cause(silent) is None
    assert cause(replace(silent, tried_at=NOW - DAY)) is Cause.INTERVAL


def test_a_mape_more_than_five_points_over_that_of_its_training_calls_for_one() -> None:
    assert cause(replace(FINE, mape=0.169)) is None
    found = trigger(replace(FINE, mape=0.19), TERMS)
    assert found is not None
    assert found.cause is Cause.ACCURACY
    assert found.evidence == "MAPE of the last day is 19.0%, 7.0 points over the 12.0% of its training"


def test_a_mape_that_is_not_known_calls_for_nothing() -> None:
    assert cause(replace(FINE, mape=None)) is None


def test_another_pattern_calls_for_a_training() -> None:
    found = trigger(replace(FINE, drift=CHANGED), TERMS)
    assert found is not None
    assert found.cause is Cause.PATTERN
    assert "is 0.60 from its usual course" in found.evidence
    assert "0.20 of any of the 7 days before" in found.evidence
    assert cause(replace(FINE, drift=replace(CHANGED, distance=0.29))) is None


def test_a_type_of_event_that_the_training_did_not_see_calls_for_one() -> None:
    seen = replace(FINE, model=a_model(event_types=("match",)), event_types=frozenset({"match", "flash-sale", "a"}))
    found = trigger(seen, TERMS)
    assert found == Trigger(Cause.EVENT_TYPES, "events of types that its training did not see: a, flash-sale")
    assert cause(replace(seen, event_types=frozenset({"match"}))) is None


def test_another_time_zone_or_other_holidays_call_for_one_at_once() -> None:
    here = replace(FINE, model=a_model(NOW - HOUR), places=frozenset({CalendarContext()}))
    assert cause(here) is None
    moved = replace(here, places=frozenset({CalendarContext("Europe/Paris", "FR")}))
    said = "it learned by the clocks of UTC; policies now say Europe/Paris, holidays of FR"
    assert trigger(moved, TERMS) == Trigger(Cause.PLACE, said)
    assert cause(replace(moved, tried_at=NOW - HOUR / 2)) is None
    # Two policies that disagree: one of them is right, and training again would not change that.
    assert cause(replace(moved, places=frozenset({CalendarContext("Europe/Paris", "FR"), CalendarContext()}))) is None


@pytest.mark.parametrize(
    "evidence", [{"mape": 0.5}, {"drift": CHANGED}, {"event_types": frozenset({"new"})}], ids=["mape", "drift", "event"]
)
def test_evidence_counts_only_against_a_model_that_has_settled(evidence: dict[str, float]) -> None:
    assert cause(replace(FINE, **evidence)) is not None
    assert cause(replace(FINE, model=a_model(NOW - 11 * HOUR), **evidence)) is None
    assert cause(replace(FINE, tried_at=NOW - 11 * HOUR, **evidence)) is None, "an attempt that failed is not repeated"
    assert cause(replace(FINE, tried_at=NOW - 12 * HOUR, **evidence)) is not None


@pytest.mark.parametrize(
    "state",
    [SeriesState(NOW, 60 * DAY), replace(FINE, mape=0.9), replace(FINE, model=a_model(NOW - 90 * DAY))],
    ids=["no model", "bad", "old"],
)
def test_between_two_attempts_there_is_an_hour_whatever_calls(state: SeriesState) -> None:
    assert cause(state) is not None
    assert cause(replace(state, tried_at=NOW - HOUR / 2)) is None


def test_what_a_person_went_back_to_stays_for_an_interval() -> None:
    bad = replace(FINE, model=a_model(NOW - 3 * DAY), mape=0.9, drift=CHANGED)
    assert cause(replace(bad, rolled_back_at=NOW - 23 * HOUR)) is None
    assert cause(replace(bad, rolled_back_at=NOW - 25 * HOUR)) is not None


def test_a_missing_model_is_more_urgent_than_a_bad_one_and_that_than_an_old_one() -> None:
    order = [Cause.NO_MODEL, Cause.ACCURACY, Cause.PLACE, Cause.PATTERN, Cause.EVENT_TYPES, Cause.INTERVAL]
    assert [Trigger(one, "").urgency for one in order] == [0, 1, 2, 3, 4, 5]


def test_a_short_interval_shortens_the_spacing() -> None:
    policy = RetrainPolicy.of(HOUR / 2)
    assert (policy.spacing, policy.settling) == (HOUR / 2, HOUR / 4)


def an_occurrence(kind: str | None, *policies: str, namespace: str = "shop") -> BusinessEventRow:
    return BusinessEventRow(namespace, "x", kind, NOW - HOUR, NOW, None, None, 0, policies, NOW)


def test_the_types_of_a_series_are_those_of_the_events_of_its_policies() -> None:
    rows = [
        an_occurrence("sale", "checkout", "search"),
        an_occurrence("match", "other"),
        an_occurrence(None, "checkout"),
        an_occurrence("show", "checkout", namespace="elsewhere"),
    ]
    assert event_types(rows, [("shop", "checkout")]) == {"sale"}
    assert event_types(rows, [("shop", "checkout"), ("shop", "other")]) == {"sale", "match"}
    assert event_types(rows, []) == frozenset()
