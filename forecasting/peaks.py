"""Peaks: quantiles of the highest demand within the next bins, which the floor has to cover.

The highest of several bins exceeds the 0.9 quantile of each bin more often than one time in ten. The raw peaks of a
model (`FittedModel.peaks`) are therefore calibrated by their recent errors against the actual peaks, as its other
quantiles are (see `calibration`). Without learned peaks, the raw peak is the highest quantile of the bins.
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
"""Windows of up to this many bins are calibrated separately; longer windows use the shifts of the longest."""


def highest_so_far(values: FloatArray) -> FloatArray:
    """Return the running maximum of the quantiles of bins: shape (origins, bins, len(PEAK_QUANTILES)).

    values: shape (origins, bins, len(QUANTILES)), bins from 1 on.
    """
    return np.maximum.accumulate(values[..., -len(PEAK_QUANTILES) :], axis=1)


def actual_peaks(panel: Panel, origins: IntArray, windows: int) -> FloatArray:
    """Return the peak demand after each origin in a panel of a single series: shape (origins, windows).

    Each row has the highest of the first 1, 2, … bins; NaN if a bin of the window is missing or beyond the series.
    """
    targets = origins[:, None] + np.arange(windows)
    inside = targets < panel.bins
    return np.maximum.accumulate(np.where(inside, panel.values[0][np.where(inside, targets, 0)], np.nan), axis=1)


def calibrated_peaks(series: Series, first: int, raw: FloatArray, values: FloatArray) -> FloatArray:
    """Return peaks as they would have been calibrated at their origins, by the errors known then.

    raw: shape (origins, windows, len(PEAK_QUANTILES)), raw peaks at consecutive origins from `first` on (bins before
    each). values: shape (origins, bins, len(QUANTILES)), calibrated forecasts of bins: no peak is below them.
    """
    panel, origins = Panel.of([series]), np.arange(first, first + len(raw))
    levels, windows = levels_at(panel, Origins.of_single_series(origins)), raw.shape[1]
    errors = _log_errors(raw, actual_peaks(panel, origins, windows), levels)
    shifts = np.zeros_like(errors)
    updates = np.arange(0, len(raw), _STRIDE)
    for window in range(windows):
        for column, quantile in enumerate(PEAK_QUANTILES):
            updated = rolling_conformal_quantile(errors[:, window, column], updates - window, WINDOW, quantile)
            shifts[:, window, column] = np.repeat(updated, _STRIDE)[: len(raw)]
    return at_least_bins(shifted(raw, shifts, levels), values)


def peaks_from_bins(series: Series, first: int, values: FloatArray, windows: int = WINDOWS) -> FloatArray:
    """Return calibrated_peaks for raw peaks that are derived from the calibrated quantiles of bins."""
    return calibrated_peaks(series, first, highest_so_far(values[:, :windows]), values)


@dataclass(frozen=True, slots=True)
class PeakShifts:
    """Shifts of raw peaks, by window. shifts: logarithms, shape (windows, len(PEAK_QUANTILES))."""

    shifts: FloatArray

    @classmethod
    def from_errors(cls, errors: FloatArray) -> "PeakShifts":
        """Return the shifts from holdout errors (see peak_log_errors), newest last."""
        ordered = np.sort(errors[-WINDOW:].transpose(2, 1, 0), axis=2)
        counts = np.isfinite(ordered).sum(axis=2)
        columns = [
            conformal_quantile_of_sorted(ordered[at], counts[at], quantile)
            for at, quantile in enumerate(PEAK_QUANTILES)
        ]
        return cls(np.stack(columns, axis=1))

    @classmethod
    def from_text(cls, text: str) -> "PeakShifts":
        """Return the shifts that `text` has serialized. Raises ValueError for any other text."""
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

    def apply(self, raw: FloatArray, values: FloatArray, levels: Levels) -> FloatArray:
        """Return calibrated peaks. raw, values: as in calibrated_peaks, at any origins."""
        windows = np.minimum(np.arange(raw.shape[1]), len(self.shifts) - 1)
        return at_least_bins(shifted(raw, self.shifts[windows], levels), values)


def at_least_bins(peaks: FloatArray, values: FloatArray) -> FloatArray:
    """Return peaks raised so that none is below a bin of its window or below the peak of a shorter window.

    peaks: shape (…, windows, len(PEAK_QUANTILES)). values: forecasts of bins, shape (…, bins, len(QUANTILES)).
    """
    lowest = values[..., : peaks.shape[-2], -len(PEAK_QUANTILES) :]
    return np.maximum.accumulate(np.maximum(peaks, lowest), axis=-2)


def peak_log_errors(panel: Panel, origins: IntArray, raw: FloatArray) -> FloatArray:
    """Return the log errors of raw peaks at origins in a panel of a single series.

    raw and result: shape (origins, windows, len(PEAK_QUANTILES)); NaN where the error is unknown.
    """
    return _log_errors(
        raw, actual_peaks(panel, origins, raw.shape[1]), levels_at(panel, Origins.of_single_series(origins))
    )


def _log_errors(raw: FloatArray, actual: FloatArray, levels: Levels) -> FloatArray:
    errors = levels.log_of(actual)[:, :, None] - levels.log_of(raw)
    return np.where(levels.has_demand[:, None, None], errors, np.nan)


NO_SHIFTS = PeakShifts(np.zeros((1, len(PEAK_QUANTILES))))
