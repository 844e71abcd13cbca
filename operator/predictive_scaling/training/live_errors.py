"""The errors of one model on one series while it serves, and the bands that follow from them."""

import threading

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.levels import Levels
from forecasting.panel import BoolArray, IntArray
from forecasting.series import FloatArray, Series
from predictive_scaling.training.tracking import ErrorTracker, Made


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
            tracker.remember(Made(round(series.end.timestamp()), whole, float(levels.offset[0]), logs), step)
            calibration = tracker.calibration()
        values = calibration.apply(raw, steps, levels)[0]
        return values if apart is None else np.where(apart[:, None], raw[0], values)
