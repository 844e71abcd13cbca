"""The decision: the strongest wish, and an ordered table of rules that may cut it."""

from collections.abc import Callable

from predictive_scaling.decision.bounds import at_least_minimum, at_most_maximum, effective_maximum
from predictive_scaling.decision.carries_load import keep_what_demand_needs
from predictive_scaling.decision.case import Case, floor_before
from predictive_scaling.decision.dead_band import ignore_small_changes
from predictive_scaling.decision.event_floor import ask_events
from predictive_scaling.decision.explanation import explain
from predictive_scaling.decision.fallback import ask_fallback, is_in_fallback, may_lower
from predictive_scaling.decision.forecast_floor import ask_forecast
from predictive_scaling.decision.freshness import look
from predictive_scaling.decision.missing_data import hold_without_data
from predictive_scaling.decision.model import Decision, Limit, Situation, Source, Wish
from predictive_scaling.decision.outage import hold_through_outage, is_outage
from predictive_scaling.decision.pause import pause_of
from predictive_scaling.decision.quantile import quantile_of
from predictive_scaling.decision.reasons import reason_for
from predictive_scaling.decision.remembering import next_memory
from predictive_scaling.decision.spans import window_ahead, without
from predictive_scaling.decision.stabilization import hold_highest_of_window
from predictive_scaling.decision.steering import go_one_way, go_to_pin, stand_still
from predictive_scaling.decision.steps import step_down, step_up

Rule = Callable[[int, Case], int]

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
    case, wishes = _weigh(situation)
    floor, limits = case.strongest.replicas, dict[Limit, None]()
    for limit, rule in RULES:
        allowed = rule(floor, case)
        if allowed != floor:
            limits[limit] = None
            floor = allowed
    return _decision(case, wishes, floor, tuple(limits))


def _weigh(situation: Situation) -> tuple[Case, tuple[Wish, ...]]:
    """Ask all sources, and see which asks for most."""
    pause, window = pause_of(situation), window_ahead(situation.now, situation.lead_time, situation.refresh)
    before = floor_before(situation)
    if situation.lost_floor is not None and not pause.freezes:
        # Steps and windows go on from the floor that was lost: writing it again is no raise.
        before = situation.lost_floor
    sight = look(situation, window)
    asked = ask_events(situation, sight, window)
    spans = without((window,), asked.suppressed)
    forecast, fallback = ask_forecast(situation, sight, spans), ask_fallback(situation, sight, before)
    minimum = Wish(situation.policy.spec.replicas.min, Source.MINIMUM, "nothing asks for more than the minimum")
    wishes = (*asked.wishes, *(wish for wish in (forecast, fallback) if wish), minimum)
    case = Case(
        situation=situation,
        before=before,
        sight=sight,
        pause=pause,
        # The first of equals: an event or a forecast explains more than the minimum does.
        strongest=max((wish for wish in wishes if wish.applies), key=lambda wish: wish.replicas),
        outage=is_outage(situation, sight),
        suppressed=not spans,
        blind_order=may_lower(situation, sight),
    )
    return case, wishes


def _decision(case: Case, wishes: tuple[Wish, ...], floor: int, limits: tuple[Limit, ...]) -> Decision:
    situation, pause, strongest = case.situation, case.pause, case.strongest
    forecast = next((wish for wish in wishes if wish.source is Source.FORECAST), None)
    return Decision(
        before=floor_before(situation),
        floor=floor,
        uncapped=strongest.replicas,
        source=Source.PIN if pause.pin is not None and not pause.freezes else strongest.source,
        reason=reason_for(case, floor),
        message=explain(case, wishes, floor, limits),
        limits=limits,
        wishes=wishes,
        memory=next_memory(case, floor),
        paused=pause.reason.value if pause.reason and pause.pauses else None,
        event=strongest.event,
        fallback=is_in_fallback(situation, case.sight),
        quantile=quantile_of(situation)[0] if forecast else None,
        forecast_value=forecast.demand if forecast else None,
        forecast_at=forecast.at if forecast else None,
        limited=strongest.replicas > effective_maximum(situation),
        pause=pause,
    )
