"""What events ask for (semantics 20): a multiple of the demand that was forecast without them, or so many replicas."""

import math
from collections.abc import Callable
from typing import NamedTuple

from forecasting.events import LearnedEffect
from forecasting.forecast import Forecast
from predictive_scaling.decision.context import TrustedInputs
from predictive_scaling.decision.events.windows import EventWindow, effective_spans, event_window
from predictive_scaling.decision.forecast_floor import quantile_of
from predictive_scaling.decision.formatting import amount, clock_time, replicas
from predictive_scaling.decision.inputs import Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import Peak, peak, replicas_for
from predictive_scaling.decision.spans import Span

BASE_QUANTILE = 0.5
"""A declared multiplier already is an upper estimate; a margin on its base would multiply with it.

On the World Cup matches of 3 July 1998 (declared 3, floor from p90, pods ready after 8 minutes) neither base was ever
short, where the HPA alone was for 28 minutes; the 0.9 quantile took 1.48 of its replica-hours, the median 1.21.
"""


class EventRecommendations(NamedTuple):
    """What the events of a situation ask for."""

    recommendations: tuple[Recommendation, ...]
    suppressed: tuple[Span, ...]
    """When the forecast does not count (suppressForecast)."""


NOTHING = EventRecommendations((), ())


class _Multiplier(NamedTuple):
    """What an event multiplies demand by, who says so in words, and the quantile of the base that it multiplies.

    A learned multiplier is a mean, not an upper estimate: the policy's own quantile is its margin.
    """

    factor: float
    description: str
    quantile: float


def recommend_for_events(situation: Situation, sight: TrustedInputs, window: Span) -> EventRecommendations:
    """The wishes of all events that rule a moment of the window, and when they suppress the forecast.

    Where events overlap, the highest priority rules; of equals, all do, and the highest wish wins.
    """
    if not situation.events:
        return NOTHING
    every = (event_window(concern) for concern in situation.events)
    influences = tuple(influence for influence in every if influence.span.meets(window))
    priorities = {influence.priority for influence in influences}
    stronger = {
        priority: tuple(influence for influence in influences if influence.priority > priority)
        for priority in priorities
    }
    wishes: list[Recommendation] = []
    suppressed: list[Span] = []
    for influence in influences:
        spans = effective_spans(influence, stronger[influence.priority], window)
        if not spans:
            continue
        wish = _recommend(influence, spans, situation, sight)
        wishes.append(wish)
        if influence.baseline.event.spec.suppress_forecast and wish.applies:
            suppressed.extend(core for span in spans if (core := influence.core.within(span)))
    return EventRecommendations(tuple(wishes), tuple(suppressed))


def _recommend(
    influence: EventWindow, spans: tuple[Span, ...], situation: Situation, sight: TrustedInputs
) -> Recommendation:
    spec = influence.baseline.event.spec
    if spec.expect.min_replicas is not None:
        return _absolute(influence, spans, spec.expect.min_replicas, situation.policy.spec.replicas.min)
    if spec.expect.multiplier is not None:
        said = _Multiplier(spec.expect.multiplier, f"multiplies demand by {spec.expect.multiplier:g}", BASE_QUANTILE)
        return _multiplied(influence, spans, said, situation, sight)
    if spec.suppress_forecast:
        lowest = situation.policy.spec.replicas.min
        return _recommendation(influence, lowest, f"{_named(influence)} suppresses the forecast and expects nothing")
    learned = influence.baseline.learned
    if learned is not None:
        quantile, _ = quantile_of(situation)
        said = _Multiplier(learned.multiplier, f"multiplies demand as {_learned(learned, spec.type)}", quantile)
        return _multiplied(influence, spans, said, situation, sight)
    return _not_applicable(influence, "expects nothing in particular, and nothing was learned of its type yet")


def _learned(learned: LearnedEffect, type_: str | None) -> str:
    events = "1 earlier event" if learned.samples == 1 else f"{learned.samples} earlier events"
    multiplier, low, high = (_formatted(one) for one in (learned.multiplier, learned.low, learned.high))
    return f"learned from {events} of type {type_}: {multiplier} ({low} to {high})"


def _formatted(factor: float) -> str:
    return f"{factor:.1f}" if factor >= 1 else f"{factor:.2f}"


def _absolute(influence: EventWindow, spans: tuple[Span, ...], wanted: int, lowest: int) -> Recommendation:
    """Over the ramp the floor climbs from the policy's minimum, so that all of it is there at the start."""
    share = max(influence.highest_share(span) for span in spans)
    climbed = lowest + math.ceil((wanted - lowest) * share) if wanted > lowest else wanted
    return _recommendation(influence, climbed, f"{_named(influence)} asks for {replicas(wanted)}")


def _multiplied(
    influence: EventWindow, spans: tuple[Span, ...], said: _Multiplier, situation: Situation, sight: TrustedInputs
) -> Recommendation:
    base = influence.baseline.baseline_forecast
    if base is None or base.origin > influence.span.start:
        return _not_applicable(influence, f"{said.description}, but no forecast from before it is there")
    if sight.per_replica is None:
        return _not_applicable(influence, f"{said.description}, but what a replica carries is not known yet")
    highest = _peak_of_base(base, said.quantile, spans, _factor(influence, said.factor))
    if highest is None:
        return _not_applicable(influence, f"{said.description}, but the forecast from before it has ended")
    options = situation.policy.spec.forecast
    needed = replicas_for(highest.value, sight.per_replica, options.utilization / 100)
    why = (
        f"{_named(influence)} {said.description}: {amount(highest.value)} "
        f"{situation.policy.spec.demand.metric} expected at {clock_time(highest.at)} "
        f"need {replicas(needed)} of {amount(sight.per_replica)}"
    )
    return _recommendation(influence, needed, why, highest)


def _factor(influence: EventWindow, multiplier: float) -> Callable[[Span], float]:
    share = influence.highest_share if multiplier >= 1 else influence.lowest_share
    return lambda part: 1.0 + (multiplier - 1.0) * share(part)


def _peak_of_base(
    base: Forecast, quantile: float, spans: tuple[Span, ...], factor: Callable[[Span], float]
) -> Peak | None:
    """A base that ends before the event does goes on with its last bin."""
    end = base.origin + base.step * len(base.values)
    found = [peak(base, quantile, spans, factor)]
    last = peak(base, quantile, (Span(end - base.step, end),))
    beyond = [tail for span in spans if (tail := span.within(Span(end, span.end)))] if last else []
    found += [Peak(last.value * factor(tail), tail.start) for tail in beyond if last]
    return max((it for it in found if it), key=lambda it: it.value, default=None)


def _recommendation(influence: EventWindow, wanted: int, why: str, highest: Peak | None = None) -> Recommendation:
    name = influence.baseline.event.metadata.name
    value, at = (highest.value, highest.at) if highest else (None, None)
    return Recommendation(wanted, Source.EVENT, why, always_writes=True, event=name, demand=value, at=at)


def _not_applicable(influence: EventWindow, why: str) -> Recommendation:
    name = influence.baseline.event.metadata.name
    return Recommendation(0, Source.EVENT, f"{_named(influence)} {why}", event=name, applies=False)


def _named(influence: EventWindow) -> str:
    return f"event {influence.baseline.event.metadata.name}"
