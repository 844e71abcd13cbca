"""The highest demand that a forecast expects within spans of time, at any quantile, and the replicas for it."""

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from forecasting.forecast import PEAK_QUANTILES, Forecast
from forecasting.quantile_interpolation import quantile_weights
from predictive_scaling.decision.spans import Span

_SLACK = 1e-9
_MAX_REPLICAS = 2**31 - 1
PEAK_START_BINS = 2
"""A window that starts within the first bins of a forecast can use the forecast's peak since its origin."""


class Peak(NamedTuple):
    """A demand, and the start of the bin in which it is expected."""

    value: float
    at: datetime


def highest_bin(
    forecast: Forecast, quantile: float, spans: Iterable[Span], factor: Callable[[Span], float] | None = None
) -> Peak | None:
    """The highest value of `quantile` in the bins that overlap `spans`; None where there is no usable bin.

    factor: the multiplier of a bin's value for the part of the bin within the span.
    NaN, infinite and negative values are ignored (semantics 15).
    """
    weights = quantile_weights(forecast.quantiles, quantile)
    highest, at = -1.0, 0
    for span in spans:
        for index, row in _rows(forecast, span):
            value = weights.of(row)
            if factor is not None:
                start = forecast.origin + index * forecast.step
                value *= factor(Span(max(start, span.start), min(start + forecast.step, span.end)))
            if 0.0 <= value < math.inf and value > highest:
                highest, at = value, index
    return None if highest < 0.0 else Peak(highest, forecast.origin + at * forecast.step)


def highest_demand(forecast: Forecast, quantile: float, spans: Iterable[Span]) -> Peak | None:
    """`quantile` of the highest demand within `spans`; None where there is no usable bin.

    For a span that starts with the forecast (in its first two bins) it is the forecast's quantile of the highest demand
    until the span's end, where the forecast has one: several bins together exceed a value more often than each of them
    alone. For other spans it is the highest of the bins' quantiles. `at` is the bin with the highest quantile.
    """
    highest: Peak | None = None
    for span in spans:
        by_bin = highest_bin(forecast, quantile, (span,))
        joint = _joint_peak(forecast, quantile, span)
        peak = by_bin if by_bin is None or joint is None else Peak(joint, by_bin.at)
        if peak is not None and (highest is None or peak.value > highest.value):
            highest = peak
    return highest


def value_at(forecast: Forecast, quantile: float, moment: datetime) -> float | None:
    """The quantile in the bin that contains `moment`; None where there is none."""
    peak = highest_bin(forecast, quantile, (Span(moment, moment + forecast.step.resolution),))
    return peak.value if peak else None


def reaches(forecast: Forecast, span: Span) -> bool:
    """Whether the forecast has a bin in the span."""
    return Span(forecast.origin, forecast.origin + forecast.step * len(forecast.values)).overlaps(span)


def replicas_for(demand: float, per_replica: float, utilization: float) -> int:
    """Replicas that serve `demand` at `utilization` (a fraction) of each, rounded up once.

    A relative excess of 1e-9 is rounded down, so that binary fractions do not cost a replica. The result is at most
    2**31 - 1, the highest count of a target. demand: not NaN.

    >>> replicas_for(630, per_replica=700, utilization=0.9), replicas_for(701, per_replica=700, utilization=1.0)
    (1, 2)
    """
    exact = demand / per_replica / utilization
    return math.ceil(exact * (1 - _SLACK)) if exact < _MAX_REPLICAS else _MAX_REPLICAS


def _joint_peak(forecast: Forecast, quantile: float, span: Span) -> float | None:
    if forecast.peaks is None or span.start >= forecast.origin + PEAK_START_BINS * forecast.step:
        return None
    bins = -((forecast.origin - span.end) // forecast.step)
    if not 0 < bins <= len(forecast.peaks):
        return None
    value = quantile_weights(PEAK_QUANTILES, quantile).of(forecast.peaks[bins - 1].tolist())
    return value if 0.0 <= value < math.inf else None


def _rows(forecast: Forecast, span: Span) -> Iterable[tuple[int, list[float]]]:
    """The bins that overlap a span, each with its index."""
    first = max(0, (span.start - forecast.origin) // forecast.step)
    past_last = min(len(forecast.values), -((forecast.origin - span.end) // forecast.step))
    # A list of floats: numpy costs more than it saves on a handful of bins.
    return enumerate(forecast.values[first:past_last].tolist(), first) if first < past_last else ()
