"""Forecasts of the past with what followed, from which corrections are fitted and on which they are judged."""

from dataclasses import dataclass

import numpy as np

from forecasting.calibration import EVALUATION_HORIZONS, bins_ahead, measured_horizons
from forecasting.forecast import QUANTILES
from forecasting.levels import Levels, levels_at
from forecasting.panel import BoolArray, IntArray, Origins, Panel, values_at
from forecasting.peaks import actual_peaks
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward

MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True, slots=True)
class PastForecasts:
    """Forecasts at earlier origins of a series, as they were made or would have been made then.

    origins: bins before each, ascending. values: shape (origins, steps, len(QUANTILES)). peaks: shape (origins,
    windows, len(PEAK_QUANTILES)). actual, highest: what followed, shapes (origins, steps) and (origins, windows); NaN
    where it is not known. levels: at each origin.
    """

    series: Series
    origins: IntArray
    values: FloatArray
    peaks: FloatArray
    actual: FloatArray
    highest: FloatArray
    levels: Levels

    @classmethod
    def of(cls, series: Series, origins: IntArray, values: FloatArray, peaks: FloatArray) -> "PastForecasts":
        """Return the forecasts with what followed within the series."""
        panel = Panel.of([series])
        targets = origins[:, None] + np.arange(values.shape[1])
        return cls(
            series=series,
            origins=origins,
            values=values,
            peaks=peaks,
            actual=values_at(panel.values, np.zeros_like(targets), targets),
            highest=actual_peaks(panel, origins, peaks.shape[1]),
            levels=levels_at(panel, Origins.of_single_series(origins)),
        )

    @property
    def steps(self) -> int:
        """The number of bins ahead."""
        return self.values.shape[1]

    @property
    def horizons(self) -> IntArray:
        """The bins ahead at which a correction is fitted."""
        return measured_horizons(self.series.step, self.steps)

    def rows(self, which: BoolArray) -> "PastForecasts":
        """Return the forecasts at some of the origins."""
        levels = Levels(self.levels.level[which], self.levels.offset[which])
        return PastForecasts(
            self.series,
            self.origins[which],
            self.values[which],
            self.peaks[which],
            self.actual[which],
            self.highest[which],
            levels,
        )

    def errors(self, horizon: int) -> FloatArray:
        """Return the log errors of the medians at a horizon: shape (origins,)."""
        column = slice(horizon - 1, horizon)
        logs = self.levels.log_of(self.actual[:, column]) - self.levels.log_of(self.values[:, column, MEDIAN])
        return np.where(self.levels.has_demand, logs[:, 0], np.nan)

    def walk(self, name: str) -> WalkForward:
        """Return the forecasts at the horizons at which the quality gate compares models."""
        ahead = bins_ahead(EVALUATION_HORIZONS, self.series.step)
        ahead = ahead[ahead <= self.steps]
        return WalkForward(name, self.origins, ahead, self.values[:, ahead - 1], self.actual[:, ahead - 1], self.levels)
