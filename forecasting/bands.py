"""From raw forecasts to those that act: the same steps live, in backtests and for the naive models.

1. `calibration.calibrate` shifts the quantiles by the errors of earlier forecasts.
2. Where the quality gate chose another model for a horizon, that model's calibrated quantiles take their place.
3. `Bands.of` shifts the peaks, raises each to the bins of its window, and widens all that is above the median while
   there is little history.

The quality gate compares the models after step 1: the widening has the same factor for each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel
from forecasting.levels import Levels
from forecasting.peaks import calibrate_peaks
from forecasting.series import FloatArray, Series

FIRST_DAY_WIDENING = 0.2
FULL_HISTORY = timedelta(days=7)
MAX_COLD_START_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Bands:
    """Calibrated and widened forecasts, a row for each origin or series.

    values: shape (rows, bins, len(QUANTILES)). peaks: shape (rows, windows, len(PEAK_QUANTILES)).
    """

    values: FloatArray
    peaks: FloatArray

    @classmethod
    def of(
        cls, values: FloatArray, raw_peaks: FloatArray, peak_shifts: FloatArray, levels: Levels, factors: FloatArray
    ) -> "Bands":
        """Return the bands of calibrated quantiles and raw peaks.

        peak_shifts: broadcasts to the raw peaks. factors: of the cold start, shape (rows,).
        """
        peaks = calibrate_peaks(raw_peaks, peak_shifts, levels, values)
        return cls(widened(values, factors), widened(peaks, factors, PEAK_QUANTILES))

    def forecast(self, row: int, series: Series, model: FittedModel, reasons: Sequence[str]) -> Forecast:
        """Return one row as the forecast of a series from its end on."""
        # Copies: a view would keep the arrays of the entire batch in memory.
        values, peaks = self.values[row].copy(), self.peaks[row].copy()
        return Forecast(
            series.name, series.end, series.step, QUANTILES, values, model.name, model.version, reasons, peaks
        )


def cold_start_factor(series: Series) -> float:
    """Return the cold-start factor of a series; see cold_start_factors."""
    days = np.isfinite(series.values).sum() * (series.step / timedelta(days=1))
    return float(cold_start_factors(np.array([days]))[0])


def cold_start_factors(days: FloatArray) -> FloatArray:
    """Return the factors of the quantiles above the median, by days of observed demand.

    1 + 0.2 / days, at most 2; 1 from seven days on.
    """
    factors = np.minimum(MAX_COLD_START_FACTOR, 1 + FIRST_DAY_WIDENING / np.maximum(days, 1e-9))
    return np.where(days >= FULL_HISTORY / timedelta(days=1), 1.0, factors)


def widened(values: FloatArray, factors: FloatArray, quantiles: tuple[float, ...] = QUANTILES) -> FloatArray:
    """Return forecasts with the quantiles above the median multiplied by a factor.

    values: shape (rows, …, len(quantiles)). factors: shape (rows,).
    """
    of_rows = factors.reshape((-1,) + (1,) * (values.ndim - 1))
    return values * np.where(np.array(quantiles) > 0.5, of_rows, 1.0)
