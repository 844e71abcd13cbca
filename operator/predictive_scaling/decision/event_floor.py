"""Recommendations of events (semantics 20): a multiple of their baseline forecast, or a number of replicas."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from forecasting.events import LearnedEffect
from forecasting.forecast import Forecast
from predictive_scaling.decision.context import TrustedInputs
from predictive_scaling.decision.events.windows import EventWindow, effective_spans
from predictive_scaling.decision.forecast_floor import quantile_of
from predictive_scaling.decision.formatting import amount, clock_time, replicas
from predictive_scaling.decision.inputs import EventBaseline, Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import Peak, highest_bin, replicas_for, value_at
from predictive_scaling.decision.spans import Span

BASELINE_QUANTILE = 0.5
"""A declared multiplier already is an upper estimate; a margin on its baseline would multiply with it.

On the World Cup matches of 3 July 1998 (declared 3, floor from p90, pods ready after 8 minutes) no baseline was ever
short, while the HPA alone was short for 28 minutes; the 0.9 quantile used 1.48 of its replica-hours, the median 1.21.
"""

_MINUTE = timedelta(minutes=1)
_MIN_OBSERVED = timedelta(minutes=20)
"""From the start of an event to the first correction of its learned multiplier: a late crowd looks like a small one."""
_MIN_NOISE = 0.15
"""Least standard deviation of the logarithm of observed over forecast demand."""
_HIGH, _HIGH_SCORE = 0.9, 1.2816
"""A quantile and its score in the normal distribution; learned ranges reach from 1 - _HIGH to _HIGH."""


class EventRecommendations(NamedTuple):
    """The recommendations of all events of a situation."""

    recommendations: tuple[Recommendation, ...]
    suppressed: tuple[Span, ...]
    """Spans without a forecast recommendation (suppressForecast)."""


NO_RECOMMENDATIONS = EventRecommendations((), ())


class _Multiplier(NamedTuple):
    """A multiplier of demand, its origin as a phrase, and the quantile of the baseline that it multiplies.

    A learned multiplier is a mean, not an upper estimate: the policy's own quantile is its margin, unless the forecast
    that is used together with it contains the effect with a margin.
    """

    factor: float
    description: str
    quantile: float


def recommend_for_events(situation: Situation, inputs: TrustedInputs, window: Span) -> EventRecommendations:
    """The recommendations of all events that are effective within the window, and the spans that they suppress.

    Where events overlap, only those with the highest priority count; of equals the highest recommendation wins.
    """
    if not situation.events:
        return NO_RECOMMENDATIONS
    baselines = tuple(baseline for baseline in situation.events if baseline.window.span.overlaps(window))
    windows = tuple(baseline.window for baseline in baselines)
    higher = {
        priority: tuple(event_window for event_window in windows if event_window.priority > priority)
        for priority in {event_window.priority for event_window in windows}
    }
    recommendations: list[Recommendation] = []
    suppressed: list[Span] = []
    for baseline in baselines:
        event_window = baseline.window
        spans = effective_spans(event_window, higher[event_window.priority], window)
        if not spans:
            continue
        recommendation = _recommend(baseline, spans, situation, inputs)
        recommendations.append(recommendation)
        if event_window.event.spec.suppress_forecast and recommendation.applies:
            suppressed.extend(core for span in spans if (core := event_window.occurrence.intersection(span)))
    return EventRecommendations(tuple(recommendations), tuple(suppressed))


def _recommend(
    baseline: EventBaseline, spans: tuple[Span, ...], situation: Situation, inputs: TrustedInputs
) -> Recommendation:
    window, spec = baseline.window, baseline.window.event.spec
    if spec.expect.min_replicas is not None:
        return _absolute(window, spans, spec.expect.min_replicas, situation.policy.spec.replicas.min)
    if spec.expect.multiplier is not None:
        description = f"multiplies demand by {spec.expect.multiplier:g}"
        declared = _Multiplier(spec.expect.multiplier, description, BASELINE_QUANTILE)
        return _multiplied(baseline, spans, declared, situation, inputs)
    if spec.suppress_forecast:
        minimum = situation.policy.spec.replicas.min
        return _recommendation(window, minimum, f"{_name(window)} suppresses the forecast and declares no demand")
    if baseline.learned is not None:
        return _learned(baseline, baseline.learned, spans, situation, inputs)
    return _not_applicable(window, "declares no demand, and no effect of its type has been learned yet")


def _learned(
    baseline: EventBaseline,
    learned: LearnedEffect,
    spans: tuple[Span, ...],
    situation: Situation,
    inputs: TrustedInputs,
) -> Recommendation:
    """The learned multiple; where the forecast contains the effect, only over a declared ramp up.

    A forecast that contains the effect follows its course, and from the start on the size of this very event: a floor
    for the full multiple at the start would be too early for most types. A declared ramp states that it is not. Such a
    forecast also has a margin of its own: the multiplied baseline then is the median.
    """
    window, type_ = baseline.window, baseline.window.event.spec.type
    description = f"multiplies demand as {_describe_learned(learned, type_)}"
    forecast = inputs.forecast
    is_contained = forecast is not None and type_ in forecast.event_types
    if forecast is not None and is_contained and forecast.origin >= window.occurrence.start:
        return _not_applicable(window, f"{description}, which the forecast since its start contains")
    if is_contained and not window.event.spec.ramp_up:
        return _not_applicable(window, f"{description}, whose course the forecast contains")
    if is_contained:
        multiplier = _Multiplier(learned.multiplier, description, BASELINE_QUANTILE)
        return _multiplied(baseline, spans, multiplier, situation, inputs)
    factor = _multiplier_given_demand(baseline, learned, situation, inputs)
    if factor is None:
        factor = learned.multiplier
    else:
        description += f", corrected to {_format_factor(factor)} by the demand since its start"
    return _multiplied(baseline, spans, _Multiplier(factor, description, quantile_of(situation)[0]), situation, inputs)


def _multiplier_given_demand(
    baseline: EventBaseline, learned: LearnedEffect, situation: Situation, inputs: TrustedInputs
) -> float | None:
    """The learned multiplier, corrected by the newest demand, within the learned range; None where nothing is observed.

    In logarithms, the learned range and the error of the baseline are taken as normal distributions, whose variances
    weigh the learned and the observed effect. Over the ramp down the observation counts by its share of the effect.
    While another event acts, the demand cannot be attributed.
    """
    forecast, window, at = baseline.baseline_forecast, baseline.window, inputs.demand_at
    if forecast is None or forecast.origin > window.span.start or not inputs.demand or at is None:
        return None
    minute = Span(at - _MINUTE, at)
    if minute.end < window.occurrence.start + _MIN_OBSERVED or not minute.overlaps(window.span):
        return None
    if any(other.window.span.overlaps(minute) for other in situation.events if other.window != window):
        return None
    last_bin = forecast.valid_until - forecast.step
    usual, high = (value_at(forecast, quantile, min(minute.start, last_bin)) for quantile in (BASELINE_QUANTILE, _HIGH))
    if not usual or high is None or not 0 < learned.low < learned.high:
        return None
    share = window.highest_share(minute)
    variance = (math.log(learned.high / learned.low) / (2 * _HIGH_SCORE)) ** 2
    noise = max(_MIN_NOISE, math.log(max(high / usual, 1.0)) / _HIGH_SCORE) ** 2
    weight = share * variance / (share**2 * variance + noise)
    excess = math.log(inputs.demand) - math.log(usual) - math.log(1.0 - share + learned.multiplier * share)
    corrected = math.log(learned.multiplier) + weight * excess
    return math.exp(min(max(corrected, math.log(learned.low)), math.log(learned.high)))


def _describe_learned(learned: LearnedEffect, type_: str | None) -> str:
    events = "1 earlier event" if learned.samples == 1 else f"{learned.samples} earlier events"
    multiplier, low, high = (_format_factor(factor) for factor in (learned.multiplier, learned.low, learned.high))
    return f"learned from {events} of type {type_}: {multiplier} ({low} to {high})"


def _format_factor(factor: float) -> str:
    return f"{factor:.1f}" if factor >= 1 else f"{factor:.2f}"


def _absolute(window: EventWindow, spans: tuple[Span, ...], declared: int, minimum: int) -> Recommendation:
    """Over the ramp the floor rises from the policy's minimum, so that it is complete at the start."""
    share = max(window.highest_share(span) for span in spans)
    floor = minimum + math.ceil((declared - minimum) * share) if declared > minimum else declared
    return _recommendation(window, floor, f"{_name(window)} requires {replicas(declared)}")


def _multiplied(
    baseline: EventBaseline,
    spans: tuple[Span, ...],
    multiplier: _Multiplier,
    situation: Situation,
    inputs: TrustedInputs,
) -> Recommendation:
    window, forecast = baseline.window, baseline.baseline_forecast
    if forecast is None or forecast.origin > window.span.start:
        return _not_applicable(window, f"{multiplier.description}, but there is no forecast from before the event")
    if inputs.per_replica is None:
        return _not_applicable(window, f"{multiplier.description}, but the capacity of a replica is not known yet")
    peak = _baseline_peak(forecast, multiplier.quantile, spans, _factor(window, multiplier.factor))
    if peak is None:
        return _not_applicable(window, f"{multiplier.description}, but its baseline forecast has no usable value")
    options = situation.policy.spec.forecast
    needed = replicas_for(peak.value, inputs.per_replica, options.utilization / 100)
    why = (
        f"{_name(window)} {multiplier.description}: a peak of {amount(peak.value)} "
        f"{situation.policy.spec.demand.metric} at {clock_time(peak.at)} "
        f"requires {replicas(needed)} at {amount(inputs.per_replica)} per replica"
    )
    return _recommendation(window, needed, why, peak)


def _factor(window: EventWindow, multiplier: float) -> Callable[[Span], float]:
    share = window.highest_share if multiplier >= 1 else window.lowest_share
    return lambda part: 1.0 + (multiplier - 1.0) * share(part)


def _baseline_peak(
    forecast: Forecast, quantile: float, spans: tuple[Span, ...], factor: Callable[[Span], float]
) -> Peak | None:
    """The highest multiplied demand. The last bin continues where the baseline ends before the event."""
    end = forecast.origin + forecast.step * len(forecast.values)
    peaks = [highest_bin(forecast, quantile, spans, factor)]
    last = highest_bin(forecast, quantile, (Span(end - forecast.step, end),))
    if last is not None:
        tails = (tail for span in spans if (tail := span.intersection(Span(end, span.end))))
        peaks += [Peak(last.value * factor(tail), tail.start) for tail in tails]
    return max((peak for peak in peaks if peak), key=lambda peak: peak.value, default=None)


def _recommendation(window: EventWindow, floor: int, why: str, peak: Peak | None = None) -> Recommendation:
    demand, at = (peak.value, peak.at) if peak else (None, None)
    name = window.event.metadata.name
    return Recommendation(floor, Source.EVENT, why, always_writes=True, event=name, demand=demand, at=at)


def _not_applicable(window: EventWindow, why: str) -> Recommendation:
    name = window.event.metadata.name
    return Recommendation(0, Source.EVENT, f"{_name(window)} {why}", event=name, applies=False)


def _name(window: EventWindow) -> str:
    return f"event {window.event.metadata.name}"
