"""The same time yesterday; where that is missing, last week or the day before yesterday."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted
from forecasting.levels import levels_at
from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel, pick
from forecasting.series import FloatArray, Series

LOOKBACK: tuple[timedelta, ...] = (DAY, WEEK, 2 * DAY)


@dataclass(frozen=True, slots=True)
class SeasonalNaive(Fitted):
    """Nothing to learn: forecaster and fitted model in one. All quantiles are the point until calibrated."""

    name: str = "SeasonalNaive"
    version: str = ""

    def fit(self, series: Series) -> Fitted:
        return self

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        points = same_time_before(panel, origins, horizons)
        return np.repeat(points[:, :, None], len(QUANTILES), axis=2)

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        del panel, horizons
        return [("the same time yesterday",)] * len(origins)


def same_time_before(panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
    """Shape (origins, horizons). The recent level where the series has no day behind it yet."""
    targets = origins.cols[:, None] + horizons - 1
    points = np.full(targets.shape, np.nan)
    for lookback in LOOKBACK:
        # A horizon longer than the season looks back a whole number of seasons.
        season = panel.bins_in(lookback)
        back = season * -(-horizons // season)
        points = np.where(np.isnan(points), pick(panel.values, origins.rows[:, None], targets - back), points)
    return np.where(np.isnan(points), levels_at(panel, origins).level[:, None], points)
