"""The highest demand within the next bins: what a floor needs, and more than any one of those bins is likely to see.

The highest of several bins exceeds each one's 0.9 quantile more often than one time in ten. So the running maximum of a
model's quantiles is moved by its own recent errors, as the quantiles themselves are (see `calibration`), against the
highest demand that then came. That holds for every kind of model, and none of them has to learn anything for it.
"""

from dataclasses import dataclass, replace

import numpy as np

from forecasting.backtest import WalkForward
from forecasting.calibration import calibrated, calibration_of, moved, newest_errors
from forecasting.levels import Levels, levels_at
from forecasting.panel import Origins, Panel
from forecasting.series import FloatArray, Series

WINDOWS = 12
"""Windows of up to that many bins have a calibration of their own; longer ones move as the longest of them."""


def highest_so_far(values: FloatArray) -> FloatArray:
    """Running maxima over the bins ahead, before any calibration. values: shape (origins, bins, …), bins from 1 on."""
    return np.fmax.accumulate(values, axis=1)


def of_windows(walk: WalkForward) -> WalkForward:
    """The question asked anew: horizon h stands for the highest demand of the first h bins.

    The walk's horizons must be 1, 2, 3 and so on. Raises ValueError for others. A window of which a bin is missing has
    no actual.
    """
    if not np.array_equal(walk.horizons, np.arange(1, len(walk.horizons) + 1)):
        raise ValueError(f"windows need forecasts of all their bins; {walk.horizons.tolist()} leaves some out")
    return replace(walk, quantiles=highest_so_far(walk.quantiles), actual=np.maximum.accumulate(walk.actual, axis=1))


def peaks_of(series: Series, first: int, values: FloatArray, windows: int = WINDOWS) -> FloatArray:
    """Peaks as they would have been forecast beside `values`: shape (origins, windows, len(QUANTILES)).

    values: shape (origins, bins, len(QUANTILES)), forecasts at consecutive origins from `first` on (bins before each),
    calibrated by bin. Each is moved by errors that were known at its origin.
    """
    count = min(windows, values.shape[1])
    panel, origins = Panel.of([series]), np.arange(first, first + len(values))
    horizons = np.arange(1, count + 1)
    targets = origins[:, None] + horizons - 1
    inside = targets < panel.bins
    actual = np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan)
    levels = levels_at(panel, Origins.of_one(origins))
    walk = WalkForward("peaks", origins, horizons, values[:, :count], actual, levels)
    asked = of_windows(walk)
    return _in_order(calibrated(asked, unmoved=None).quantiles, asked.quantiles)


@dataclass(frozen=True, slots=True)
class PeakShifts:
    """How far the running maximum of calibrated quantiles moves up.

    shifts: shape (windows, len(QUANTILES)), logs.
    """

    shifts: FloatArray

    @classmethod
    def learned(cls, walk: WalkForward) -> "PeakShifts":
        """From calibrated forecasts beside what came; the horizons as in `of_windows`."""
        windows = of_windows(walk)
        return cls(calibration_of(newest_errors(windows), windows.horizons, unmoved=None).shifts)

    def apply(self, values: FloatArray, levels: Levels) -> FloatArray:
        """Peaks of every window up to the last bin. values: shape (origins, bins, len(QUANTILES)), calibrated."""
        bins = np.minimum(np.arange(values.shape[1]), len(self.shifts) - 1)
        raw = highest_so_far(values)
        return _in_order(moved(raw, self.shifts[bins], levels), raw)


def _in_order(peaks: FloatArray, raw: FloatArray) -> FloatArray:
    """The highest of several is never lower than one of them, nor than the highest of fewer."""
    return np.maximum.accumulate(np.maximum(peaks, raw), axis=1)
