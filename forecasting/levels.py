"""What a series is measured by: its recent level and its scale. Both make models equivariant to the unit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel, mean_before, running_sums
from forecasting.series import FloatArray

OFFSET_SHARE = 0.1
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Levels:
    """At each origin, shape (origins,). level: mean of the newest bins. offset: what is added before the logarithm.

    Logarithms are of x + offset with offset = a tenth of the last week's mean, so that zeros are no trouble and a
    series in other units gives the same features (log1p does not).
    """

    level: FloatArray
    offset: FloatArray

    def __getitem__(self, which: slice) -> "Levels":
        return Levels(self.level[which], self.offset[which])

    @property
    def has_demand(self) -> npt.NDArray[np.bool_]:
        """Whether anything above zero was seen in the week before: from nothing no ratio can be learned."""
        return self.offset > _TINY

    def log_of(self, values: FloatArray) -> FloatArray:
        """log((values + offset) / (level + offset)); values: shape (origins, …)."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        base, offset = np.log(self.level + self.offset), self.offset
        return np.log(values + offset.reshape(shape)) - base.reshape(shape)

    def value_of(self, logs: FloatArray) -> FloatArray:
        """The inverse of log_of, never negative."""
        shape = (-1,) + (1,) * (logs.ndim - 1)
        whole = (self.level + self.offset).reshape(shape)
        return np.maximum(np.exp(np.clip(logs, -20.0, 20.0)) * whole - self.offset.reshape(shape), 0.0)


def levels_at(panel: Panel, origins: Origins) -> Levels:
    """Levels from what was seen before each origin; without the newest bins, from the last hour, day, week."""
    sums, counts = running_sums(panel.values)
    return levels_from(sums, counts, panel, origins)


def levels_from(sums: FloatArray, counts: FloatArray, panel: Panel, origins: Origins) -> Levels:
    """levels_at, for those who have the running sums already."""
    rows, cols = origins.rows, origins.cols
    scale = _mean(sums, counts, rows, cols, panel.bins_in(WEEK))
    level = _mean(sums, counts, rows, cols, 3)
    for width in (12, panel.bins_in(DAY)):
        level = np.where(np.isnan(level), _mean(sums, counts, rows, cols, width), level)
    level = np.where(np.isnan(level), scale, level)
    return Levels(np.nan_to_num(level), np.maximum(OFFSET_SHARE * np.nan_to_num(scale), _TINY))


def _mean(sums: FloatArray, counts: FloatArray, rows: IntArray, cols: IntArray, width: int) -> FloatArray:
    return mean_before(sums, counts, rows, cols, width)
