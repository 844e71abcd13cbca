"""The decision: the strongest wish, and an ordered table of rules that may cut it."""

from collections.abc import Callable

from predictive_scaling.decision.context import DecisionContext, assess_inputs, current_floor
from predictive_scaling.decision.decision_state import next_state
from predictive_scaling.decision.events.event_floor import recommend_for_events
from predictive_scaling.decision.explanation import explain, reason_for
from predictive_scaling.decision.forecast_floor import quantile_of, recommend_from_forecast
from predictive_scaling.decision.inputs import Decision, Limit, Recommendation, Situation, Source
from predictive_scaling.decision.limits import (
    at_least_minimum,
    at_most_maximum,
    effective_maximum,
    hold_highest_of_window,
    ignore_small_changes,
    step_down,
    step_up,
)
from predictive_scaling.decision.overrides import go_one_way, go_to_pin, pause_of, stand_still
from predictive_scaling.decision.safety import (
    fallback_may_lower,
    hold_through_outage,
    hold_without_data,
    is_in_fallback,
    is_outage,
    keep_what_demand_needs,
    recommend_fallback,
)
from predictive_scaling.decision.spans import window_ahead, without

Rule = Callable[[int, DecisionContext], int]

RULES: tuple[tuple[Limit, Rule], ...] = (
    # The maximum comes first as well, so that a wish beyond it is named also while steps still hold the floor below.
    (Limit.MAXIMUM, at_most_maximum),
    (Limit.STALE_FORECAST, hold_without_data),
    (Limit.OUTAGE, hold_through_outage),
    (Limit.STABILIZATION_WINDOW, hold_highest_of_window),
    (Limit.CURRENT_LOAD, keep_what_demand_needs),
    (Limit.STEP_UP, step_up),
    (Limit.STEP_DOWN, step_down),
    (Limit.DIRECTION, go_one_way),
    (Limit.PINNED, go_to_pin),
    (Limit.DEAD_BAND, ignore_small_changes),
    # Bounds come last: no rule before them may lead outside. Only a frozen floor stays where it is.
    (Limit.MINIMUM, at_least_minimum),
    (Limit.MAXIMUM, at_most_maximum),
    (Limit.PAUSED, stand_still),
)


def decide(situation: Situation) -> Decision:
    """What the floor should be now; a state, not an instant (semantics 3).

    The same situation gives the same decision; deciding again at once, with decision.memory and the floor applied,
    changes nothing. Frozen policies (Off, paused, scaled to zero, in conflict) get `floor == before` and are told why.
    """
    case, wishes = _assess(situation)
    floor, limits = case.strongest.replicas, dict[Limit, None]()
    for limit, rule in RULES:
        allowed = rule(floor, case)
        if allowed != floor:
            limits[limit] = None
            floor = allowed
    return _decision(case, wishes, floor, tuple(limits))


def _assess(situation: Situation) -> tuple[DecisionContext, tuple[Recommendation, ...]]:
    """Ask all sources, and see which asks for most."""
    pause, window = pause_of(situation), window_ahead(situation.now, situation.lead_time, situation.refresh)
    before = current_floor(situation)
    if situation.lost_floor is not None and not pause.freezes:
        # Steps and windows go on from the floor that was lost: writing it again is no raise.
        before = situation.lost_floor
    sight = assess_inputs(situation, window)
    asked = recommend_for_events(situation, sight, window)
    spans = without((window,), asked.suppressed)
    forecast, fallback = recommend_from_forecast(situation, sight, spans), recommend_fallback(situation, sight, before)
    minimum = Recommendation(
        situation.policy.spec.replicas.min, Source.MINIMUM, "nothing asks for more than the minimum"
    )
    wishes = (*asked.recommendations, *(wish for wish in (forecast, fallback) if wish), minimum)
    case = DecisionContext(
        situation=situation,
        before=before,
        inputs=sight,
        pause=pause,
        # The first of equals: an event or a forecast explains more than the minimum does.
        strongest=max((wish for wish in wishes if wish.applies), key=lambda wish: wish.replicas),
        outage=is_outage(situation, sight),
        suppressed=not spans,
        fallback_may_lower=fallback_may_lower(situation, sight),
    )
    return case, wishes


def _decision(
    case: DecisionContext, wishes: tuple[Recommendation, ...], floor: int, limits: tuple[Limit, ...]
) -> Decision:
    situation, pause, strongest = case.situation, case.pause, case.strongest
    forecast = next((wish for wish in wishes if wish.source is Source.FORECAST), None)
    return Decision(
        before=current_floor(situation),
        floor=floor,
        uncapped=strongest.replicas,
        source=Source.PIN if pause.pin is not None and not pause.freezes else strongest.source,
        reason=reason_for(case, floor),
        message=explain(case, wishes, floor, limits),
        limits=limits,
        recommendations=wishes,
        state=next_state(case, floor),
        paused=pause.reason.value if pause.reason and pause.pauses else None,
        event=strongest.event,
        fallback=is_in_fallback(situation, case.inputs),
        quantile=quantile_of(situation)[0] if forecast else None,
        forecast_value=forecast.demand if forecast else None,
        forecast_at=forecast.at if forecast else None,
        limited=strongest.replicas > effective_maximum(situation),
        pause=pause,
    )
