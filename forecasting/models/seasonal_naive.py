"""The same time a season ago, by the clock on the wall: a day, a week or an hour, whichever served best of late."""

from dataclasses import dataclass

import numpy as np

from forecasting.calendars.comparable_days import Back, bins_back
from forecasting.calendars.wall_time import WallTime
from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted
from forecasting.levels import levels_at
from forecasting.models.likeliest_season import DAILY, SEASONS, likeliest
from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel, pick
from forecasting.series import FloatArray, Series

_ELSE = (DAILY, SEASONS.index(WEEK))


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
        del horizons
        told = ("the same time yesterday", "the same time a week ago", "the same time an hour ago")
        return [(told[season],) for season in likeliest(panel, origins)]


def same_time_before(panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
    """Shape (origins, horizons). The recent level where the series has no season behind it yet."""
    rows, newest = origins.rows[:, None], origins.cols[:, None]
    targets = newest + horizons - 1
    backs = _backs(WallTime.of(panel, rows, targets), horizons)
    likely = np.broadcast_to(likeliest(panel, origins)[:, None], targets.shape)
    points = np.full(targets.shape, np.nan)
    for back in (np.choose(likely, backs[: len(SEASONS)]), *(backs[at] for at in _ELSE), backs[-1]):
        # Where clocks were put forward, a day is an hour shorter than a horizon of a day: that hour is not past yet.
        known = np.where(back >= horizons, targets - back, -1)
        points = np.where(np.isnan(points), pick(panel.values, rows, known), points)
    return np.where(np.isnan(points), levels_at(panel, origins).level[:, None], points)


def _backs(wall: WallTime, horizons: IntArray) -> list[IntArray]:
    """Bins back for each of SEASONS and for two days, each of the shape of the targets."""
    of_days, shape = bins_back(wall), wall.seconds.shape
    found = [
        _whole(wall.panel.bins_in(season), of_days[season // DAY - 1] if season >= DAY else 0, horizons, shape)
        for season in (*SEASONS, 2 * DAY)
    ]
    if wall.holiday is not None:
        # On a holiday yesterday is no example; the last Sunday or holiday is.
        found[DAILY] = np.where(wall.holiday, found[SEASONS.index(WEEK)], found[DAILY])
    return found


def _whole(season: int, back: Back, horizons: IntArray, shape: tuple[int, ...]) -> IntArray:
    """A horizon longer than the season looks back a whole number of seasons."""
    seasons = -(-horizons // season)
    plain = season * seasons
    return np.broadcast_to(plain if isinstance(back, int) and not back else np.where(seasons == 1, back, plain), shape)
