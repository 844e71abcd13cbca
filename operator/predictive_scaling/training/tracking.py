"""Errors of live forecasts as their actuals arrive, so that bands stay right between two trainings."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from forecasting.calibration import WINDOW, Calibration, calibration_of
from forecasting.forecast import QUANTILES
from forecasting.panel import IntArray
from forecasting.series import FloatArray, Series

_PENDING = 64


@dataclass(frozen=True, slots=True)
class Made:
    """A raw forecast that waits for its actuals.

    origin: epoch seconds. whole, offset: level + offset and offset at the origin, for logarithms. logs: shape
    (horizons, len(QUANTILES)). done: horizons that have met their actual.
    """

    origin: int
    whole: float
    offset: float
    logs: FloatArray
    done: set[int] = field(default_factory=set[int])


class ErrorTracker:
    """The newest errors of one model of one series. Not thread-safe; its shelf holds a lock.

    Seeded with the training's errors on days that it had not seen. A forecast counts when its target time has passed
    and the series that is then observed has a bin of exactly that time; forecasts less than a bin apart count once.
    """

    def __init__(self, horizons: IntArray, residuals: FloatArray) -> None:
        self._horizons = horizons
        self._errors = residuals[-WINDOW:].astype(np.float32)
        self._pending: deque[Made] = deque(maxlen=_PENDING)
        self._calibration: Calibration | None = None

    @property
    def horizons(self) -> IntArray:
        """Bins ahead that are tracked."""
        return self._horizons

    def calibration(self) -> Calibration:
        """Shifts from the errors known so far."""
        if self._calibration is None:
            self._calibration = calibration_of(self._errors.astype(np.float64), self._horizons)
        return self._calibration

    def remember(self, made: Made, step: int) -> None:
        """Keep a raw forecast until its actuals come, unless one of the same bin is kept already."""
        if not self._pending or made.origin >= self._pending[-1].origin + step:
            self._pending.append(made)

    def observe(self, series: Series) -> None:
        """Meet what was forecast with what came: only bins that lie wholly within `series`."""
        begin, step = round(series.start.timestamp()), round(series.step.total_seconds())
        for made in self._pending:
            for at, horizon in enumerate(self._horizons):
                bin_, rest = divmod(made.origin + (int(horizon) - 1) * step - begin, step)
                if at in made.done or rest or not 0 <= bin_ < len(series.values):
                    continue
                made.done.add(at)
                self._add(at, made, float(series.values[bin_]))

    def _add(self, at: int, made: Made, actual: float) -> None:
        if not np.isfinite(actual) or not np.isfinite(made.logs[at]).all():
            return
        error = np.log((max(actual, 0.0) + made.offset) / made.whole) - made.logs[at]
        self._errors[:-1, at] = self._errors[1:, at]
        self._errors[-1, at] = error
        self._calibration = None


def nothing_known(horizons: IntArray) -> FloatArray:
    """Errors before any is known: shape (WINDOW, horizons, len(QUANTILES)), all NaN."""
    return np.full((WINDOW, len(horizons), len(QUANTILES)), np.nan)
