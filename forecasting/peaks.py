"""Peaks: the highest demand within the next bins, which a floor needs.

The highest of several bins exceeds the 0.9 quantile of each bin more often than one time in ten. Therefore raw peaks
(`FittedModel.peaks`) are shifted by their own errors against the highest demand that followed, as the quantiles of bins
are (see `calibration`). The raw peaks of a model that did not learn any are the highest of its bins' quantiles.
"""

import json
from dataclasses import dataclass

import numpy as np

from forecasting.calibration import (
    ALL_ORIGINS,
    WINDOW,
    ErrorWindow,
    conformal_quantile_of_sorted,
    rolling_shifts,
    shifted,
)
from forecasting.forecast import PEAK_QUANTILES
from forecasting.levels import Levels, levels_at
from forecasting.panel import IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

_STRIDE = 6
WINDOWS = 12
"""Windows of up to that many bins have shifts of their own; longer windows have those of the longest."""


def highest_so_far(values: FloatArray) -> FloatArray:
    """Return the highest of the bins' own quantiles: shape (origins, bins, len(PEAK_QUANTILES)).

    values: shape (origins, bins, len(QUANTILES)), bins from 1 on.
    """
    return np.maximum.accumulate(values[..., -len(PEAK_QUANTILES) :], axis=1)


def actual_peaks(panel: Panel, origins: IntArray, windows: int) -> FloatArray:
    """Return the highest demand after each origin of a panel of one series: shape (origins, windows).

    The columns are the highest of the first 1, 2, … bins; NaN where a bin is missing or lies beyond the series.
    """
    targets = origins[:, None] + np.arange(windows)
    inside = targets < panel.bins
    return np.maximum.accumulate(np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan), axis=1)


def calibrate_peaks(raw: FloatArray, shifts: FloatArray, levels: Levels, values: FloatArray) -> FloatArray:
    """Return raw peaks shifted in logarithms, and raised to the bins of their windows.

    raw: shape (origins, windows, len(PEAK_QUANTILES)). shifts: broadcasts to it. values: calibrated quantiles of bins,
    shape (origins, bins, len(QUANTILES)).
    """
    return at_least_bins(shifted(raw, shifts, levels), values)


def rolling_peak_shifts(series: Series, first: int, raw: FloatArray, window: ErrorWindow = ALL_ORIGINS) -> FloatArray:
    """Return the shifts of peaks as they would have been at the time, each by errors that were known at its origin.

    raw: shape (origins, windows, len(PEAK_QUANTILES)), raw peaks at consecutive origins from `first` on (bins before
    each). The result has the same shape.
    """
    panel, origins = Panel.of([series]), np.arange(first, first + len(raw))
    levels, windows = levels_at(panel, Origins.of_single_series(origins)), raw.shape[1]
    errors = _log_errors(raw, actual_peaks(panel, origins, windows), levels)
    renewals = np.arange(0, len(raw), _STRIDE)
    shifts = np.zeros((len(renewals), windows, len(PEAK_QUANTILES)))
    for at in range(windows):
        shifts[:, at] = rolling_shifts(errors[:, at], renewals, at + 1, PEAK_QUANTILES, window)
    return np.repeat(shifts, _STRIDE, axis=0)[: len(raw)]


def peaks_from_bins(series: Series, first: int, values: FloatArray, windows: int = WINDOWS) -> FloatArray:
    """Return calibrated peaks at consecutive origins from calibrated quantiles of bins alone.

    values: shape (origins, bins, len(QUANTILES)), at origins from `first` on.
    """
    raw = highest_so_far(values[:, :windows])
    origins = Origins.of_single_series(np.arange(first, first + len(raw)))
    return calibrate_peaks(raw, rolling_peak_shifts(series, first, raw), levels_at(Panel.of([series]), origins), values)


@dataclass(frozen=True, slots=True)
class PeakShifts:
    """The shifts of raw peaks, by window. shifts: shape (windows, len(PEAK_QUANTILES)), logs."""

    shifts: FloatArray

    @classmethod
    def from_errors(cls, errors: FloatArray) -> "PeakShifts":
        """Return the shifts by errors on holdout days (see peak_log_errors), newest last."""
        ordered = np.sort(errors[-WINDOW:].transpose(2, 1, 0), axis=2)
        counts = np.isfinite(ordered).sum(axis=2)
        columns = [
            conformal_quantile_of_sorted(ordered[at], counts[at], quantile)
            for at, quantile in enumerate(PEAK_QUANTILES)
        ]
        return cls(np.stack(columns, axis=1))

    @classmethod
    def from_text(cls, text: str) -> "PeakShifts":
        """Return the shifts from the result of `text`. Raises ValueError for any other text."""
        try:
            shifts = np.asarray(json.loads(text), dtype=np.float64)
        except TypeError as error:
            raise ValueError(f"shifts of peaks must be numbers: {error}") from None
        if (
            shifts.ndim != 2
            or not len(shifts)
            or shifts.shape[1] != len(PEAK_QUANTILES)
            or not np.isfinite(shifts).all()
        ):
            raise ValueError(f"shifts of peaks must have {len(PEAK_QUANTILES)} finite numbers for each window")
        return cls(shifts)

    def text(self) -> str:
        """Return the shifts as JSON."""
        return json.dumps(self.shifts.tolist(), allow_nan=False)

    def up_to(self, windows: int) -> FloatArray:
        """Return the shifts of the windows of 1 to `windows` bins: shape (windows, len(PEAK_QUANTILES))."""
        return self.shifts[np.minimum(np.arange(windows), len(self.shifts) - 1)]


def at_least_bins(peaks: FloatArray, values: FloatArray) -> FloatArray:
    """Return peaks of which none is below a bin of its window or the peak of a shorter window.

    peaks: shape (…, windows, len(PEAK_QUANTILES)). values: shape (…, bins, len(QUANTILES)), of the bins themselves.
    """
    lowest = values[..., : peaks.shape[-2], -len(PEAK_QUANTILES) :]
    return np.maximum.accumulate(np.maximum(peaks, lowest), axis=-2)


def peak_log_errors(panel: Panel, origins: IntArray, raw: FloatArray) -> FloatArray:
    """Return log errors of raw peaks at some origins of a panel of one series; NaN where none is known.

    raw: shape (origins, windows, len(PEAK_QUANTILES)), which the result has as well.
    """
    return _log_errors(
        raw, actual_peaks(panel, origins, raw.shape[1]), levels_at(panel, Origins.of_single_series(origins))
    )


def _log_errors(raw: FloatArray, actual: FloatArray, levels: Levels) -> FloatArray:
    differences = levels.log_of(actual)[:, :, None] - levels.log_of(raw)
    return np.where(levels.has_demand[:, None, None], differences, np.nan)


NO_SHIFTS = PeakShifts(np.zeros((1, len(PEAK_QUANTILES))))
