"""How good the forecasts were near known events, where ordinary hours say nothing of them."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.context import KnownEvent
from forecasting.error_measures import coverage, wape
from forecasting.forecast import QUANTILES
from forecasting.series import FloatArray, Series
from predictive_scaling.backtesting.accuracy import JUDGED
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts

BEFORE, AFTER = timedelta(minutes=30), timedelta(minutes=40)
"""From so long before the start to so long after the end is near."""


@dataclass(frozen=True, slots=True)
class NearEvents:
    """Of one horizon; NaN where nothing was near. judged: forecasts whose target was. coverage: by quantile."""

    judged: int
    wape: float
    coverage: dict[float, float]


def near_events(forecasts: RollingForecasts, events: tuple[KnownEvent, ...], bins: int) -> NearEvents:
    """Of forecasts `bins` ahead, from every origin behind the split, those whose target lies near an event."""
    series, split = forecasts.series, forecasts.plan.split
    targets = np.arange(split, len(series.values) - bins + 1) + bins - 1
    chosen = targets[near(series, events)[targets]]
    actual, predicted = series.values[chosen], forecasts.values[chosen - bins + 1 - forecasts.first, bins - 1]
    return NearEvents(
        judged=int(np.isfinite(actual).sum()),
        wape=wape(actual, _of(predicted, 0.5)),
        coverage={quantile: coverage(actual, _of(predicted, quantile)) for quantile in JUDGED},
    )


def near(series: Series, events: tuple[KnownEvent, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the middle of each bin lies near one of the events: shape (bins,)."""
    step = series.step.total_seconds()
    middles = series.start.timestamp() + (np.arange(len(series.values)) + 0.5) * step
    found = np.zeros(len(middles), dtype=np.bool_)
    for event in events:
        begin, end = (event.start - BEFORE).timestamp(), (event.end + AFTER).timestamp()
        found[slice(*np.searchsorted(middles, [begin, end]))] = True
    return found


def _of(predicted: FloatArray, quantile: float) -> FloatArray:
    return predicted[:, QUANTILES.index(quantile)]
