"""Quantiles moved by their own recent errors (conformal): raw models are too narrow away from what they learned from.

Errors are differences of logarithms, by series and horizon. Only errors whose target time has passed count.
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
"""Errors that count, by horizon: three days at 5 minutes."""
UNSHIFTED_QUANTILE = 0.5
"""The median is a point forecast first: moving it buys coverage that nobody uses, for a larger error."""
MIN_ERRORS = 48
"""With fewer errors a quantile stays where the model put it."""
MAX_GROWTH = 4.0
_LARGEST = 20.0
_SMALL = 2.5


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far each quantile moves. horizons: ascending, bins ahead. shifts: shape (horizons, len(QUANTILES)), logs."""

    horizons: IntArray
    shifts: FloatArray

    def apply(self, values: FloatArray, horizons: IntArray, levels: Levels) -> FloatArray:
        """Move forecasts of shape (origins, horizons, len(QUANTILES))."""
        return shifted(values, self.at(horizons), levels)

    def at(self, horizons: IntArray) -> FloatArray:
        """The shifts of any horizons, by interpolation: shape (horizons, len(QUANTILES))."""
        columns = [np.interp(horizons, self.horizons, column) for column in self.shifts.T]
        return np.stack(columns, axis=1)


def shifted(values: FloatArray, shifts: FloatArray, levels: Levels) -> FloatArray:
    """Forecasts moved by `shifts` in logarithms, in order again. shifts: broadcasts to the forecasts' shape.

    A shift of more than MAX_TIMES is one from next to nothing to something, as zeros have it: it is meant for what is
    small, and of a forecast only as much as a quarter of the last week's mean is multiplied by more.
    """
    plain = levels.value_of(levels.log_of(values) + shifts)
    offset = levels.offset.reshape((-1,) + (1,) * (values.ndim - 1))
    small = np.minimum(values, _SMALL * offset)
    growth = np.exp(np.minimum(shifts, _LARGEST))
    bounded = (small + offset) * growth - offset + (values - small) * MAX_GROWTH
    return np.sort(np.where(growth > MAX_GROWTH, bounded, plain), axis=-1)


def log_errors(walk: WalkForward) -> FloatArray:
    """Log errors of each quantile: shape (origins, horizons, len(QUANTILES)).

    NaN where the actual is missing, where an origin had seen nothing above zero (no logarithm measures that), and near
    events, whose bands have errors of their own.
    """
    found = walk.levels.log_of(walk.actual)[:, :, None] - walk.levels.log_of(walk.quantiles)
    usable = np.broadcast_to(walk.levels.has_demand[:, None], walk.actual.shape)
    usable = usable if walk.near is None else usable & ~walk.near
    return np.where(usable[:, :, None], found, np.nan)


def fit_calibration(residuals: FloatArray, horizons: IntArray) -> Calibration:
    """From errors of shape (n, horizons, len(QUANTILES)), any order; NaN do not count."""
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
    """The last `window` errors of each horizon, oldest first, NaN in front.

    Shape (window, horizons, len(QUANTILES)).
    """
    found = log_errors(walk)
    kept = np.full((window, *found.shape[1:]), np.nan)
    for at in range(found.shape[1]):
        seen = found[np.isfinite(found[:, at, 0]), at][-window:]
        kept[window - len(seen) :, at] = seen
    return kept


def conformal_quantile(residuals: FloatArray, quantile: float, enough: int = MIN_ERRORS) -> FloatArray:
    """The conformal quantile of each row: the ceil((n + 1) q)-th of n; 0 where n is too small.

    residuals: shape (rows, window), NaN where there is none. Source: Vovk, Gammerman and Shafer, 2005.
    """
    ordered = np.sort(residuals, axis=1)
    return conformal_quantile_of_sorted(ordered, np.isfinite(ordered).sum(axis=1), quantile, enough)


def conformal_quantile_of_sorted(
    ordered: FloatArray, counts: IntArray, quantile: float, enough: int = MIN_ERRORS
) -> FloatArray:
    """empirical, for rows that are sorted (NaN last) and counted already."""
    rank = np.clip(np.ceil((counts + 1) * quantile).astype(int) - 1, 0, np.maximum(counts - 1, 0))
    return np.where(counts >= enough, ordered[np.arange(len(ordered)), rank], 0.0)


def calibrated(walk: WalkForward, window: int = WINDOW, stride: int = 6) -> WalkForward:
    """The same forecasts as they would have been calibrated at the time.

    The shift at an origin comes from errors of forecasts made before it whose targets had passed by then. It is renewed
    every `stride` origins. Origins must be consecutive bins.
    """
    found = log_errors(walk)
    shifts = np.zeros_like(found)
    at = np.arange(0, len(walk.origins), stride)
    for row, horizon in enumerate(walk.horizons):
        for column, quantile in enumerate(QUANTILES):
            if quantile == UNSHIFTED_QUANTILE:
                continue
            renewed = rolling_conformal_quantile(found[:, row, column], at - int(horizon) + 1, window, quantile)
            shifts[:, row, column] = np.repeat(renewed, stride)[: len(found)]
    if walk.near is not None:
        shifts[walk.near] = 0.0
    return replace(walk, quantiles=shifted(walk.quantiles, shifts, walk.levels))


def rolling_conformal_quantile(residuals: FloatArray, ends: IntArray, window: int, quantile: float) -> FloatArray:
    """The conformal quantile of the `window` residuals before each of `ends`."""
    cols = ends[:, None] + np.arange(-window, 0)
    return conformal_quantile(np.where(cols >= 0, residuals[np.maximum(cols, 0)], np.nan), quantile)


FIRST_DAY_WIDENING = 0.2


FULL_HISTORY = timedelta(days=7)


MAX_COLD_START_FACTOR = 2.0


def cold_start_factor(series: Series) -> float:
    """The factor 1 + 0.2 / days of observed demand, at most 2; 1 from seven days on. Nothing observed: 2."""
    days = np.isfinite(series.values).sum() * (series.step / timedelta(days=1))
    if days * timedelta(days=1) >= FULL_HISTORY:
        return 1.0
    return float(min(MAX_COLD_START_FACTOR, 1 + FIRST_DAY_WIDENING / days)) if days > 0 else MAX_COLD_START_FACTOR


def widened(values: FloatArray, factor: float, quantiles: tuple[float, ...] = QUANTILES) -> FloatArray:
    """Forecasts with the quantiles above the median scaled up; values: shape (…, len(quantiles))."""
    return values * np.where(np.array(quantiles) > 0.5, factor, 1.0)
