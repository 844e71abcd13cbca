"""Fields and defaults of BusinessEvent."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent, parse_event

WEEKLY = {"rrule": "FREQ=WEEKLY;BYDAY=FR", "timezone": "Europe/Paris", "start": "18:00", "duration": "2h"}
ONCE = {"start": "2026-11-27T08:00:00+01:00", "end": "2026-11-27T12:00:00+01:00"}


def an_event(**spec: Any) -> BusinessEvent:
    return parse_event({"metadata": {"name": "sale", "namespace": "shop"}, "spec": {"policies": {"all": True}} | spec})


def test_a_single_event_has_its_times_and_defaults() -> None:
    spec = an_event(**ONCE).spec

    assert (spec.start, spec.end) == (datetime(2026, 11, 27, 7, tzinfo=UTC), datetime(2026, 11, 27, 11, tzinfo=UTC))
    assert (spec.ramp_up, spec.ramp_down, spec.priority) == (timedelta(), timedelta(), 0)
    assert (spec.type, spec.recurrence, spec.suppress_forecast) == (None, None, False)
    assert (spec.expect.multiplier, spec.expect.min_replicas, spec.exclude_dates) == (None, None, ())


def test_a_recurring_event_has_its_rule() -> None:
    spec = an_event(
        recurrence=WEEKLY | {"from": "2026-01-02"}, expect={"multiplier": "2.5"}, excludeDates=["2026-12-25"]
    ).spec

    assert spec.recurrence is not None
    assert (spec.recurrence.from_, spec.recurrence.start) == (date(2026, 1, 2), time(18))
    assert spec.recurrence.duration == timedelta(hours=2)
    assert spec.expect.multiplier == 2.5
    assert spec.exclude_dates == (date(2026, 12, 25),)


def test_a_spec_survives_a_round_trip() -> None:
    spec = an_event(recurrence=WEEKLY | {"from": "2026-01-02"}, rampUp="15m", type="evening").spec

    assert spec.to_manifest()["recurrence"] == WEEKLY | {"from": "2026-01-02"}
    assert an_event(**spec.to_manifest()).spec == spec


def test_an_unknown_time_zone_is_refused_with_the_nearest_known_time_zone() -> None:
    with pytest.raises(
        InvalidManifestError,
        match=r"BusinessEvent shop/sale: spec\.recurrence\.timezone is 'Europe/Pari'; .*did you mean Europe/Paris\?",
    ):
        an_event(recurrence=WEEKLY | {"timezone": "Europe/Pari"})


@pytest.mark.parametrize("zone", ["Europe", "posix", "America/Argentina"])
def test_a_folder_of_the_time_zone_database_is_no_time_zone(zone: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"spec\.recurrence\.timezone"):
        an_event(recurrence=WEEKLY | {"timezone": zone})


@pytest.mark.parametrize(
    "rule",
    ["FREQ=WEEKLY;BYDAY=XX", "FREQ=DAILY;INTERVAL=x", "FREQ=DAILY;UNTIL=20261231T000000", "FREQ=WEEKLY;BYMONTH="],
)
def test_an_invalid_rule_is_refused(rule: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"spec\.recurrence\.rrule"):
        an_event(recurrence=WEEKLY | {"rrule": rule})


@pytest.mark.parametrize("rule", ["FREQ=YEARLY;BYMONTH=11;BYDAY=4FR", "BYDAY=MO,TU;FREQ=DAILY;UNTIL=20261231T000000Z"])
def test_a_rule_may_be_yearly_and_in_any_order(rule: str) -> None:
    recurrence = an_event(recurrence=WEEKLY | {"rrule": rule}).spec.recurrence

    assert recurrence is not None
    assert recurrence.rrule == rule


@pytest.mark.parametrize(
    ("labels", "is_selected"),
    [({"tier": "web", "team": "a"}, True), ({"tier": "web"}, False), ({"tier": "db", "team": "a"}, False), ({}, False)],
)
def test_a_policy_with_all_labels_is_selected(labels: dict[str, str], is_selected: bool) -> None:
    event = an_event(**ONCE, policies={"matchLabels": {"tier": "web", "team": "a"}})

    assert event.selects("shop", labels) is is_selected


def test_an_event_never_selects_policies_of_another_namespace() -> None:
    event = an_event(**ONCE)

    assert event.selects("shop", {})
    assert not event.selects("bank", {})
