"""How far forecasts near events miss: a pool of their own, as ordinary hours say nothing of it."""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.panel import IntArray
from forecasting.series import FloatArray

_HALF_LIFE = 8.0
"""In events: as demand grows or fades, so do the misses."""
_MIN_VARIANCE = 1e-3
_SLIGHT = 1e-4
_HOUR = 60.0
_MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True, slots=True)
class Bands:
    """Quantiles of errors in logarithms, in units of a spread that grows with the horizon and the change of the effect.

    hour: variance an hour ahead. change: variance for each squared log that the effect changes by from origin to
    target. scores: one for each of QUANTILES, ascending. samples: forecasts that it was learned from.
    """

    hour: float
    change: float
    scores: tuple[float, ...]
    samples: int

    @classmethod
    def fit(cls, errors: FloatArray, minutes: FloatArray, change: FloatArray, owner: IntArray) -> "Bands | None":
        """From log errors of medians near events; None where there are too few. All shapes (rows,).

        owner: the event of each row, ascending in time; the newest events count most, each as much as it has rows.
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
        found = cls(float(variances[0]), float(variances[1]), (), len(errors))
        scores = _weighted(errors / found.spread(minutes, change), weight)
        return cls(found.hour, found.change, tuple(scores.tolist()), len(errors))

    def spread(self, minutes: FloatArray, change: FloatArray) -> FloatArray:
        """The unit of the scores; shapes broadcast."""
        return np.sqrt(self.hour * minutes / _HOUR + self.change * change**2 + _SLIGHT)

    def around(self, median: FloatArray, minutes: FloatArray, change: FloatArray) -> FloatArray:
        """Quantiles around medians, the median itself where it is: shape (…, len(QUANTILES))."""
        scores = np.array(self.scores)
        factors = np.exp(np.clip(self.spread(minutes, change)[..., None] * scores, -3.0, 3.0))
        found = median[..., None] * factors
        found[..., _MEDIAN] = median
        found[..., :_MEDIAN] = np.minimum(found[..., :_MEDIAN], median[..., None])
        found[..., _MEDIAN:] = np.maximum(found[..., _MEDIAN:], median[..., None])
        return np.sort(found, axis=-1)


def _weighted(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted quantiles, one for each of QUANTILES."""
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    middle = upto - weights[order] / 2
    return np.interp(np.array(QUANTILES) * upto[-1], middle, values[order])
