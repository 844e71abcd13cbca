"""Errors of live forecasts, measured as their actuals arrive, so that bands stay calibrated between two trainings."""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.calibration import WINDOW, Calibration, fit_calibration
from forecasting.forecast import QUANTILES
from forecasting.levels import Levels
from forecasting.panel import BoolArray, IntArray
from forecasting.series import FloatArray, Series

_MAX_PENDING = 48
"""Forecasts that wait for their actuals: three hours of bins of 5 minutes, and a few more."""
_NO_ORIGIN = -1
_RECALIBRATION_BINS = 3
"""Bins of new errors after which the calibration is computed again: sorting is expensive."""
_MIN_ERRORS_TO_DELAY = 288
"""With fewer known errors the calibration is computed again after each bin."""


@dataclass(frozen=True, slots=True)
class IssuedForecast:
    """A raw forecast that waits for its actuals.

    origin: epoch seconds. scale, offset: level + offset and offset at the origin, for logarithms. logs: shape
    (horizons, len(QUANTILES)), NaN where nothing was forecast.
    """

    origin: int
    scale: float
    offset: float
    logs: FloatArray


class ErrorTracker:
    """The newest errors of one model of one series, in about 60 kB. Not thread-safe; LiveErrors holds a lock.

    It starts with the errors of the training's holdout days, which live errors replace one by one. A forecast counts
    when its target time has passed and the series that is then observed has a bin of exactly that time; forecasts less
    than a bin apart count once.
    """

    def __init__(self, horizons: IntArray, residuals: FloatArray) -> None:
        self._horizons = horizons
        # Half precision: logarithms below 1 are precise to 0.0005, and thousands of these arrays are in memory.
        self._errors = np.full((len(horizons), len(QUANTILES), WINDOW), np.nan, dtype=np.float16)
        seeds = residuals[-WINDOW:].transpose(1, 2, 0)
        self._errors[:, :, WINDOW - seeds.shape[2] :] = seeds
        self._oldest = np.zeros(len(horizons), dtype=np.int64)
        self._origins = np.full(_MAX_PENDING, _NO_ORIGIN, dtype=np.int64)
        self._scales = np.zeros((_MAX_PENDING, 2))
        self._logs = np.full((_MAX_PENDING, len(horizons), len(QUANTILES)), np.nan, dtype=np.float32)
        self._next = 0
        self._calibration: Calibration | None = None
        self._new_errors = 0
        self._known = int(np.isfinite(seeds[:, 0]).sum(axis=1).max(initial=0))

    @property
    def horizons(self) -> IntArray:
        """The horizons that are tracked, in bins ahead."""
        return self._horizons

    @property
    def memory_bytes(self) -> int:
        """The size of its arrays."""
        arrays = (self._errors, self._oldest, self._origins, self._scales, self._logs)
        return sum(array.nbytes for array in arrays)

    def calibration(self) -> Calibration:
        """Return the shifts from the known errors; errors of the last bins may be missing (_RECALIBRATION_BINS)."""
        min_new_errors = _RECALIBRATION_BINS * len(self._horizons) if self._known >= _MIN_ERRORS_TO_DELAY else 1
        if self._calibration is None or self._new_errors >= min_new_errors:
            self._calibration = fit_calibration(self._errors.astype(np.float64).transpose(2, 0, 1), self._horizons)
            self._new_errors = 0
        return self._calibration

    def add(self, forecast: IssuedForecast, step: int) -> None:
        """Keep a raw forecast until its actuals arrive, unless one of the same bin is kept already."""
        newest = self._origins[self._next - 1]
        if newest != _NO_ORIGIN and forecast.origin < newest + step:
            return
        self._origins[self._next] = forecast.origin
        self._scales[self._next] = forecast.scale, forecast.offset
        self._logs[self._next] = forecast.logs
        self._next = (self._next + 1) % _MAX_PENDING

    def observe(self, series: Series) -> None:
        """Compare the waiting forecasts with their actuals: only bins that lie entirely within `series`."""
        begin, step = round(series.start.timestamp()), round(series.step.total_seconds())
        bins, remainders = np.divmod(self._origins[:, None] + (self._horizons - 1) * step - begin, step)
        waiting = np.isfinite(self._logs[:, :, 0]) & (self._origins != _NO_ORIGIN)[:, None]
        arrived: npt.NDArray[np.bool_] = waiting & (remainders == 0) & (bins >= 0) & (bins < len(series.values))
        for at, horizon in np.argwhere(arrived):
            self._compare(int(at), int(horizon), float(series.values[bins[at, horizon]]))

    def _compare(self, at: int, horizon: int, actual: float) -> None:
        """Record the error of one horizon of a waiting forecast; a missing actual leaves no error."""
        logs = self._logs[at, horizon].copy()
        self._logs[at, horizon] = np.nan
        if not np.isfinite(actual):
            return
        scale, offset = self._scales[at]
        self._errors[horizon, :, self._oldest[horizon]] = np.log((max(actual, 0.0) + offset) / scale) - logs
        self._oldest[horizon] = (self._oldest[horizon] + 1) % WINDOW
        self._known += horizon == 0
        self._new_errors += 1


def no_errors(horizons: IntArray) -> FloatArray:
    """Return an empty array of errors: shape (0, horizons, len(QUANTILES))."""
    return np.empty((0, len(horizons), len(QUANTILES)))


class LiveErrors:
    """An ErrorTracker that is safe to use from several threads."""

    def __init__(self, horizons: IntArray, residuals: FloatArray) -> None:
        self._tracker = ErrorTracker(horizons, residuals)
        self._lock = threading.Lock()

    @property
    def memory_bytes(self) -> int:
        """The size of its arrays."""
        return self._tracker.memory_bytes

    @property
    def horizons(self) -> IntArray:
        """The horizons at which errors are measured, in bins ahead."""
        return self._tracker.horizons

    def known_calibration(self) -> Calibration:
        """Return the shifts from the known errors, without tracking a forecast."""
        with self._lock:
            return self._tracker.calibration()

    def calibration(
        self, raw: FloatArray, levels: Levels, series: Series, near: BoolArray | None = None
    ) -> Calibration:
        """Return the shifts for a forecast, after the errors of earlier forecasts were counted.

        raw: the model's forecast from the end of `series`, shape (1, steps, quantiles). Its errors are tracked.
        near: steps near a known event, which have bands of their own: their errors do not count.
        """
        step = round(series.step.total_seconds())
        with self._lock:
            tracker = self._tracker
            tracker.observe(series)
            tracked = tracker.horizons
            logs = np.full((len(tracked), len(QUANTILES)), np.nan)
            known = (tracked <= raw.shape[1]) & levels.has_demand[0]
            if near is not None:
                known &= ~near[np.minimum(tracked, raw.shape[1]) - 1]
            logs[known] = levels.log_of(raw)[0, tracked[known] - 1]
            scale = float(levels.level[0] + levels.offset[0])
            tracker.add(IssuedForecast(round(series.end.timestamp()), scale, float(levels.offset[0]), logs), step)
            return tracker.calibration()
