"""The highest demand that a forecast expects within some spans of time, at any quantile."""

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from forecasting.forecast import PEAK_QUANTILES, Forecast
from forecasting.quantile_interpolation import quantile_weights
from predictive_scaling.decision.spans import Span

_SLACK = 1e-9
_MAX_REPLICAS = 2**31 - 1
NEAR = 2
"""Bins of a forecast in which a window may begin and still be answered by the peak since the forecast's origin."""


class Peak(NamedTuple):
    """A demand, and the beginning of the bin in which it is expected."""

    value: float
    at: datetime


def peak(
    forecast: Forecast, quantile: float, spans: Iterable[Span], factor: Callable[[Span], float] | None = None
) -> Peak | None:
    """The highest value of `quantile` in the bins that meet one of `spans`; None where there is no usable bin.

    factor: what each bin's value is multiplied by, given the part of the bin that lies within the span.
    Values that are NaN, infinite or negative are no values (semantics 15).
    """
    weights = quantile_weights(forecast.quantiles, quantile)
    highest: Peak | None = None
    for span in spans:
        for bin_start, row in _rows(forecast, span):
            value = weights.of(row)
            if factor is not None:
                value *= factor(Span(max(bin_start, span.start), min(bin_start + forecast.step, span.end)))
            if 0.0 <= value < math.inf and (highest is None or value > highest.value):
                highest = Peak(value, bin_start)
    return highest


def highest(forecast: Forecast, quantile: float, spans: Iterable[Span]) -> Peak | None:
    """`quantile` of the highest demand within `spans`; None where there is no usable bin.

    Where a span begins with the forecast (in its first bin or the second) and the forecast says what the highest demand
    until the span's end is, that counts: several bins together exceed what each of them seldom exceeds. Elsewhere it is
    the highest of the bins' own quantiles. `at` is the bin in which most is expected.
    """
    found: Peak | None = None
    for span in spans:
        by_bin = peak(forecast, quantile, (span,))
        together = _joint_peak(forecast, quantile, span)
        value = by_bin if by_bin is None or together is None else Peak(together, by_bin.at)
        if value is not None and (found is None or value.value > found.value):
            found = value
    return found


def value_at(forecast: Forecast, quantile: float, moment: datetime) -> float | None:
    """The quantile in the bin that holds `moment`; None where there is none."""
    found = peak(forecast, quantile, (Span(moment, moment + forecast.step.resolution),))
    return found.value if found else None


def reaches(forecast: Forecast, span: Span) -> bool:
    """Whether it has any bin in the span."""
    return Span(forecast.origin, forecast.origin + forecast.step * len(forecast.values)).meets(span)


def replicas_for(demand: float, per_replica: float, utilization: float) -> int:
    """Replicas that carry `demand` at `utilization` (a fraction) of each; rounded up, once.

    A billionth more than whole is whole: binary fractions must not cost a replica. At most as many as a target can
    count, however high the demand or small the share of a replica. demand: not NaN.

    >>> replicas_for(630, per_replica=700, utilization=0.9), replicas_for(701, per_replica=700, utilization=1.0)
    (1, 2)
    """
    exact = demand / per_replica / utilization
    return math.ceil(exact * (1 - _SLACK)) if exact < _MAX_REPLICAS else _MAX_REPLICAS


def _joint_peak(forecast: Forecast, quantile: float, span: Span) -> float | None:
    if forecast.peaks is None or span.start >= forecast.origin + NEAR * forecast.step:
        return None
    bins = -((forecast.origin - span.end) // forecast.step)
    if not 0 < bins <= len(forecast.peaks):
        return None
    value = quantile_weights(PEAK_QUANTILES, quantile).of(forecast.peaks[bins - 1].tolist())
    return value if 0.0 <= value < math.inf else None


def _rows(forecast: Forecast, span: Span) -> Iterator[tuple[datetime, list[float]]]:
    first = max(0, (span.start - forecast.origin) // forecast.step)
    past_last = min(len(forecast.values), -((forecast.origin - span.end) // forecast.step))
    if first >= past_last:
        return
    start = forecast.origin + forecast.step * first
    # A list of floats: numpy costs more than it saves on a handful of bins.
    for row in forecast.values[first:past_last].tolist():
        yield start, row
        start += forecast.step
