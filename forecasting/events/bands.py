"""Bands of forecasts near events, from separate errors: errors away from events do not apply to them."""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.panel import IntArray
from forecasting.series import FloatArray

_HALF_LIFE = 8.0
"""In events. As demand grows or declines, so do the errors."""
_MIN_VARIANCE = 1e-3
_BASE_VARIANCE = 1e-4
_HOUR = 60.0
_MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True, slots=True)
class Bands:
    """Quantiles of log errors, in units of a spread that grows with the horizon and with the change of the effect.

    hour: variance one hour ahead. change: variance per squared log change of the effect from origin to target.
    scores: for each of QUANTILES, ascending. samples: number of forecasts that the bands were fitted to.
    """

    hour: float
    change: float
    scores: tuple[float, ...]
    samples: int

    @classmethod
    def fit(cls, errors: FloatArray, minutes: FloatArray, change: FloatArray, owner: IntArray) -> "Bands | None":
        """Return bands fitted to the log errors of medians near events; None if there are too few. All shapes (rows,).

        owner: the event of each row, ascending in time. Newer events have more weight; the weight of an event is shared
        by its rows.
        """
        known = np.isfinite(errors)
        errors, minutes, change, owner = errors[known], minutes[known], change[known], owner[known]
        if len(errors) < len(QUANTILES) * 4:
            return None
        _, rank, counts = np.unique(owner, return_inverse=True, return_counts=True)
        weight = 0.5 ** ((len(counts) - 1 - rank) / _HALF_LIFE) / counts[rank]
        parts = np.stack([minutes / _HOUR, change**2], axis=1) * np.sqrt(weight)[:, None]
        squares = np.minimum(errors**2, 1.0) * np.sqrt(weight)
        variances = np.maximum(np.linalg.lstsq(parts, squares, rcond=None)[0], _MIN_VARIANCE)
        unscored = cls(float(variances[0]), float(variances[1]), (), len(errors))
        scores = _weighted_quantiles(errors / unscored.spread(minutes, change), weight)
        return cls(unscored.hour, unscored.change, tuple(scores.tolist()), len(errors))

    def spread(self, minutes: FloatArray, change: FloatArray) -> FloatArray:
        """Return the spread, the unit of the scores. Shapes broadcast."""
        return np.sqrt(self.hour * minutes / _HOUR + self.change * change**2 + _BASE_VARIANCE)

    def around(self, median: FloatArray, minutes: FloatArray, change: FloatArray) -> FloatArray:
        """Return quantiles around medians, with the medians unchanged: shape (…, len(QUANTILES))."""
        scores = np.array(self.scores)
        factors = np.exp(np.clip(self.spread(minutes, change)[..., None] * scores, -3.0, 3.0))
        quantiles = median[..., None] * factors
        quantiles[..., _MEDIAN] = median
        quantiles[..., :_MEDIAN] = np.minimum(quantiles[..., :_MEDIAN], median[..., None])
        quantiles[..., _MEDIAN:] = np.maximum(quantiles[..., _MEDIAN:], median[..., None])
        return np.sort(quantiles, axis=-1)


def _weighted_quantiles(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted quantiles of values, for each of QUANTILES."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    middle = cumulative - weights[order] / 2
    return np.interp(np.array(QUANTILES) * cumulative[-1], middle, values[order])
