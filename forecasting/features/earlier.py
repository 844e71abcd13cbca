"""The same time on earlier days, in logarithms relative to the level."""

import numpy as np

from forecasting.calendars.comparable_days import bins_back
from forecasting.calendars.wall_time import WallTime
from forecasting.features.column import LAST_WEEK, YESTERDAY, Feature
from forecasting.levels import Levels
from forecasting.panel import IntArray, Origins, mean_before
from forecasting.series import FloatArray

_DAYS_BACK = (1, 2, 3, 7)
_WEEK_DAYS = 7


def _names() -> tuple[Feature, ...]:
    found: list[Feature] = []
    for day in _DAYS_BACK:
        family = LAST_WEEK if day == _WEEK_DAYS else YESTERDAY
        found += [Feature(f"value_{day}d", family), Feature(f"growth_{day}d", family)]
    return (*found, Feature("growth_days", YESTERDAY), Feature("value_days", YESTERDAY))


COLUMNS = _names()


def earlier_columns(
    wall: WallTime, origins: Origins, ahead: IntArray, levels: Levels, sums: tuple[FloatArray, FloatArray]
) -> list[FloatArray]:
    """The columns of COLUMNS, each of shape (origins, horizons). ahead: bins, the same shape. sums: `running`."""
    columns: list[FloatArray] = []
    growths: list[FloatArray] = []
    values: list[FloatArray] = []
    rows, newest = origins.rows[:, None], origins.cols[:, None]
    for days, back in enumerate(bins_back(wall), start=1):
        value = levels.log_of(_around(rows, newest + ahead - 1 - back, sums, newest))
        base = levels.log_of(mean_before(*sums, rows, newest - back, 3))
        values.append(value)
        growths.append(value - base)
        if days in _DAYS_BACK:
            columns += [values[-1], growths[-1]]
    columns += [_mean_of(growths), _mean_of(values)]
    return columns


def _around(rows: IntArray, cols: IntArray, sums: tuple[FloatArray, FloatArray], origin: IntArray) -> FloatArray:
    """The mean of a bin and its neighbours, or of what of them lies before the origin."""
    # The window's end is cut at the origin: with a short day (coarse bins) a neighbour could lie in the future.
    return mean_before(*sums, rows, np.minimum(cols + 2, origin), 3)


def _mean_of(columns: list[FloatArray]) -> FloatArray:
    stacked = np.stack(columns)
    seen = np.isfinite(stacked)
    count = seen.sum(axis=0)
    total = np.where(seen, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
