"""The seasonal naive model: the value of the same local time a day, a week or an hour before, whichever was better."""

from dataclasses import dataclass

import numpy as np

from forecasting.calendars.comparable_days import Distance, bins_back
from forecasting.calendars.wall_time import WallTime
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel
from forecasting.levels import levels_at
from forecasting.models.likeliest_season import DAILY, SEASONS, WEEKLY, likeliest
from forecasting.panel import DAY, IntArray, Origins, Panel, values_at
from forecasting.series import FloatArray, Series

_FALLBACKS = (DAILY, WEEKLY)


@dataclass(frozen=True, slots=True)
class SeasonalNaive(FittedModel):
    """Has nothing to learn: forecaster and fitted model in one. All raw quantiles are the same point."""

    name: str = "SeasonalNaive"
    version: str = ""

    def fit(self, series: Series) -> FittedModel:
        return self

    def quantiles(self, panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
        points = same_time_before(panel, origins, horizons)
        return np.repeat(points[:, :, None], len(QUANTILES), axis=2)

    def contributions(self, panel: Panel, origins: Origins, horizons: IntArray) -> list[tuple[str, ...]]:
        del horizons
        reasons = ("the same time yesterday", "the same time a week ago", "the same time an hour ago")
        return [(reasons[season],) for season in likeliest(panel, origins)]


def same_time_before(panel: Panel, origins: Origins, horizons: IntArray) -> FloatArray:
    """Return the value a season before each target: shape (origins, horizons).

    The recent level where the series is shorter than a season.
    """
    rows, newest = origins.rows[:, None], origins.cols[:, None]
    targets = newest + horizons - 1
    backs = _backs(WallTime.of(panel, rows, targets), horizons)
    likely = np.broadcast_to(likeliest(panel, origins)[:, None], targets.shape)
    points = np.full(targets.shape, np.nan)
    for back in (np.choose(likely, backs[: len(SEASONS)]), *(backs[at] for at in _FALLBACKS), backs[-1]):
        # A day on which clocks go forward is an hour shorter: for long horizons that bin may be in the future.
        known = np.where(back >= horizons, targets - back, -1)
        points = np.where(np.isnan(points), values_at(panel.values, rows, known), points)
    return np.where(np.isnan(points), levels_at(panel, origins).level[:, None], points)


def _backs(wall: WallTime, horizons: IntArray) -> list[IntArray]:
    """Bins back for each of SEASONS and for two days, each of the shape of the targets."""
    of_days, shape = bins_back(wall), wall.seconds.shape
    backs = [
        _seasons_back(wall.panel.bins_in(season), of_days[season // DAY - 1] if season >= DAY else 0, horizons, shape)
        for season in (*SEASONS, 2 * DAY)
    ]
    if wall.holiday is not None:
        # The day before a holiday is not comparable; the last Sunday or holiday is.
        backs[DAILY] = np.where(wall.holiday, backs[WEEKLY], backs[DAILY])
    return backs


def _seasons_back(season: int, back: Distance, horizons: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Bins back by a multiple of the season, the smallest that is not shorter than the horizon."""
    seasons = -(-horizons // season)
    plain = season * seasons
    return np.broadcast_to(plain if isinstance(back, int) and not back else np.where(seasons == 1, back, plain), shape)
