"""Conformal calibration: quantiles are shifted by the recent errors of earlier forecasts, as raw models are too narrow.

Errors are differences of logarithms, by series and horizon. Only errors whose target time has passed count. Live
forecasts, backtests, the tuner and the quality gate calibrate with the same functions: `calibrate` here, and
`forecasting.bands` for everything after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from forecasting.forecast import QUANTILES
from forecasting.levels import Levels
from forecasting.panel import BoolArray, IntArray
from forecasting.series import FloatArray
from forecasting.walk_forward import WalkForward

WINDOW = 864
"""Bins of origins whose errors count, for each horizon: three days at 5 minutes."""
UNSHIFTED_QUANTILE = 0.5
"""The median is a point forecast: a shift gives it a coverage that nobody needs, for a larger error."""
_SHIFTED = [at for at, quantile in enumerate(QUANTILES) if quantile != UNSHIFTED_QUANTILE]
MIN_ERRORS = 48
"""With fewer errors a quantile is not shifted."""
MAX_GROWTH = 4.0
_MAX_SHIFT = 20.0
_SMALL = 2.5
_MINUTE = timedelta(minutes=1)
EVALUATION_HORIZONS = (5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, 60 * _MINUTE)
"""The horizons at which the quality gate compares models."""
CALIBRATION_HORIZONS = (*EVALUATION_HORIZONS, 120 * _MINUTE, 180 * _MINUTE)
"""The horizons at which errors are measured; shifts between them are interpolated."""


@dataclass(frozen=True, slots=True)
class ErrorWindow:
    """The earlier origins whose errors calibrate a forecast: those of the last `bins` bins with a known target.

    spacing: bins between two of these origins. Errors of adjacent origins are correlated, so that every third has
    nearly the same quantiles.
    """

    bins: int = WINDOW
    spacing: int = 1

    @property
    def min_errors(self) -> int:
        """The number of errors below which quantiles are not shifted."""
        return -(-MIN_ERRORS // self.spacing)

    def distances(self, max_horizon: int) -> IntArray:
        """Return the distances from an origin to all earlier ones of horizons up to `max_horizon`, descending."""
        return np.arange(1, max_horizon + self.bins, self.spacing)[::-1]

    def contains(self, distances: IntArray, horizons: IntArray) -> BoolArray:
        """Whether the errors of origins at some distances count for each horizon: shape (distances, horizons)."""
        return (distances[:, None] >= horizons) & (distances[:, None] < horizons + self.bins)


ALL_ORIGINS = ErrorWindow()
NAIVE_ORIGINS = ErrorWindow(spacing=3)
"""Naive models measure their errors again for each forecast; every third origin limits the time that this takes."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The shift of each quantile. horizons: ascending, bins ahead. shifts: shape (horizons, len(QUANTILES)), logs."""

    horizons: IntArray
    shifts: FloatArray

    def at(self, horizons: IntArray) -> FloatArray:
        """Return the shifts at any horizons, interpolated: shape (horizons, len(QUANTILES))."""
        return interpolation(self.horizons, horizons) @ self.shifts


def calibrate(raw: FloatArray, shifts: FloatArray, levels: Levels, near: BoolArray | None = None) -> FloatArray:
    """Return raw quantiles shifted in logarithms; targets near known events keep their own bands.

    raw: shape (origins, horizons, len(QUANTILES)). shifts: broadcasts to it. near: shape (origins, horizons).
    """
    values = shifted(raw, shifts, levels)
    return values if near is None else np.where(near[..., None], raw, values)


def shifted(values: FloatArray, shifts: FloatArray, levels: Levels) -> FloatArray:
    """Return forecasts shifted in logarithms and sorted again. shifts: broadcasts to the shape of the forecasts.

    A shift of more than MAX_GROWTH leads from nearly zero to something: series with many zeros have these. It is
    meant for small values, so only the part of a forecast below a quarter of the last week's mean grows by more.
    """
    plain = levels.value_of(levels.log_of(values) + shifts)
    offset = levels.offset.reshape((-1,) + (1,) * (values.ndim - 1))
    small = np.minimum(values, _SMALL * offset)
    growth = np.exp(np.minimum(shifts, _MAX_SHIFT))
    bounded = (small + offset) * growth - offset + (values - small) * MAX_GROWTH
    return np.sort(np.where(growth > MAX_GROWTH, bounded, plain), axis=-1)


def interpolation(known: IntArray, horizons: IntArray) -> FloatArray:
    """Return weights that interpolate from known horizons to others: shape (horizons, known).

    Horizons outside the known ones get the value of the nearest.
    """
    return np.stack([np.interp(horizons, known, unit) for unit in np.eye(len(known))], axis=1)


def bins_ahead(durations: Sequence[timedelta], step: timedelta) -> IntArray:
    """Return durations in bins, at least 1, ascending and distinct."""
    return np.unique([max(1, round(duration / step)) for duration in durations])


def measured_horizons(step: timedelta, steps: int) -> IntArray:
    """Return the horizons at which the errors of forecasts over `steps` bins are measured; the last one is `steps`."""
    horizons = bins_ahead(CALIBRATION_HORIZONS, step)
    return np.append(horizons[horizons < steps], steps)


def log_errors(walk: WalkForward) -> FloatArray:
    """Return log errors of each quantile: shape (origins, horizons, len(QUANTILES)).

    NaN where the actual is missing, where only zeros precede the origin (a logarithm has no scale there), and near
    events, whose bands have errors of their own.
    """
    differences = walk.levels.log_of(walk.actual)[:, :, None] - walk.levels.log_of(walk.quantiles)
    usable = np.broadcast_to(walk.levels.has_demand[:, None], walk.actual.shape)
    usable = usable if walk.near is None else usable & ~walk.near
    return np.where(usable[:, :, None], differences, np.nan)


def fit_calibration(residuals: FloatArray, horizons: IntArray) -> Calibration:
    """Return the calibration by errors of shape (n, horizons, len(QUANTILES)), in any order; NaN do not count."""
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
    """Return the last `window` errors of each horizon, oldest first, NaN in front.

    Shape (window, horizons, len(QUANTILES)).
    """
    all_errors = log_errors(walk)
    newest = np.full((window, *all_errors.shape[1:]), np.nan)
    for at in range(all_errors.shape[1]):
        known = all_errors[np.isfinite(all_errors[:, at, 0]), at][-window:]
        newest[window - len(known) :, at] = known
    return newest


def conformal_quantile_of_sorted(
    ordered: FloatArray, counts: IntArray, quantile: float, min_errors: int = MIN_ERRORS
) -> FloatArray:
    """Return the conformal quantile of each row: the ceil((n + 1) q)-th of n errors; 0 where n < min_errors.

    ordered: sorted rows, NaN last. counts: the errors of each row. Source: Vovk, Gammerman and Shafer, 2005.
    """
    return np.where(counts >= min_errors, ordered[np.arange(len(ordered)), _conformal_rank(counts, quantile)], 0.0)


def _conformal_rank(counts: IntArray, quantile: float) -> IntArray:
    return np.maximum(np.minimum(np.ceil((counts + 1) * quantile).astype(int), counts) - 1, 0)


def calibrated(
    walk: WalkForward, window: ErrorWindow = ALL_ORIGINS, stride: int = 6, measured: IntArray | None = None
) -> WalkForward:
    """Return the forecasts as they would have been calibrated at the time.

    The shifts at an origin come from errors of forecasts made before it whose targets had passed by then. They are
    computed again every `stride` origins, which must be consecutive bins. measured: the horizons of the walk at which
    errors are measured; None: all of them.
    """
    errors = log_errors(walk)
    columns = np.arange(len(walk.horizons))
    columns = columns if measured is None else columns[np.isin(walk.horizons, measured)]
    renewals = np.arange(0, len(walk.origins), stride)
    shifts = np.zeros((len(renewals), len(columns), len(QUANTILES)))
    for row, column in enumerate(columns):
        horizon = int(walk.horizons[column])
        of_horizon = errors[:, column, _SHIFTED]
        shifts[:, row, _SHIFTED] = rolling_shifts(
            of_horizon, renewals, horizon, [QUANTILES[at] for at in _SHIFTED], window
        )
    if measured is not None:
        shifts = interpolation(walk.horizons[columns], walk.horizons) @ shifts
    shifts = np.repeat(shifts, stride, axis=0)[: len(errors)]
    return replace(walk, quantiles=calibrate(walk.quantiles, shifts, walk.levels, walk.near))


def rolling_shifts(
    errors: FloatArray, origins: IntArray, horizon: int, quantiles: Sequence[float], window: ErrorWindow = ALL_ORIGINS
) -> FloatArray:
    """Return the conformal quantiles of the errors known at some origins: shape (origins, quantiles).

    errors: of one horizon at consecutive origins, by quantile: shape (n, quantiles). origins: positions among these.
    """
    shifts = np.zeros((len(origins), len(quantiles)))
    known = _KnownErrors.at(errors[:, 0], origins, horizon, window)
    for column, quantile in enumerate(quantiles):
        # All quantiles of a naive model are its point forecast, with the same errors.
        if column and not np.array_equal(errors[:, column], errors[:, column - 1], equal_nan=True):
            known = _KnownErrors.at(errors[:, column], origins, horizon, window)
        shifts[:, column] = known.conformal_quantile(quantile, window.min_errors)
    return shifts


@dataclass(frozen=True, slots=True)
class _KnownErrors:
    """The errors known at some origins, as ranks: sorting 32-bit integers takes a third of the time of floats.

    ordered: all errors, ascending, NaN last. ranks: positions among these, ascending, shape (origins, window).
    counts: shape (origins,), the number of errors that are not NaN.
    """

    ordered: FloatArray
    ranks: npt.NDArray[np.int32]
    counts: IntArray

    @classmethod
    def at(cls, errors: FloatArray, origins: IntArray, horizon: int, window: ErrorWindow) -> "_KnownErrors":
        distances = window.distances(horizon)
        distances = distances[distances >= horizon]
        padded = np.concatenate([np.full(distances[0], np.nan), errors])
        order = np.argsort(padded)
        ranks = np.empty(len(padded), np.int32)
        ranks[order] = np.arange(len(padded))

        def windows(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            # A view of each origin's window: indices of each element take twice as long.
            width = int(distances[0] - distances[-1]) + 1
            return sliding_window_view(values, width)[:, :: window.spacing][origins]

        counts = windows(np.isfinite(padded)).sum(axis=1)
        return cls(padded[order], np.sort(windows(ranks), axis=1), counts)

    def conformal_quantile(self, quantile: float, min_errors: int) -> FloatArray:
        """Return the conformal quantile at each origin; 0 where fewer than `min_errors` are known."""
        nth = self.ranks[np.arange(len(self.ranks)), _conformal_rank(self.counts, quantile)]
        return np.where(self.counts >= min_errors, self.ordered[nth], 0.0)
