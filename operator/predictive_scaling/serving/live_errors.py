"""Errors of live forecasts as their actuals arrive, so that bands stay right between two trainings."""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.calibration import WINDOW, Calibration, calibration_of
from forecasting.forecast import QUANTILES
from forecasting.levels import Levels
from forecasting.panel import BoolArray, IntArray
from forecasting.series import FloatArray, Series

_PENDING = 48
"""Forecasts that may wait: three hours of bins of 5 minutes, and a few more."""
_NOTHING = -1
_RENEWED_AFTER_BINS = 3
"""New errors of so many bins wait for each other: sorting is what costs."""
_SOON = 288
"""But while fewer errors are known, each bin counts at once."""


@dataclass(frozen=True, slots=True)
class IssuedForecast:
    """A raw forecast that waits for its actuals.

    origin: epoch seconds. whole, offset: level + offset and offset at the origin, for logarithms. logs: shape
    (horizons, len(QUANTILES)), NaN where nothing was forecast.
    """

    origin: int
    whole: float
    offset: float
    logs: FloatArray


class ErrorTracker:
    """The newest errors of one model of one series, in about 60 kB. Not thread-safe; its shelf holds a lock.

    Seeded with the training's errors on days that it had not seen, which the live ones replace one by one. A forecast
    counts when its target time has passed and the series that is then observed has a bin of exactly that time;
    forecasts less than a bin apart count once.
    """

    def __init__(self, horizons: IntArray, residuals: FloatArray) -> None:
        self._horizons = horizons
        # Half precision: a logarithm below 1 is known to half a thousandth, and thousands of these are in memory.
        self._errors = np.full((len(horizons), len(QUANTILES), WINDOW), np.nan, dtype=np.float16)
        seeds = residuals[-WINDOW:].transpose(1, 2, 0)
        self._errors[:, :, WINDOW - seeds.shape[2] :] = seeds
        self._oldest = np.zeros(len(horizons), dtype=np.int64)
        self._origins = np.full(_PENDING, _NOTHING, dtype=np.int64)
        self._units = np.zeros((_PENDING, 2))
        self._logs = np.full((_PENDING, len(horizons), len(QUANTILES)), np.nan, dtype=np.float32)
        self._next = 0
        self._calibration: Calibration | None = None
        self._unseen = 0
        self._known = int(np.isfinite(seeds[:, 0]).sum(axis=1).max(initial=0))

    @property
    def horizons(self) -> IntArray:
        """Bins ahead that are tracked."""
        return self._horizons

    @property
    def memory_bytes(self) -> int:
        """What its arrays take."""
        arrays = (self._errors, self._oldest, self._origins, self._units, self._logs)
        return sum(array.nbytes for array in arrays)

    def calibration(self) -> Calibration:
        """Shifts from the errors known so far, but for those of the last bins."""
        enough = _RENEWED_AFTER_BINS * len(self._horizons) if self._known >= _SOON else 1
        if self._calibration is None or self._unseen >= enough:
            self._calibration = calibration_of(self._errors.astype(np.float64).transpose(2, 0, 1), self._horizons)
            self._unseen = 0
        return self._calibration

    def remember(self, made: IssuedForecast, step: int) -> None:
        """Keep a raw forecast until its actuals come, unless one of the same bin is kept already."""
        newest = self._origins[self._next - 1]
        if newest != _NOTHING and made.origin < newest + step:
            return
        self._origins[self._next] = made.origin
        self._units[self._next] = made.whole, made.offset
        self._logs[self._next] = made.logs
        self._next = (self._next + 1) % _PENDING

    def observe(self, series: Series) -> None:
        """Meet what was forecast with what came: only bins that lie wholly within `series`."""
        begin, step = round(series.start.timestamp()), round(series.step.total_seconds())
        bins, rests = np.divmod(self._origins[:, None] + (self._horizons - 1) * step - begin, step)
        waiting = np.isfinite(self._logs[:, :, 0]) & (self._origins != _NOTHING)[:, None]
        come: npt.NDArray[np.bool_] = waiting & (rests == 0) & (bins >= 0) & (bins < len(series.values))
        for at, horizon in np.argwhere(come):
            self._meet(int(at), int(horizon), float(series.values[bins[at, horizon]]))

    def _meet(self, at: int, horizon: int, actual: float) -> None:
        logs = self._logs[at, horizon].copy()
        self._logs[at, horizon] = np.nan
        if not np.isfinite(actual):
            return
        whole, offset = self._units[at]
        self._errors[horizon, :, self._oldest[horizon]] = np.log((max(actual, 0.0) + offset) / whole) - logs
        self._oldest[horizon] = (self._oldest[horizon] + 1) % WINDOW
        self._known += horizon == 0
        self._unseen += 1


def nothing_known(horizons: IntArray) -> FloatArray:
    """Errors before any is known: shape (0, horizons, len(QUANTILES))."""
    return np.empty((0, len(horizons), len(QUANTILES)))


class LiveErrors:
    """An ErrorTracker that several threads may use."""

    def __init__(self, horizons: IntArray, residuals: FloatArray) -> None:
        self._tracker = ErrorTracker(horizons, residuals)
        self._lock = threading.Lock()

    @property
    def memory_bytes(self) -> int:
        """What its arrays take."""
        return self._tracker.memory_bytes

    def calibrated(self, raw: FloatArray, levels: Levels, series: Series, apart: BoolArray | None = None) -> FloatArray:
        """Calibrated quantiles of shape (steps, quantiles), after the errors of earlier forecasts were counted.

        raw: what the model forecasts from the end of `series`, shape (1, steps, quantiles). It is remembered.
        apart: steps with bands of their own, such as near a known event: they are neither moved nor counted.
        """
        steps = np.arange(1, raw.shape[1] + 1)
        step = round(series.step.total_seconds())
        with self._lock:
            tracker = self._tracker
            tracker.observe(series)
            tracked = tracker.horizons
            logs = np.full((len(tracked), len(QUANTILES)), np.nan)
            known = (tracked <= raw.shape[1]) & levels.awake[0]
            if apart is not None:
                known &= ~apart[np.minimum(tracked, raw.shape[1]) - 1]
            logs[known] = levels.log_of(raw)[0, tracked[known] - 1]
            whole = float(levels.level[0] + levels.offset[0])
            tracker.remember(IssuedForecast(round(series.end.timestamp()), whole, float(levels.offset[0]), logs), step)
            calibration = tracker.calibration()
        values = calibration.apply(raw, steps, levels)[0]
        return values if apart is None else np.where(apart[:, None], raw[0], values)
