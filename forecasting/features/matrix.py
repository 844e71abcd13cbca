"""All columns side by side: the rows that a model learns from and is asked with.

Nothing from an origin on is read. All but the calendar is in logarithms relative to the level, so a series in other
units has the same features.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.calendars.wall_time import WallTime
from forecasting.features import clock, earlier, public_holidays, recent
from forecasting.levels import Levels, levels_from
from forecasting.panel import IntArray, Origins, Panel, running

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]

FEATURES = (*recent.COLUMNS, *earlier.COLUMNS, *clock.COLUMNS, *public_holidays.COLUMNS)
"""The columns of `build`, in order."""
DECIMALS = 6
"""Decimals of a feature. Logarithms carry rounding errors of 1e-15 that depend on the unit; a tree that splits at zero
would send equal demand in two units down different branches."""


@dataclass(frozen=True, slots=True)
class Built:
    """matrix: shape (origins * horizons, len(FEATURES)), origin by origin. levels: to turn logs into values."""

    matrix: Matrix
    levels: Levels

    def of(self, origin: int, horizons: int) -> "Built":
        """The part of one origin."""
        rows = slice(origin * horizons, (origin + 1) * horizons)
        return Built(self.matrix[rows], self.levels[origin : origin + 1])


def build(panel: Panel, origins: Origins, horizons: IntArray) -> Built:
    """Features of each origin for each horizon. horizons: shape (horizons,) or (origins, horizons), bins ahead."""
    ahead: IntArray = np.broadcast_to(horizons, (len(origins), horizons.shape[-1]))
    sums, counts = running(panel.values)
    levels = levels_from(sums, counts, panel, origins)
    known = recent.recent(panel, origins, levels)
    wall = WallTime.of(panel, origins.rows[:, None], origins.cols[:, None] + ahead - 1)
    then = [
        *earlier.earlier(wall, origins, ahead, levels, (sums, counts)),
        *clock.clock(wall, ahead),
        *public_holidays.public_holidays(wall),
    ]
    matrix = np.empty((ahead.size, len(FEATURES)), dtype=np.float32)
    matrix[:, : known.shape[1]] = np.repeat(known, ahead.shape[1], axis=0)
    matrix[:, known.shape[1] :] = np.stack(then, axis=-1).reshape(ahead.size, -1)
    return Built(np.round(matrix, DECIMALS, out=matrix), levels)
