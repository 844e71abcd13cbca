"""Error measures of forecasts, with a common signature: actual and forecast values, in the unit of the series.

Pairs with a NaN are left out; a measure without pairs is NaN.
"""

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray


def wape(actual: FloatArray, predicted: FloatArray) -> float:
    """Return the sum of absolute errors over the sum of actuals, a ratio; NaN if all actuals are zero.

    Shapes are equal. Source: Hyndman and Koehler, Another look at measures of forecast accuracy, 2006 (as MAD/mean).

    >>> wape(np.array([10.0, 30.0]), np.array([12.0, 26.0]))
    0.15
    """
    actual, predicted = _pairs(actual, predicted)
    return _ratio(float(np.abs(predicted - actual).sum()), float(actual.sum()))


def mape(actual: FloatArray, predicted: FloatArray) -> float:
    """Return the mean of absolute errors relative to the actual, over the actuals above zero.

    Source: Hyndman and Koehler, 2006; undefined at zero, so zeros are left out; prefer wape.

    >>> mape(np.array([10.0, 40.0, 0.0]), np.array([12.0, 32.0, 5.0]))
    0.2
    """
    actual, predicted = _pairs(actual, predicted)
    above = actual > 0
    return float((np.abs(predicted - actual)[above] / actual[above]).mean()) if above.any() else float("nan")


def mase(actual: FloatArray, predicted: FloatArray, history: FloatArray, season: int = 1) -> float:
    """Return the mean absolute error over that of the seasonal naive forecast on `history`; below 1 is better.

    history: the training data, shape (n,), n > season. season: bins. Source: Hyndman and Koehler, 2006.

    >>> mase(np.array([10.0]), np.array([11.0]), np.array([1.0, 3.0, 5.0]))
    0.5
    """
    actual, predicted = _pairs(actual, predicted)
    steps = np.abs(history[season:] - history[:-season])
    steps = steps[np.isfinite(steps)]
    if not len(actual) or not len(steps):
        return float("nan")
    return _ratio(float(np.abs(predicted - actual).mean()), float(steps.mean()))


def pinball(actual: FloatArray, predicted: FloatArray, quantile: float) -> float:
    """Return the mean pinball loss of a quantile forecast, in the unit of the series.

    Each unit below the actual costs quantile, each unit above costs 1 - quantile. Raises ValueError for a quantile
    outside (0, 1). Source: Koenker and Bassett, Regression Quantiles, 1978.

    >>> round(pinball(np.array([10.0]), np.array([8.0]), quantile=0.9), 3)
    1.8
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile {quantile} is out of range; choose one between 0 and 1")
    actual, predicted = _pairs(actual, predicted)
    if not len(actual):
        return float("nan")
    short = actual - predicted
    return float(np.maximum(quantile * short, (quantile - 1) * short).mean())


def coverage(actual: FloatArray, predicted: FloatArray) -> float:
    """Return the share of actuals at or below the forecast; 0.9 for a calibrated 0.9 quantile.

    Source: Gneiting, Balabdaoui and Raftery, Probabilistic forecasts, calibration and sharpness, 2007.

    >>> coverage(np.array([1.0, 2.0, 3.0, 9.0]), np.array([2.0, 2.0, 4.0, 4.0]))
    0.75
    """
    actual, predicted = _pairs(actual, predicted)
    return float((actual <= predicted).mean()) if len(actual) else float("nan")


def bias(actual: FloatArray, predicted: FloatArray) -> float:
    """Return the sum of errors over the sum of actuals, a ratio; above zero the forecast is too high.

    >>> bias(np.array([10.0, 30.0]), np.array([12.0, 30.0]))
    0.05
    """
    actual, predicted = _pairs(actual, predicted)
    return _ratio(float((predicted - actual).sum()), float(actual.sum()))


def _pairs(actual: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    if actual.shape != predicted.shape:
        raise ValueError(f"actual and forecast values differ in shape: {actual.shape} and {predicted.shape}")
    both: npt.NDArray[np.bool_] = np.isfinite(actual) & np.isfinite(predicted)
    return actual[both], predicted[both]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")
