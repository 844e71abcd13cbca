"""The highest demand within the next bins: what a floor needs, and more than any one of those bins is likely to see.

The highest of several bins exceeds each one's 0.9 quantile more often than one time in ten. So what a model
says of the highest (`Fitted.peaks`) is moved by its own recent errors, as its other quantiles are (see `calibration`),
against the highest demand that then came: of a model that learned nothing of peaks, the highest of its bins' quantiles.
"""

import json
from dataclasses import dataclass

import numpy as np

from forecasting.calibration import WINDOW, conformal_quantile_of_sorted, rolling_conformal_quantile, shifted
from forecasting.forecast import PEAK_QUANTILES
from forecasting.levels import Levels, levels_at
from forecasting.panel import IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

_STRIDE = 6
WINDOWS = 12
"""Windows of up to that many bins have a calibration of their own; longer ones move as the longest of them."""


def highest_so_far(values: FloatArray) -> FloatArray:
    """The highest of the bins' own quantiles: shape (origins, bins, len(PEAK_QUANTILES)).

    values: shape (origins, bins, len(QUANTILES)), bins from 1 on.
    """
    return np.maximum.accumulate(values[..., -len(PEAK_QUANTILES) :], axis=1)


def actual_peaks(panel: Panel, origins: IntArray, windows: int) -> FloatArray:
    """The highest demand after each origin of a panel of one series: shape (origins, windows).

    Row by row the highest of the first 1, 2, … bins; NaN where one of them is missing or lies beyond the series.
    """
    targets = origins[:, None] + np.arange(windows)
    inside = targets < panel.bins
    return np.maximum.accumulate(np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan), axis=1)


def calibrated_peaks(series: Series, first: int, raw: FloatArray, values: FloatArray) -> FloatArray:
    """Peaks as they would have been calibrated at the time, each by errors that were known at its origin.

    raw: shape (origins, windows, len(PEAK_QUANTILES)), forecasts of peaks at consecutive origins from `first` on (bins
    before each). values: shape (origins, bins, len(QUANTILES)), those of bins, calibrated: no peak is below them.
    """
    panel, origins = Panel.of([series]), np.arange(first, first + len(raw))
    levels, windows = levels_at(panel, Origins.of_single_series(origins)), raw.shape[1]
    off = _off(raw, actual_peaks(panel, origins, windows), levels)
    shifts = np.zeros_like(off)
    renewed = np.arange(0, len(raw), _STRIDE)
    for window in range(windows):
        for column, quantile in enumerate(PEAK_QUANTILES):
            found = rolling_conformal_quantile(off[:, window, column], renewed - window, WINDOW, quantile)
            shifts[:, window, column] = np.repeat(found, _STRIDE)[: len(raw)]
    return at_least_bins(shifted(raw, shifts, levels), values)


def peaks_from_bins(series: Series, first: int, values: FloatArray, windows: int = WINDOWS) -> FloatArray:
    """calibrated_peaks, where nothing is known but the calibrated quantiles of bins."""
    return calibrated_peaks(series, first, highest_so_far(values[:, :windows]), values)


@dataclass(frozen=True, slots=True)
class PeakShifts:
    """How far raw peaks move, by window. shifts: shape (windows, len(PEAK_QUANTILES)), logs."""

    shifts: FloatArray

    @classmethod
    def from_errors(cls, off: FloatArray) -> "PeakShifts":
        """From errors on days that the model had not seen, as `errors` gives them, newest last."""
        ordered = np.sort(off[-WINDOW:].transpose(2, 1, 0), axis=2)
        counts = np.isfinite(ordered).sum(axis=2)
        columns = [
            conformal_quantile_of_sorted(ordered[at], counts[at], quantile)
            for at, quantile in enumerate(PEAK_QUANTILES)
        ]
        return cls(np.stack(columns, axis=1))

    @classmethod
    def from_text(cls, text: str) -> "PeakShifts":
        """What `text` wrote. Raises ValueError when it is anything else."""
        try:
            shifts = np.asarray(json.loads(text), dtype=np.float64)
        except TypeError as error:
            raise ValueError(f"shifts of peaks are numbers: {error}") from None
        if (
            shifts.ndim != 2
            or not len(shifts)
            or shifts.shape[1] != len(PEAK_QUANTILES)
            or not np.isfinite(shifts).all()
        ):
            raise ValueError(f"shifts of peaks are a row of {len(PEAK_QUANTILES)} finite numbers for each window")
        return cls(shifts)

    def text(self) -> str:
        """As JSON."""
        return json.dumps(self.shifts.tolist(), allow_nan=False)

    def apply(self, raw: FloatArray, values: FloatArray, levels: Levels) -> FloatArray:
        """Calibrated peaks. raw: shape (origins, windows, len(PEAK_QUANTILES)). values: as in calibrated_peaks."""
        windows = np.minimum(np.arange(raw.shape[1]), len(self.shifts) - 1)
        return at_least_bins(shifted(raw, self.shifts[windows], levels), values)


def at_least_bins(peaks: FloatArray, values: FloatArray) -> FloatArray:
    """Peaks of which none is below a bin of its window, or the peak of a shorter one.

    peaks: shape (…, windows, len(PEAK_QUANTILES)). values: shape (…, bins, len(QUANTILES)), of the bins themselves.
    """
    lowest = values[..., : peaks.shape[-2], -len(PEAK_QUANTILES) :]
    return np.maximum.accumulate(np.maximum(peaks, lowest), axis=-2)


def peak_log_errors(panel: Panel, origins: IntArray, raw: FloatArray) -> FloatArray:
    """Log errors of raw peaks at some origins of a panel of one series, of the shape of `raw`; NaN where none is known.

    raw: shape (origins, windows, len(PEAK_QUANTILES)).
    """
    return _off(raw, actual_peaks(panel, origins, raw.shape[1]), levels_at(panel, Origins.of_single_series(origins)))


def _off(raw: FloatArray, actual: FloatArray, levels: Levels) -> FloatArray:
    found = levels.log_of(actual)[:, :, None] - levels.log_of(raw)
    return np.where(levels.has_demand[:, None, None], found, np.nan)


NO_SHIFTS = PeakShifts(np.zeros((1, len(PEAK_QUANTILES))))
