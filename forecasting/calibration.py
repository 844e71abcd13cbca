"""Conformal calibration: quantiles are shifted by their recent errors, and widened while there is little history.

Raw bands are too narrow on demand that the model was not trained on. Errors are differences of logarithms, by series
and horizon. Only errors whose target time has passed count.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.levels import Levels
from forecasting.panel import IntArray
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward

WINDOW = 864
"""Number of newest errors that count, by horizon: three days at 5 minutes."""
UNSHIFTED_QUANTILE = 0.5
"""The median is a point forecast and not shifted: a shift improves only its coverage, and raises its error."""
MIN_ERRORS = 48
"""With fewer errors a quantile is not shifted."""
MAX_GROWTH = 4.0
"""Maximum factor of a shift, except on the small part of a forecast (see shifted)."""
_MAX_SHIFT = 20.0
_SMALL_OFFSETS = 2.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """Shifts of quantiles. horizons: bins ahead, ascending. shifts: logarithms, shape (horizons, len(QUANTILES))."""

    horizons: IntArray
    shifts: FloatArray

    def apply(self, values: FloatArray, horizons: IntArray, levels: Levels) -> FloatArray:
        """Return shifted forecasts; values: shape (origins, horizons, len(QUANTILES))."""
        return shifted(values, self.at(horizons), levels)

    def at(self, horizons: IntArray) -> FloatArray:
        """Return the shifts of any horizons, interpolated: shape (horizons, len(QUANTILES))."""
        columns = [np.interp(horizons, self.horizons, column) for column in self.shifts.T]
        return np.stack(columns, axis=1)


def shifted(values: FloatArray, shifts: FloatArray, levels: Levels) -> FloatArray:
    """Return forecasts shifted in logarithms and sorted again. shifts: broadcasts to the shape of the forecasts.

    Shifts of more than MAX_GROWTH come from demand near zero. They apply to small values only: the part of a forecast
    up to a quarter of the last week's mean. The rest is multiplied by MAX_GROWTH at most.
    """
    plain = levels.value_of(levels.log_of(values) + shifts)
    offset = levels.offset.reshape((-1,) + (1,) * (values.ndim - 1))
    small = np.minimum(values, _SMALL_OFFSETS * offset)
    growth = np.exp(np.minimum(shifts, _MAX_SHIFT))
    bounded = (small + offset) * growth - offset + (values - small) * MAX_GROWTH
    return np.sort(np.where(growth > MAX_GROWTH, bounded, plain), axis=-1)


def log_errors(walk: WalkForward) -> FloatArray:
    """Return the log errors of each quantile: shape (origins, horizons, len(QUANTILES)).

    NaN where the actual value is missing, where no demand above zero precedes the origin (the logarithm is undefined),
    and near events, whose bands are calibrated separately.
    """
    residuals = walk.levels.log_of(walk.actual)[:, :, None] - walk.levels.log_of(walk.quantiles)
    usable = np.broadcast_to(walk.levels.has_demand[:, None], walk.actual.shape)
    usable = usable if walk.near is None else usable & ~walk.near
    return np.where(usable[:, :, None], residuals, np.nan)


def fit_calibration(residuals: FloatArray, horizons: IntArray) -> Calibration:
    """Return the calibration from log errors of shape (n, horizons, len(QUANTILES)) in any order; NaN do not count."""
    ordered = np.sort(residuals.transpose(1, 2, 0), axis=2)
    counts = np.isfinite(ordered).sum(axis=2)
    shifts = [
        np.zeros(len(horizons))
        if quantile == UNSHIFTED_QUANTILE
        else conformal_quantile_of_sorted(ordered[:, at], counts[:, at], quantile)
        for at, quantile in enumerate(QUANTILES)
    ]
    return Calibration(horizons, np.stack(shifts, axis=1))


def newest_errors(walk: WalkForward, window: int = WINDOW) -> FloatArray:
    """Return the last `window` log errors of each horizon, oldest first, padded with NaN in front.

    Shape (window, horizons, len(QUANTILES)).
    """
    residuals = log_errors(walk)
    newest = np.full((window, *residuals.shape[1:]), np.nan)
    for horizon in range(residuals.shape[1]):
        known = residuals[np.isfinite(residuals[:, horizon, 0]), horizon][-window:]
        newest[window - len(known) :, horizon] = known
    return newest


def conformal_quantile(residuals: FloatArray, quantile: float, min_errors: int = MIN_ERRORS) -> FloatArray:
    """Return the conformal quantile of each row: the ceil((n + 1) q)-th of n values; 0 if n is below min_errors.

    residuals: shape (rows, window), padded with NaN. Source: Vovk, Gammerman and Shafer, 2005.
    """
    ordered = np.sort(residuals, axis=1)
    return conformal_quantile_of_sorted(ordered, np.isfinite(ordered).sum(axis=1), quantile, min_errors)


def conformal_quantile_of_sorted(
    ordered: FloatArray, counts: IntArray, quantile: float, min_errors: int = MIN_ERRORS
) -> FloatArray:
    """Return conformal quantiles of rows that are already sorted (NaN last) and counted."""
    rank = np.clip(np.ceil((counts + 1) * quantile).astype(int) - 1, 0, np.maximum(counts - 1, 0))
    return np.where(counts >= min_errors, ordered[np.arange(len(ordered)), rank], 0.0)


def calibrated(walk: WalkForward, window: int = WINDOW, stride: int = 6) -> WalkForward:
    """Return the forecasts as they would have been calibrated at their origins.

    The shift at an origin comes from the errors of earlier forecasts whose targets had passed. It is updated every
    `stride` origins. Origins must be consecutive bins.
    """
    residuals = log_errors(walk)
    shifts = np.zeros_like(residuals)
    updates = np.arange(0, len(walk.origins), stride)
    for row, horizon in enumerate(walk.horizons):
        for column, quantile in enumerate(QUANTILES):
            if quantile == UNSHIFTED_QUANTILE:
                continue
            ends = updates - int(horizon) + 1
            updated = rolling_conformal_quantile(residuals[:, row, column], ends, window, quantile)
            shifts[:, row, column] = np.repeat(updated, stride)[: len(residuals)]
    if walk.near is not None:
        shifts[walk.near] = 0.0
    return replace(walk, quantiles=shifted(walk.quantiles, shifts, walk.levels))


def rolling_conformal_quantile(residuals: FloatArray, ends: IntArray, window: int, quantile: float) -> FloatArray:
    """Return the conformal quantile of the `window` residuals before each of `ends`."""
    cols = ends[:, None] + np.arange(-window, 0)
    return conformal_quantile(np.where(cols >= 0, residuals[np.maximum(cols, 0)], np.nan), quantile)


FIRST_DAY_WIDENING = 0.2


FULL_HISTORY = timedelta(days=7)


MAX_COLD_START_FACTOR = 2.0


def cold_start_factor(series: Series) -> float:
    """Return 1 + 0.2 / (days of observed demand), at most 2; 1 from seven days on, 2 without observed demand."""
    days = np.isfinite(series.values).sum() * (series.step / timedelta(days=1))
    if days * timedelta(days=1) >= FULL_HISTORY:
        return 1.0
    return float(min(MAX_COLD_START_FACTOR, 1 + FIRST_DAY_WIDENING / days)) if days > 0 else MAX_COLD_START_FACTOR


def widened(values: FloatArray, factor: float, quantiles: tuple[float, ...] = QUANTILES) -> FloatArray:
    """Return forecasts with the quantiles above the median multiplied by a factor; values: (…, quantiles)."""
    return values * np.where(np.array(quantiles) > 0.5, factor, 1.0)
