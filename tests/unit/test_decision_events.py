"""Semantics 20: events take part in the decision."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from forecasting.events import LearnedEffect
from forecasting.forecast import Forecast
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Decision, DecisionState, EventBaseline, Limit, Reason, Source, Tuned
from tests.support.builders import (
    LONG_AGO,
    NOON,
    a_forecast,
    a_policy,
    a_situation,
    a_steady_forecast,
    an_event,
    an_occurrence,
    observed,
)

AT_ONCE = {"stabilizationWindow": "0s", "maxStep": "1000", "period": "1m"}
POLICY = a_policy(scaleUp={"maxStep": "1000"}, scaleDown=AT_ONCE)
SALE_AT = NOON + timedelta(hours=1)
SALE_UNTIL = SALE_AT + timedelta(hours=2)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def a_sale(base: Forecast | None = None, name: str = "flash-sale", **spec: object) -> EventBaseline:
    """From 13:00 to 15:00."""
    return an_occurrence(an_event(name, SALE_AT, SALE_UNTIL, **spec), base)


def base(demand: float = 400.0, hours: float = 4) -> Forecast:
    return a_steady_forecast(demand, bins=int(hours * 12), origin=NOON)


def at(
    moment: datetime, *events: EventBaseline, forecast: float | None = 400.0, demand: float | None = 350.0
) -> Decision:
    """The floor was 4; the window is 8 minutes: a lead time of 3 and a refresh of 5."""
    return decide(a_situation(POLICY, now=moment, events=events, forecast=forecast, demand=demand))


def floor_at(moment: datetime, *events: EventBaseline, forecast: float | None = 400.0) -> int:
    return at(moment, *events, forecast=forecast).floor


def test_a_floor_in_replicas_is_there_a_lead_time_before_the_start_and_until_the_end() -> None:
    sale = a_sale(expect={"minReplicas": 20})
    assert floor_at(SALE_AT - minutes(8.1), sale) == 4
    assert floor_at(SALE_AT - minutes(8), sale) == 20
    assert floor_at(SALE_UNTIL - minutes(0.1), sale) == 20
    assert floor_at(SALE_UNTIL, sale) == 4, "half-open: the end belongs to what comes after"


def test_a_floor_in_replicas_climbs_over_the_ramp_and_is_reached_at_the_start() -> None:
    sale = a_sale(expect={"minReplicas": 21}, rampUp="20m", rampDown="10m")
    assert floor_at(SALE_AT - minutes(29), sale) == 4
    assert floor_at(SALE_AT - minutes(18), sale) == 11, "half of the way from the minimum of 1 is there at 12:50"
    assert floor_at(SALE_AT - minutes(8), sale) == 21
    assert floor_at(SALE_UNTIL + minutes(5), sale) == 11
    assert floor_at(SALE_UNTIL + minutes(10), sale) == 4


def test_a_multiplier_multiplies_what_was_forecast_before_the_event() -> None:
    sale = a_sale(base(400.0), expect={"multiplier": "3"})
    decision = at(SALE_AT - minutes(8), sale, forecast=500.0)
    assert (decision.floor, decision.source, decision.event) == (12, Source.EVENT, "flash-sale")
    assert decision.reason is Reason.EVENT_RAISES


def test_an_event_that_expects_nothing_does_what_earlier_ones_of_its_type_did() -> None:
    learned = LearnedEffect(2.4, 1.9, 3.0, samples=3)
    sale = replace(a_sale(base(400.0), type="flash-sale"), learned=learned)
    decision = at(SALE_AT - minutes(8), sale, forecast=500.0)
    assert (decision.floor, decision.source, decision.event) == (10, Source.EVENT, "flash-sale")
    assert "learned from 3 earlier events of type flash-sale: 2.4 (1.9 to 3.0)" in decision.message


def test_what_was_learned_has_the_margin_that_the_policys_prices_chose() -> None:
    spread = {0.1: 0.5, 0.5: 1.0, 0.8: 1.2, 0.9: 1.5, 0.95: 2.0}
    uneven = a_forecast(*[400.0] * 48, origin=NOON, spread=spread)
    sale = replace(a_sale(uneven, type="flash-sale"), learned=LearnedEffect(2.0, 1.5, 2.5, samples=3))
    objective = {"underProvisionedMinute": "1.0", "replicaHour": "0.5"}
    priced = a_policy(scaleUp={"maxStep": "1000"}, forecast={"objective": objective})
    floors = [
        decide(
            a_situation(
                priced, now=SALE_AT - minutes(8), events=(sale,), tuned=Tuned(quantile, "chosen for these prices")
            )
        ).floor
        for quantile in (0.5, 0.9, 0.95)
    ]
    assert floors == [8, 12, 16]


def test_what_an_event_says_comes_before_what_was_learned() -> None:
    learned = LearnedEffect(9.0, 8.0, 10.0, samples=3)
    for expect, floor in (({"multiplier": "3"}, 12), ({"minReplicas": 20}, 20)):
        sale = replace(a_sale(base(400.0), type="flash-sale", expect=expect), learned=learned)
        assert floor_at(SALE_AT - minutes(8), sale) == floor


def test_a_forecast_that_has_seen_the_event_is_not_multiplied() -> None:
    seen = a_sale(a_steady_forecast(1200.0, bins=48, origin=SALE_AT + minutes(10)), expect={"multiplier": "3"})
    decision = at(SALE_AT + minutes(30), seen, forecast=1200.0)
    assert decision.floor == 12
    assert "no forecast from before" in decision.recommendations[0].why


def test_the_multiplier_does_not_compound_with_the_forecast() -> None:
    sale = a_sale(base(400.0), expect={"multiplier": "3"})
    assert floor_at(SALE_AT + minutes(30), sale, forecast=1150.0) == 12


def test_the_floor_is_never_below_the_forecasts() -> None:
    sale = a_sale(base(400.0), expect={"multiplier": "3"})
    assert floor_at(SALE_AT + minutes(30), sale, forecast=1900.0) == 19
    quiet = a_sale(base(400.0), expect={"multiplier": "0.5"})
    assert floor_at(SALE_AT + minutes(30), quiet) == 4


def test_the_multiplier_grows_over_the_ramp() -> None:
    sale = a_sale(base(1000.0), expect={"multiplier": "3"}, rampUp="20m", rampDown="20m")
    assert floor_at(SALE_AT - minutes(18), sale) == 20, "2 of 3 are reached when the window ends, half of the ramp"
    assert floor_at(SALE_AT - minutes(8), sale) == 30
    assert floor_at(SALE_UNTIL + minutes(10), sale) == 20
    assert floor_at(SALE_UNTIL + minutes(20), sale) == 4


def test_the_multiplier_meets_the_bins_of_the_base() -> None:
    rising = a_forecast(*[400] * 12, *[600] * 24, *[400] * 12)
    assert floor_at(SALE_AT - minutes(8), a_sale(rising, expect={"multiplier": "2"})) == 12


def test_a_base_that_ends_before_the_event_goes_on_with_its_last_bin() -> None:
    sale = a_sale(base(400.0, hours=1.5), expect={"multiplier": "3"})
    assert floor_at(SALE_UNTIL - minutes(10), sale) == 12


def test_without_a_base_the_multiplier_stays_silent_and_says_so() -> None:
    decision = at(SALE_AT, a_sale(expect={"multiplier": "3"}))
    assert decision.floor == 4
    assert not decision.recommendations[0].applies
    assert "no forecast from before it" in decision.message


def test_without_a_replicas_capacity_the_multiplier_stays_silent_and_says_so() -> None:
    situation = a_situation(POLICY, now=SALE_AT, events=[a_sale(base(), expect={"multiplier": "3"})], per_replica=None)
    decision = decide(situation)
    assert decision.floor == 4
    assert "carries is not known" in decision.message


def test_an_event_that_expects_nothing_asks_for_nothing_and_says_so() -> None:
    decision = at(SALE_AT, a_sale())
    assert (decision.floor, decision.recommendations[0].applies) == (4, False)
    assert "nothing was learned" in decision.message


def test_where_events_overlap_the_highest_wish_of_the_highest_priority_rules() -> None:
    small, large = a_sale(expect={"minReplicas": 10}), a_sale(name="match", expect={"minReplicas": 15})
    assert floor_at(SALE_AT, small, large) == 15
    first = a_sale(name="freeze", expect={"minReplicas": 6}, priority=1)
    assert floor_at(SALE_AT, small, large, first) == 6


def test_a_higher_priority_rules_only_where_it_overlaps() -> None:
    sale = a_sale(expect={"minReplicas": 20})
    after = an_occurrence(
        an_event("cleanup", SALE_UNTIL, SALE_UNTIL + minutes(60), priority=9, expect={"minReplicas": 6})
    )
    assert floor_at(SALE_UNTIL - minutes(1), sale, after) == 20
    assert floor_at(SALE_UNTIL, sale, after) == 6


def test_a_suppressed_forecast_lets_the_floor_sink() -> None:
    outage = a_sale(suppressForecast=True, expect={"minReplicas": 2})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[outage], forecast=1000.0, demand=150.0)
    decision = decide(situation)
    assert (decision.floor, decision.reason) == (2, Reason.EVENT_SUPPRESSES)


def test_a_planned_outage_needs_no_metrics_to_sink_in() -> None:
    outage = a_sale(suppressForecast=True)
    state = DecisionState(since=LONG_AGO, floor=10, reference_forecast=base(1000.0))
    for demand in (None, 0.0, 1.0):
        situation = a_situation(
            POLICY, floor=10, now=SALE_AT, events=[outage], forecast=None, demand=demand, state=state
        )
        assert decide(situation).floor == 1


def test_a_planned_outage_without_metrics_sinks_once_the_window_has_passed() -> None:
    patient, outage = a_policy(scaleDown={"maxStep": "1000"}), a_sale(suppressForecast=True)
    state, floor, floors = DecisionState(since=LONG_AGO, floor=10), 10, list[int]()
    for minute in (-1, 0, 5, 8, 9):
        demand = 950.0 if minute < 0 else None
        now = SALE_AT + minutes(minute)
        decision = decide(
            a_situation(patient, floor=floor, now=now, events=[outage], forecast=1000.0, demand=demand, state=state)
        )
        state, floor = decision.state, decision.floor
        floors.append(floor)
    assert floors == [10, 10, 10, 10, 1]


def test_the_forecast_counts_again_a_lead_time_before_a_suppression_ends() -> None:
    outage = a_sale(suppressForecast=True)
    assert floor_at(SALE_UNTIL - minutes(8.1), outage, forecast=900.0) == 4, "the load of today is carried still"
    assert floor_at(SALE_UNTIL - minutes(8), outage, forecast=900.0) == 9


def test_a_suppression_that_cannot_be_applied_suppresses_nothing() -> None:
    unknown = a_sale(suppressForecast=True, expect={"multiplier": "0.1"})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[unknown], forecast=1000.0, demand=150.0)
    assert decide(situation).floor == 10


def test_a_suppressed_multiplier_below_one_is_the_floor() -> None:
    quiet = a_sale(base(1000.0), suppressForecast=True, expect={"multiplier": "0.3"})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[quiet], forecast=1000.0, demand=150.0)
    assert decide(situation).floor == 3


def test_a_higher_priority_lifts_a_suppression() -> None:
    outage = a_sale(suppressForecast=True)
    lifted = a_sale(name="postponed", priority=1, expect={"minReplicas": 1})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[outage, lifted], forecast=1000.0, demand=150.0)
    assert decide(situation).floor == 10


def test_when_an_event_is_over_the_decrease_says_so_step_by_step() -> None:
    policy = a_policy(scaleUp={"maxStep": "1000"}, scaleDown={"stabilizationWindow": "0s", "maxStep": "5"})
    sale = a_sale(expect={"minReplicas": 20})
    during = decide(a_situation(policy, now=SALE_UNTIL - minutes(1), events=[sale]))
    reasons: list[Reason | None] = []
    decision = during
    for minute in range(4):
        now = SALE_UNTIL + minutes(minute)
        situation = a_situation(policy, floor=decision.floor, now=now, events=[sale], state=decision.state)
        decision = decide(situation)
        reasons.append(decision.reason)
    assert decision.floor == 4
    assert reasons == [Reason.EVENT_ENDED] * 4


@pytest.mark.parametrize("moment", [SALE_AT - timedelta(hours=1), SALE_UNTIL + timedelta(hours=1)])
def test_an_event_far_away_is_not_there(moment: datetime) -> None:
    decision = at(moment, a_sale(expect={"minReplicas": 20}))
    assert (decision.floor, len(decision.recommendations)) == (4, 2)


def test_the_maximum_holds_for_events() -> None:
    decision = decide(
        a_situation(POLICY, now=SALE_AT, events=[a_sale(expect={"minReplicas": 30})], observed=observed(4, maximum=12))
    )
    assert (decision.floor, decision.limits, decision.limited) == (12, (Limit.MAXIMUM,), True)
