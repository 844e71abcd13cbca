"""The feature matrix: the rows that a model learns from and forecasts from.

Features read nothing at or after their origin. All columns except the calendar are logarithms relative to the level, so
a series in other units has the same features.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.calendars.wall_time import WallTime
from forecasting.features import earlier, recent
from forecasting.features.calendar_columns import COLUMNS as CALENDAR_COLUMNS
from forecasting.features.calendar_columns import calendar_columns
from forecasting.levels import Levels, levels_from
from forecasting.panel import IntArray, Origins, Panel, running_sums

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]

FEATURES = (*recent.COLUMNS, *earlier.COLUMNS, *CALENDAR_COLUMNS)
"""The columns of `build_features`, in order."""
DECIMALS = 6
"""Decimals of a feature. Logarithms carry rounding errors of 1e-15 that depend on the unit; a tree that splits at zero
would send equal demand in two units down different branches."""


@dataclass(frozen=True, slots=True)
class FeatureMatrix:
    """Features in rows, and the levels that turn logarithms into values.

    matrix: shape (origins * horizons, len(FEATURES)), ordered by origin. levels: shape (origins,).
    """

    matrix: Matrix
    levels: Levels

    def for_origin(self, origin: int, horizons: int) -> "FeatureMatrix":
        """Return the rows of a single origin."""
        rows = slice(origin * horizons, (origin + 1) * horizons)
        return FeatureMatrix(self.matrix[rows], self.levels[origin : origin + 1])


def build_features(panel: Panel, origins: Origins, horizons: IntArray) -> FeatureMatrix:
    """Return the features of each origin for each horizon.

    horizons: bins ahead, shape (horizons,) or (origins, horizons).
    """
    ahead: IntArray = np.broadcast_to(horizons, (len(origins), horizons.shape[-1]))
    sums, counts = running_sums(panel.values)
    levels = levels_from(sums, counts, panel, origins)
    at_origin = recent.recent_columns(panel, origins, levels)
    wall = WallTime.of(panel, origins.rows[:, None], origins.cols[:, None] + ahead - 1)
    at_target = [
        *earlier.earlier_columns(wall, origins, ahead, levels, (sums, counts)),
        *calendar_columns(wall, ahead),
    ]
    matrix = np.empty((ahead.size, len(FEATURES)), dtype=np.float32)
    matrix[:, : at_origin.shape[1]] = np.repeat(at_origin, ahead.shape[1], axis=0)
    matrix[:, at_origin.shape[1] :] = np.stack(at_target, axis=-1).reshape(ahead.size, -1)
    return FeatureMatrix(np.round(matrix, DECIMALS, out=matrix), levels)
