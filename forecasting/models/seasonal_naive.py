"""The same time yesterday by the clock on the wall; where that is missing, last week or the day before yesterday."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted
from forecasting.levels import levels_at
from forecasting.like_days import Back, bins_back
from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel, pick
from forecasting.series import FloatArray, Series
from forecasting.wall_time import WallTime

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
    rows, newest = origins.rows[:, None], origins.cols[:, None]
    targets = newest + horizons - 1
    backs = bins_back(WallTime.of(panel, rows, targets))
    points = np.full(targets.shape, np.nan)
    for lookback in LOOKBACK:
        back = _whole_seasons(panel, backs, lookback // DAY, horizons)
        # Where clocks were put forward, a day is an hour shorter than a horizon of a day: that hour is not past yet.
        known = np.where(back >= horizons, targets - back, -1)
        points = np.where(np.isnan(points), pick(panel.values, rows, known), points)
    return np.where(np.isnan(points), levels_at(panel, origins).level[:, None], points)


def _whole_seasons(panel: Panel, backs: tuple[Back, ...], days: int, horizons: IntArray) -> IntArray:
    """Bins back: a horizon longer than the season looks back a whole number of seasons. Broadcasts to the targets."""
    season = panel.bins_in(days * DAY)
    seasons = -(-horizons // season)
    return np.where(seasons == 1, backs[days - 1], season * seasons)
