"""How good the forecasts were, by horizon, beside the naive ones."""

from dataclasses import dataclass

import numpy as np

from forecasting.error_measures import coverage, mape, mase, pinball, wape
from forecasting.forecast import QUANTILES
from forecasting.panel import DAY
from forecasting.series import FloatArray
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts

JUDGED = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one horizon; NaN where nothing can be said. coverage, pinball: by quantile."""

    wape: float
    mape: float
    mase: float
    coverage: dict[float, float]
    pinball: dict[float, float]


def accuracy(forecasts: RollingForecasts, bins: int) -> Accuracy:
    """Forecasts `bins` ahead, from every origin behind the split."""
    actual, predicted = _pairs(forecasts, bins)
    history = forecasts.series.values[: forecasts.plan.split]
    day = max(1, round(DAY / forecasts.series.step))
    median = predicted[:, QUANTILES.index(0.5)]
    return Accuracy(
        wape=wape(actual, median),
        mape=mape(actual, median),
        mase=mase(actual, median, history, day if len(history) > day else 1),
        coverage={q: coverage(actual, predicted[:, QUANTILES.index(q)]) for q in JUDGED},
        pinball={q: pinball(actual, predicted[:, QUANTILES.index(q)], q) for q in JUDGED},
    )


def naive_wape(forecasts: RollingForecasts, name: str, bins: int) -> float:
    """Of a naive model over the same origins."""
    return accuracy(forecasts.of_baseline(name), bins).wape


def _pairs(forecasts: RollingForecasts, bins: int) -> tuple[FloatArray, FloatArray]:
    values, split = forecasts.series.values, forecasts.plan.split
    origins = np.arange(split, len(values) - bins + 1)
    return values[origins + bins - 1], forecasts.values[origins - forecasts.first, bins - 1]
