"""The recent level and the scale of a series. Relative to them, models are equivariant to the unit of demand."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.panel import DAY, WEEK, Origins, Panel, mean_before, running_sums
from forecasting.series import FloatArray

OFFSET_SHARE = 0.1
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Levels:
    """Level and offset at each origin, shape (origins,), in the unit of the series.

    level: mean of the newest bins. offset: a tenth of the last week's mean, added before the logarithm. Logarithms of
    x + offset are defined at zero, and a series in other units has the same features (with log1p it has not).
    """

    level: FloatArray
    offset: FloatArray

    def __getitem__(self, which: slice) -> "Levels":
        return Levels(self.level[which], self.offset[which])

    @property
    def has_demand(self) -> npt.NDArray[np.bool_]:
        """Whether demand above zero was observed in the last week. Without it, ratios are undefined."""
        return self.offset > _TINY

    def log_of(self, values: FloatArray) -> FloatArray:
        """Return log((values + offset) / (level + offset)). values: shape (origins, …)."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        base, offset = np.log(self.level + self.offset), self.offset
        return np.log(values + offset.reshape(shape)) - base.reshape(shape)

    def value_of(self, logs: FloatArray) -> FloatArray:
        """Return the inverse of log_of, at least 0."""
        shape = (-1,) + (1,) * (logs.ndim - 1)
        base = (self.level + self.offset).reshape(shape)
        return np.maximum(np.exp(np.clip(logs, -20.0, 20.0)) * base - self.offset.reshape(shape), 0.0)


def levels_at(panel: Panel, origins: Origins) -> Levels:
    """Return the levels before each origin.

    The level is the mean of the last 3 bins; if they are missing, of the last 12 bins, the last day or the last week.
    """
    sums, counts = running_sums(panel.values)
    return levels_from(sums, counts, panel, origins)


def levels_from(sums: FloatArray, counts: FloatArray, panel: Panel, origins: Origins) -> Levels:
    """Return the same as levels_at, from running sums that the caller has already computed."""
    rows, cols = origins.rows, origins.cols
    scale = mean_before(sums, counts, rows, cols, panel.bins_in(WEEK))
    level = mean_before(sums, counts, rows, cols, 3)
    for width in (12, panel.bins_in(DAY)):
        level = np.where(np.isnan(level), mean_before(sums, counts, rows, cols, width), level)
    level = np.where(np.isnan(level), scale, level)
    return Levels(np.nan_to_num(level), np.maximum(OFFSET_SHARE * np.nan_to_num(scale), _TINY))
