"""Columns of demand at the same time on earlier days, in logarithms relative to the level."""

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
    columns: list[Feature] = []
    for day in _DAYS_BACK:
        family = LAST_WEEK if day == _WEEK_DAYS else YESTERDAY
        columns += [Feature(f"value_{day}d", family), Feature(f"growth_{day}d", family)]
    return (*columns, Feature("growth_days", YESTERDAY), Feature("value_days", YESTERDAY))


COLUMNS = _names()


def earlier_columns(
    wall: WallTime, origins: Origins, ahead: IntArray, levels: Levels, sums: tuple[FloatArray, FloatArray]
) -> list[FloatArray]:
    """Return the columns of COLUMNS, each of shape (origins, horizons).

    ahead: bins ahead, of the same shape. sums: the sums and counts of running_sums.
    """
    columns: list[FloatArray] = []
    growths: list[FloatArray] = []
    values: list[FloatArray] = []
    rows, newest = origins.rows[:, None], origins.cols[:, None]
    for days, back in enumerate(bins_back(wall), start=1):
        value = levels.log_of(_mean_around(rows, newest + ahead - 1 - back, sums, newest))
        base = levels.log_of(mean_before(*sums, rows, newest - back, 3))
        values.append(value)
        growths.append(value - base)
        if days in _DAYS_BACK:
            columns += [values[-1], growths[-1]]
    columns += [_mean(growths), _mean(values)]
    return columns


def _mean_around(rows: IntArray, cols: IntArray, sums: tuple[FloatArray, FloatArray], origin: IntArray) -> FloatArray:
    """Return the mean of a bin and its two neighbours, without bins at or after the origin."""
    # The window ends at the origin: if a day has few (coarse) bins, a neighbour could lie in the future.
    return mean_before(*sums, rows, np.minimum(cols + 2, origin), 3)


def _mean(columns: list[FloatArray]) -> FloatArray:
    stacked = np.stack(columns)
    observed = np.isfinite(stacked)
    count = observed.sum(axis=0)
    total = np.where(observed, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
