"""The decision: the strongest recommendation, cut by an ordered table of rules."""

from collections.abc import Callable

from predictive_scaling.decision.context import DecisionContext, assess_inputs, current_floor
from predictive_scaling.decision.decision_state import next_state
from predictive_scaling.decision.event_floor import recommend_for_events
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
from predictive_scaling.decision.overrides import allow_one_direction, apply_pin, freeze, pause_of
from predictive_scaling.decision.reactive import recommend_reactively
from predictive_scaling.decision.safety import (
    fallback_may_lower,
    hold_back_raise,
    hold_through_outage,
    hold_without_data,
    is_in_fallback,
    is_outage,
    keep_current_load,
    recommend_fallback,
)
from predictive_scaling.decision.spans import difference, window_ahead

Rule = Callable[[int, DecisionContext], int]

RULES: tuple[tuple[Limit, Rule], ...] = (
    # The maximum is also first, so that it is reported even while steps hold the floor below it.
    (Limit.MAXIMUM, at_most_maximum),
    (Limit.STALE_FORECAST, hold_without_data),
    (Limit.OUTAGE, hold_through_outage),
    (Limit.STABILIZATION_WINDOW, hold_highest_of_window),
    (Limit.CURRENT_LOAD, keep_current_load),
    (Limit.STEP_UP, step_up),
    (Limit.STEP_DOWN, step_down),
    (Limit.ROLLED_BACK, hold_back_raise),
    (Limit.DIRECTION, allow_one_direction),
    (Limit.PINNED, apply_pin),
    (Limit.DEAD_BAND, ignore_small_changes),
    # Bounds are last: no rule before them can exceed them. Only a freeze keeps a floor that is out of bounds.
    (Limit.MINIMUM, at_least_minimum),
    (Limit.MAXIMUM, at_most_maximum),
    (Limit.PAUSED, freeze),
)


def decide(situation: Situation) -> Decision:
    """The desired floor for this situation (semantics 3).

    Deterministic and level-based: a second decision at the same time, with decision.state and the floor applied,
    changes nothing. A frozen policy (Off, paused, scaled to zero, in conflict) gets `floor == before` and a message
    with the cause.
    """
    context, recommendations = _assess(situation)
    floor, limits = context.strongest.replicas, dict[Limit, None]()
    for limit, rule in RULES:
        allowed = rule(floor, context)
        if allowed != floor:
            limits[limit] = None
            floor = allowed
    return _decision(context, recommendations, floor, tuple(limits))


def strongest_recommendation(situation: Situation) -> Recommendation:
    """The highest recommendation that applies, before any limit."""
    return _assess(situation)[0].strongest


def _assess(situation: Situation) -> tuple[DecisionContext, tuple[Recommendation, ...]]:
    """The recommendations of all sources, and the context with the strongest one."""
    pause, window = pause_of(situation), window_ahead(situation.now, situation.lead_time, situation.margin)
    before = current_floor(situation)
    if situation.lost_floor is not None and not pause.freezes:
        # Steps and windows continue from the lost floor: writing it again is no raise.
        before = situation.lost_floor
    inputs = assess_inputs(situation, window)
    events = recommend_for_events(situation, inputs, window)
    spans = difference((window,), events.suppressed)
    optional = (
        recommend_from_forecast(situation, inputs, spans),
        recommend_reactively(situation, inputs, before),
        recommend_fallback(situation, inputs, before),
    )
    minimum = Recommendation(
        situation.policy.spec.replicas.min, Source.MINIMUM, "the policy minimum is the highest recommendation"
    )
    recommendations = (
        *events.recommendations,
        *(recommendation for recommendation in optional if recommendation),
        minimum,
    )
    context = DecisionContext(
        situation=situation,
        before=before,
        inputs=inputs,
        pause=pause,
        # Among equals the first one: an event or a forecast explains more than the minimum.
        strongest=max(
            (recommendation for recommendation in recommendations if recommendation.applies),
            key=lambda recommendation: recommendation.replicas,
        ),
        outage=is_outage(situation, inputs),
        suppressed=not spans,
        fallback_may_lower=fallback_may_lower(situation, inputs),
    )
    return context, recommendations


def _decision(
    context: DecisionContext, recommendations: tuple[Recommendation, ...], floor: int, limits: tuple[Limit, ...]
) -> Decision:
    situation, pause, strongest = context.situation, context.pause, context.strongest
    forecast = next((option for option in recommendations if option.source is Source.FORECAST), None)
    return Decision(
        before=current_floor(situation),
        floor=floor,
        uncapped=strongest.replicas,
        source=Source.PIN if pause.pin is not None and not pause.freezes else strongest.source,
        reason=reason_for(context, floor, limits),
        message=explain(context, recommendations, floor, limits),
        limits=limits,
        recommendations=recommendations,
        state=next_state(context, floor),
        paused=pause.reason.value if pause.reason and pause.pauses else None,
        event=strongest.event,
        fallback=is_in_fallback(situation, context.inputs),
        quantile=quantile_of(situation)[0] if forecast else None,
        forecast_value=forecast.demand if forecast else None,
        forecast_at=forecast.at if forecast else None,
        limited=strongest.replicas > effective_maximum(situation),
        pause=pause,
    )
