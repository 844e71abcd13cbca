"""Accuracy of the forecasts by horizon, over all targets and over targets near known events."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forecasting.context import KnownEvent
from forecasting.error_measures import coverage, mape, mase, pinball, wape
from forecasting.forecast import QUANTILES
from forecasting.panel import DAY
from forecasting.series import FloatArray, Series
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts

JUDGED_QUANTILES = (0.5, 0.8, 0.9, 0.95)
BEFORE, AFTER = timedelta(minutes=30), timedelta(minutes=40)
"""A time is near an event from BEFORE its start to AFTER its end."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy at one horizon; NaN for undefined values. coverage, pinball: by quantile."""

    wape: float
    mape: float
    mase: float
    coverage: dict[float, float]
    pinball: dict[float, float]


@dataclass(frozen=True, slots=True)
class NearEvents:
    """The accuracy at one horizon for targets near events, where the average over all hours shows little.

    judged: number of these forecasts. wape, coverage: NaN without such forecasts; coverage is by quantile.
    """

    judged: int
    wape: float
    coverage: dict[float, float]


def accuracy(forecasts: RollingForecasts, bins: int) -> Accuracy:
    """Return the accuracy of the forecasts `bins` ahead from every origin after the split."""
    targets = _targets(forecasts, bins)
    actual, predicted = _pairs(forecasts, targets, bins)
    history = forecasts.series.values[: forecasts.plan.split]
    day = max(1, round(DAY / forecasts.series.step))
    median = _quantile_column(predicted, 0.5)
    return Accuracy(
        wape=wape(actual, median),
        mape=mape(actual, median),
        mase=mase(actual, median, history, day if len(history) > day else 1),
        coverage={q: coverage(actual, _quantile_column(predicted, q)) for q in JUDGED_QUANTILES},
        pinball={q: pinball(actual, _quantile_column(predicted, q), q) for q in JUDGED_QUANTILES},
    )


def naive_wape(forecasts: RollingForecasts, name: str, bins: int) -> float:
    """Return the WAPE of a naive model over the same origins."""
    return accuracy(forecasts.of_baseline(name), bins).wape


def near_events(forecasts: RollingForecasts, events: tuple[KnownEvent, ...], bins: int) -> NearEvents:
    """Return the accuracy of the forecasts `bins` ahead, after the split, whose target is near an event."""
    targets = _targets(forecasts, bins)
    actual, predicted = _pairs(forecasts, targets[is_near(forecasts.series, events)[targets]], bins)
    return NearEvents(
        judged=int(np.isfinite(actual).sum()),
        wape=wape(actual, _quantile_column(predicted, 0.5)),
        coverage={q: coverage(actual, _quantile_column(predicted, q)) for q in JUDGED_QUANTILES},
    )


def is_near(series: Series, events: tuple[KnownEvent, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return for each bin whether its middle is near one of the events: shape (bins,)."""
    step = series.step.total_seconds()
    middles = series.start.timestamp() + (np.arange(len(series.values)) + 0.5) * step
    near = np.zeros(len(middles), dtype=np.bool_)
    for event in events:
        begin, end = (event.start - BEFORE).timestamp(), (event.end + AFTER).timestamp()
        near[slice(*np.searchsorted(middles, [begin, end]))] = True
    return near


def _targets(forecasts: RollingForecasts, bins: int) -> npt.NDArray[np.int64]:
    """Return the target bins of the forecasts `bins` ahead from every origin after the split."""
    split = forecasts.plan.split
    return np.arange(split, len(forecasts.series.values) - bins + 1) + bins - 1


def _pairs(forecasts: RollingForecasts, targets: npt.NDArray[np.int64], bins: int) -> tuple[FloatArray, FloatArray]:
    """Return actual values and the forecasts of them `bins` ahead, shape (targets, quantiles)."""
    return forecasts.series.values[targets], forecasts.values[targets - bins + 1 - forecasts.first, bins - 1]


def _quantile_column(predicted: FloatArray, quantile: float) -> FloatArray:
    return predicted[:, QUANTILES.index(quantile)]
