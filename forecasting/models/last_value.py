"""The last-value model: the newest value, carried forward, as a reactive autoscaler follows it."""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel
from forecasting.levels import levels_at
from forecasting.panel import IntArray, Origins, Panel, values_at
from forecasting.series import FloatArray, Series


@dataclass(frozen=True, slots=True)
class LastValue(FittedModel):
    """Has nothing to learn: forecaster and fitted model in one. All raw quantiles are the same point."""

    name: str = "LastValue"
    version: str = ""

    def fit(self, series: Series) -> FittedModel:
        return self

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        newest = values_at(panel.values, origins.rows, origins.cols - 1)
        newest = np.where(np.isnan(newest), levels_at(panel, origins).level, newest)
        return np.broadcast_to(newest[:, None, None], (len(origins), len(horizons), len(QUANTILES))).copy()

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        del panel, horizons
        return [("the newest value, carried forward",)] * len(origins)
