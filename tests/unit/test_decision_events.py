"""Semantics 20: recommendations of events."""

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


def a_sale(baseline_forecast: Forecast | None = None, name: str = "flash-sale", **spec: object) -> EventBaseline:
    """From 13:00 to 15:00."""
    return an_occurrence(an_event(name, SALE_AT, SALE_UNTIL, **spec), baseline_forecast)


def a_baseline(demand: float = 400.0, hours: float = 4) -> Forecast:
    return a_steady_forecast(demand, bins=int(hours * 12), origin=NOON)


def at(
    moment: datetime, *events: EventBaseline, forecast: float | None = 400.0, demand: float | None = 350.0
) -> Decision:
    """The floor is 4 before; the window ahead is 8 minutes: a lead time of 3 and a margin of 5."""
    return decide(a_situation(POLICY, now=moment, events=events, forecast=forecast, demand=demand))


def floor_at(moment: datetime, *events: EventBaseline, forecast: float | None = 400.0) -> int:
    return at(moment, *events, forecast=forecast).floor


def test_min_replicas_apply_from_a_lead_time_before_the_start_until_the_end() -> None:
    sale = a_sale(expect={"minReplicas": 20})
    assert floor_at(SALE_AT - minutes(8.1), sale) == 4
    assert floor_at(SALE_AT - minutes(8), sale) == 20
    assert floor_at(SALE_UNTIL - minutes(0.1), sale) == 20
    assert floor_at(SALE_UNTIL, sale) == 4, "half-open: the end is excluded"


def test_min_replicas_rise_over_the_ramp_and_are_complete_at_the_start() -> None:
    sale = a_sale(expect={"minReplicas": 21}, rampUp="20m", rampDown="10m")
    assert floor_at(SALE_AT - minutes(29), sale) == 4
    assert floor_at(SALE_AT - minutes(18), sale) == 11, "half of the way from the minimum of 1 at 12:50"
    assert floor_at(SALE_AT - minutes(8), sale) == 21
    assert floor_at(SALE_UNTIL + minutes(5), sale) == 11
    assert floor_at(SALE_UNTIL + minutes(10), sale) == 4


def test_a_multiplier_applies_to_the_forecast_from_before_the_event() -> None:
    sale = a_sale(a_baseline(400.0), expect={"multiplier": "3"})
    decision = at(SALE_AT - minutes(8), sale, forecast=500.0)
    assert (decision.floor, decision.source, decision.event) == (12, Source.EVENT, "flash-sale")
    assert decision.reason is Reason.EVENT_RAISES


@pytest.mark.parametrize(("is_pending", "floor"), [(True, 12), (False, 4)])
def test_the_floor_is_not_lowered_while_the_baseline_of_an_event_is_pending(is_pending: bool, floor: int) -> None:
    """An event that was moved keeps its floor until the demand without it was forecast."""
    sale = replace(a_sale(None, expect={"multiplier": "3"}), is_pending=is_pending)
    situation = a_situation(
        POLICY,
        now=SALE_AT + minutes(10),
        events=(sale,),
        forecast=400.0,
        demand=350.0,
        observed=observed(12),
        state=DecisionState(since=LONG_AGO, floor=12),
    )
    decision = decide(situation)
    assert decision.floor == floor
    assert (Limit.STALE_FORECAST in decision.limits) == is_pending


def test_an_event_without_an_expectation_uses_the_learned_effect_of_its_type() -> None:
    learned = LearnedEffect(2.4, 1.9, 3.0, samples=3)
    sale = replace(a_sale(a_baseline(400.0), type="flash-sale"), learned=learned)
    decision = at(SALE_AT - minutes(8), sale, forecast=500.0)
    assert (decision.floor, decision.source, decision.event) == (10, Source.EVENT, "flash-sale")
    assert "learned from 3 earlier events of type flash-sale: 2.4 (1.9 to 3.0)" in decision.message


def test_a_learned_effect_uses_the_quantile_of_the_policys_objective() -> None:
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


@pytest.mark.parametrize(("ramp_up", "at_the_start"), [("30m", 12), ("0s", 4)])
def test_a_forecast_that_contains_the_learned_effect_decides_from_the_start_on(ramp_up: str, at_the_start: int) -> None:
    """Before the start it decides as well, unless a ramp is declared."""
    learned = LearnedEffect(3.0, 2.5, 3.5, samples=3)
    spread = {0.1: 0.5, 0.5: 1.0, 0.8: 1.2, 0.9: 1.5, 0.95: 2.0}
    uneven = a_forecast(*[400.0] * 48, origin=NOON, spread=spread)
    sale = replace(a_sale(uneven, type="flash-sale", rampUp=ramp_up), learned=learned)
    floors: list[int] = []
    for event_types in (frozenset[str](), frozenset({"flash-sale"})):
        for now in (SALE_AT - minutes(8), SALE_AT + minutes(30)):
            situation = a_situation(a_policy(scaleUp={"maxStep": "1000"}), now=now, events=(sale,))
            assert situation.current_forecast is not None
            knowing = replace(situation.current_forecast.forecast, origin=now, event_types=event_types)
            current = replace(situation.current_forecast, forecast=knowing)
            floors.append(decide(replace(situation, current_forecast=current)).uncapped)
    without, without_later, contained, contained_later = floors
    assert without == 18, "the 0.9 quantile of the baseline, times three"
    assert without_later == 16, "times 2.5: demand shows no effect of the sale, but this baseline is uncertain"
    assert contained == at_the_start, "the median, times three; without a ramp the forecast alone"
    assert contained_later < 12, "the forecast alone"


def a_learned_sale(ramp_up: str = "0s", ramp_down: str = "0s") -> EventBaseline:
    """Its usual demand is 400; earlier sales had three times as much, with a range of 2 to 4."""
    sale = a_sale(a_baseline(400.0), type="flash-sale", rampUp=ramp_up, rampDown=ramp_down)
    return replace(sale, learned=LearnedEffect(3.0, 2.0, 4.0, samples=3))


@pytest.mark.parametrize(("demand", "floor"), [(400.0, 8), (900.0, 10), (1200.0, 12), (1500.0, 15), (9000.0, 16)])
def test_a_learned_multiplier_follows_the_demand_since_the_start_within_its_range(demand: float, floor: int) -> None:
    assert at(SALE_AT + minutes(30), a_learned_sale(), demand=demand).uncapped == floor


def test_the_message_states_the_learned_and_the_corrected_multiplier() -> None:
    message = at(SALE_AT + minutes(30), a_learned_sale(), demand=1500.0).message
    assert "3.0 (2.0 to 4.0), corrected to 3.6 by the demand since its start" in message
    assert "corrected" not in at(SALE_AT + minutes(10), a_learned_sale(), demand=1500.0).message


def test_the_ramp_and_the_first_twenty_minutes_correct_nothing() -> None:
    for moment in (SALE_AT - minutes(8), SALE_AT, SALE_AT + minutes(19.9)):
        assert at(moment, a_learned_sale(ramp_up="30m"), demand=9000.0).uncapped == 12
    assert at(SALE_AT + minutes(20), a_learned_sale(ramp_up="30m"), demand=9000.0).uncapped == 16


def test_a_sample_from_the_first_twenty_minutes_corrects_nothing_later() -> None:
    late = a_situation(POLICY, now=SALE_AT + minutes(21), events=(a_learned_sale(),), demand=9000.0, forecast=400.0)
    for age, floor in ((0.5, 16), (1.5, 12)):
        assert late.demand is not None
        aged = replace(late, demand=replace(late.demand, at=late.now - minutes(age)))
        assert decide(aged).uncapped == floor


def test_the_correction_fades_over_the_ramp_down() -> None:
    """Without it, the full learned multiplier would raise the floor at the end of a small event."""
    sale = a_learned_sale(ramp_down="40m")
    before = at(SALE_UNTIL - minutes(1), sale, demand=600.0).uncapped
    after = [at(SALE_UNTIL + minutes(later), sale, demand=600.0).uncapped for later in range(40)]
    assert before == max(after) == 8


def test_demand_during_another_event_corrects_nothing() -> None:
    other = a_sale(name="broadcast", expect={"minReplicas": 2})
    assert at(SALE_AT + minutes(30), a_learned_sale(), other, demand=600.0).uncapped == 12


def test_demand_is_compared_with_the_last_bin_of_a_baseline_that_ends_before_the_event() -> None:
    short = replace(a_learned_sale(), baseline_forecast=a_baseline(400.0, hours=1.25))
    assert at(SALE_AT + minutes(60), short, demand=9000.0).uncapped == 16


def test_a_baseline_that_contains_the_event_corrects_nothing() -> None:
    late = replace(a_learned_sale(), baseline_forecast=a_steady_forecast(1200.0, bins=48, origin=SALE_AT + minutes(1)))
    recommendation = at(SALE_AT + minutes(30), late, demand=1200.0).recommendations[0]
    assert not recommendation.applies
    assert "corrected" not in recommendation.why


def test_a_baseline_without_spread_is_not_taken_as_exact() -> None:
    """The demand of 600 is 1.5 times the baseline, within the noise of a minute around the learned multiplier."""
    certain = replace(a_learned_sale(), learned=LearnedEffect(3.0, 2.9, 3.1, samples=3))
    assert "corrected to 2.9 by" in at(SALE_AT + minutes(30), certain, demand=600.0).message
    assert "corrected to 3.0 by" in at(SALE_AT + minutes(30), certain, demand=1000.0).message


def test_a_declared_expectation_takes_precedence_over_a_learned_effect() -> None:
    learned = LearnedEffect(9.0, 8.0, 10.0, samples=3)
    for expect, floor in (({"multiplier": "3"}, 12), ({"minReplicas": 20}, 20)):
        sale = replace(a_sale(a_baseline(400.0), type="flash-sale", expect=expect), learned=learned)
        assert floor_at(SALE_AT - minutes(8), sale) == floor


def test_a_forecast_that_includes_the_event_is_not_multiplied() -> None:
    late = a_sale(a_steady_forecast(1200.0, bins=48, origin=SALE_AT + minutes(10)), expect={"multiplier": "3"})
    decision = at(SALE_AT + minutes(30), late, forecast=1200.0)
    assert decision.floor == 12
    assert "no forecast from before" in decision.recommendations[0].why


def test_the_multiplier_does_not_compound_with_the_forecast() -> None:
    sale = a_sale(a_baseline(400.0), expect={"multiplier": "3"})
    assert floor_at(SALE_AT + minutes(30), sale, forecast=1150.0) == 12, "not 3 times the forecast that knows the sale"
    assert floor_at(SALE_AT + minutes(30), sale, forecast=400.0) == 12, "of the baseline, not of the forecast"


def test_the_floor_is_never_below_the_forecasts() -> None:
    sale = a_sale(a_baseline(400.0), expect={"multiplier": "3"})
    assert floor_at(SALE_AT + minutes(30), sale, forecast=1900.0) == 19
    quiet = a_sale(a_baseline(400.0), expect={"multiplier": "0.5"})
    assert floor_at(SALE_AT + minutes(30), quiet) == 4


def test_the_multiplier_grows_over_the_ramp() -> None:
    sale = a_sale(a_baseline(1000.0), expect={"multiplier": "3"}, rampUp="20m", rampDown="20m")
    assert floor_at(SALE_AT - minutes(18), sale) == 20, "2 of 3 are reached when the window ends, half of the ramp"
    assert floor_at(SALE_AT - minutes(8), sale) == 30
    assert floor_at(SALE_UNTIL + minutes(10), sale) == 20
    assert floor_at(SALE_UNTIL + minutes(20), sale) == 4


def test_the_multiplier_applies_to_the_baseline_bins_within_the_event() -> None:
    rising = a_forecast(*[400] * 12, *[600] * 24, *[400] * 12)
    assert floor_at(SALE_AT - minutes(8), a_sale(rising, expect={"multiplier": "2"})) == 12


def test_a_baseline_that_ends_before_the_event_continues_with_its_last_bin() -> None:
    sale = a_sale(a_baseline(400.0, hours=1.5), expect={"multiplier": "3"})
    assert floor_at(SALE_UNTIL - minutes(10), sale) == 12


def test_a_multiplier_without_a_baseline_is_not_applied_and_the_message_says_why() -> None:
    decision = at(SALE_AT, a_sale(expect={"multiplier": "3"}))
    assert decision.floor == 4
    assert not decision.recommendations[0].applies
    assert "no forecast from before the event" in decision.message


def test_a_multiplier_without_a_known_capacity_is_not_applied_and_the_message_says_why() -> None:
    situation = a_situation(
        POLICY, now=SALE_AT, events=[a_sale(a_baseline(), expect={"multiplier": "3"})], per_replica=None
    )
    decision = decide(situation)
    assert decision.floor == 4
    assert "capacity of a replica is not known" in decision.message


def test_an_event_without_expectation_and_learned_effect_is_not_applied() -> None:
    decision = at(SALE_AT, a_sale())
    assert (decision.floor, decision.recommendations[0].applies) == (4, False)
    assert "no effect of its type" in decision.message


def test_the_highest_recommendation_of_the_highest_priority_is_used_where_events_overlap() -> None:
    small, large = a_sale(expect={"minReplicas": 10}), a_sale(name="match", expect={"minReplicas": 15})
    assert floor_at(SALE_AT, small, large) == 15
    first = a_sale(name="freeze", expect={"minReplicas": 6}, priority=1)
    assert floor_at(SALE_AT, small, large, first) == 6


def test_a_higher_priority_applies_only_where_events_overlap() -> None:
    sale = a_sale(expect={"minReplicas": 20})
    after = an_occurrence(
        an_event("cleanup", SALE_UNTIL, SALE_UNTIL + minutes(60), priority=9, expect={"minReplicas": 6})
    )
    assert floor_at(SALE_UNTIL - minutes(1), sale, after) == 20
    assert floor_at(SALE_UNTIL, sale, after) == 6


def test_a_suppressed_forecast_lowers_the_floor() -> None:
    outage = a_sale(suppressForecast=True, expect={"minReplicas": 2})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[outage], forecast=1000.0, demand=150.0)
    decision = decide(situation)
    assert (decision.floor, decision.reason) == (2, Reason.EVENT_SUPPRESSES)


def test_a_planned_outage_lowers_the_floor_without_metrics() -> None:
    outage = a_sale(suppressForecast=True)
    state = DecisionState(since=LONG_AGO, floor=10, reference_forecast=a_baseline(1000.0))
    for demand in (None, 0.0, 1.0):
        situation = a_situation(
            POLICY, floor=10, now=SALE_AT, events=[outage], forecast=None, demand=demand, state=state
        )
        assert decide(situation).floor == 1


def test_a_planned_outage_without_metrics_lowers_the_floor_after_the_window() -> None:
    slow, outage = a_policy(scaleDown={"maxStep": "1000"}), a_sale(suppressForecast=True)
    state, floor, floors = DecisionState(since=LONG_AGO, floor=10), 10, list[int]()
    for minute in (-1, 0, 5, 8, 9):
        demand = 950.0 if minute < 0 else None
        now = SALE_AT + minutes(minute)
        decision = decide(
            a_situation(slow, floor=floor, now=now, events=[outage], forecast=1000.0, demand=demand, state=state)
        )
        state, floor = decision.state, decision.floor
        floors.append(floor)
    assert floors == [10, 10, 10, 10, 1]


def test_the_forecast_counts_again_a_lead_time_before_a_suppression_ends() -> None:
    outage = a_sale(suppressForecast=True)
    assert floor_at(SALE_UNTIL - minutes(8.1), outage, forecast=900.0) == 4, "the current load is still served"
    assert floor_at(SALE_UNTIL - minutes(8), outage, forecast=900.0) == 9


def test_a_suppression_that_cannot_be_applied_suppresses_nothing() -> None:
    unknown = a_sale(suppressForecast=True, expect={"multiplier": "0.1"})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[unknown], forecast=1000.0, demand=150.0)
    assert decide(situation).floor == 10


def test_a_suppressed_multiplier_below_one_is_the_floor() -> None:
    quiet = a_sale(a_baseline(1000.0), suppressForecast=True, expect={"multiplier": "0.3"})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[quiet], forecast=1000.0, demand=150.0)
    assert decide(situation).floor == 3


def test_a_higher_priority_lifts_a_suppression() -> None:
    outage = a_sale(suppressForecast=True)
    lifted = a_sale(name="postponed", priority=1, expect={"minReplicas": 1})
    situation = a_situation(POLICY, floor=10, now=SALE_AT, events=[outage, lifted], forecast=1000.0, demand=150.0)
    assert decide(situation).floor == 10


def test_each_step_down_after_an_event_has_the_reason_event_ended() -> None:
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
def test_a_distant_event_has_no_recommendation(moment: datetime) -> None:
    decision = at(moment, a_sale(expect={"minReplicas": 20}))
    assert (decision.floor, len(decision.recommendations)) == (4, 2)


def test_the_maximum_applies_to_events() -> None:
    decision = decide(
        a_situation(POLICY, now=SALE_AT, events=[a_sale(expect={"minReplicas": 30})], observed=observed(4, maximum=12))
    )
    assert (decision.floor, decision.limits, decision.limited) == (12, (Limit.MAXIMUM,), True)
