"""Many series in one matrix, so that a computation covers all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forecasting.cleaning.outliers import usable_demand, without_outliers
from forecasting.context import Context
from forecasting.series import FloatArray, Series

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Panel:
    """Series with the same step, each ending in the last column; NaN where nothing was observed.

    values: shape (series, bins). ends: shape (series,), the end of each series in epoch seconds. step: seconds.
    contexts: the context of each series.
    """

    values: FloatArray
    ends: IntArray
    step: int
    contexts: tuple[Context, ...]

    @classmethod
    def of(cls, series: Sequence[Series], keep: int | None = None) -> "Panel":
        """Return a panel of `series`, aligned at their ends. keep: maximum number of bins, the newest; None keeps all.

        Negative values, infinite values and outliers become NaN. Raises ValueError if steps differ or there is no
        series.
        """
        if not series:
            raise ValueError("a panel needs at least one series")
        step = series[0].step
        if any(member.step != step for member in series):
            steps = sorted({str(member.step) for member in series})
            raise ValueError(f"all series of a panel must have the same step; their steps are {steps}")
        width = max(1, max(len(member.values) for member in series))
        width = width if keep is None else min(width, keep)
        values = np.full((len(series), width), np.nan)
        for row, member in zip(values, series, strict=True):
            tail = without_outliers(member).values[-width:]
            row[width - len(tail) :] = tail
        values = usable_demand(values)
        ends = np.array([round(member.end.timestamp()) for member in series], dtype=np.int64)
        return cls(values, ends, round(step.total_seconds()), tuple(member.context for member in series))

    @property
    def bins(self) -> int:
        """The number of columns."""
        return self.values.shape[1]

    def bins_in(self, duration: timedelta) -> int:
        """Return the number of bins in `duration`, at least 1."""
        return max(1, round(duration.total_seconds() / self.step))

    def seconds_at(self, origins: "Origins") -> IntArray:
        """Return the epoch seconds of each origin."""
        return self.ends[origins.rows] - (self.bins - origins.cols) * self.step

    def latest_origins(self) -> "Origins":
        """Return the end of each series as its origin."""
        count = len(self.values)
        return Origins(np.arange(count), np.full(count, self.bins, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Origins:
    """Forecast origins: after column `cols - 1` of row `rows`. Columns from `cols` on are the future.

    rows, cols: shape (origins,); 0 <= cols <= bins.
    """

    rows: IntArray
    cols: IntArray

    @classmethod
    def of_single_series(cls, cols: IntArray) -> "Origins":
        """Return origins in a panel of a single series."""
        return cls(np.zeros(len(cols), dtype=np.int64), cols)

    def __len__(self) -> int:
        return len(self.cols)

    def __getitem__(self, which: slice | IntArray | npt.NDArray[np.bool_]) -> "Origins":
        return Origins(self.rows[which], self.cols[which])


def values_at(values: FloatArray, rows: IntArray, cols: IntArray) -> FloatArray:
    """Return values[rows, cols], NaN for columns outside the matrix. rows and cols broadcast."""
    inside = (cols >= 0) & (cols < values.shape[1])
    return np.where(inside, values[rows, np.where(inside, cols, 0)], np.nan)


def past_values(panel: Panel, origins: Origins, width: int) -> FloatArray:
    """Return the `width` bins before each origin, oldest first: shape (origins, width), NaN where none exists."""
    cols = origins.cols[:, None] + np.arange(-width, 0)
    return values_at(panel.values, origins.rows[:, None], cols)


def running_sums(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sums and counts of the values observed before each column: shapes (series, bins + 1)."""
    observed = np.isfinite(values)
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    counts = np.zeros_like(sums)
    np.cumsum(np.where(observed, values, 0.0), axis=1, out=sums[:, 1:])
    np.cumsum(observed, axis=1, out=counts[:, 1:])
    return sums, counts


def mean_before(sums: FloatArray, counts: FloatArray, rows: IntArray, cols: IntArray, width: int) -> FloatArray:
    """Return the mean of the `width` columns before `cols`; NaN where none was observed. rows and cols broadcast."""
    # np.clip with integers takes several times as long on short arrays.
    last = sums.shape[1] - 1
    end, start = (np.minimum(np.maximum(edge, 0), last) for edge in (cols, cols - width))
    count = counts[rows, end] - counts[rows, start]
    total = np.maximum(sums[rows, end] - sums[rows, start], 0.0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
