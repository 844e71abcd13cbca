"""Many series side by side, so that what is computed for one is computed for all in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
    """Series of one step, each ending in the last column; NaN where there is nothing.

    values: shape (series, bins). ends: shape (series,), epoch seconds of each series' end. step: seconds.
    contexts: what is known of each series beside its values.
    """

    values: FloatArray
    ends: IntArray
    step: int
    contexts: tuple[Context, ...]

    @classmethod
    def of(cls, series: Sequence[Series], keep: int | None = None) -> "Panel":
        """Line `series` up by their ends; `keep`: the newest bins only.

        Negative and infinite values are read as missing, and so are outliers that nobody set aside before.
        Raises ValueError when steps differ or there is no series.
        """
        if not series:
            raise ValueError("a panel needs at least one series")
        step = series[0].step
        if any(one.step != step for one in series):
            raise ValueError(f"all series of a panel have one step; found {sorted({str(s.step) for s in series})}")
        width = max(1, max(len(one.values) for one in series))
        width = width if keep is None else min(width, keep)
        values = np.full((len(series), width), np.nan)
        for row, one in zip(values, series, strict=True):
            tail = without_outliers(one).values[-width:]
            row[width - len(tail) :] = tail
        values = usable_demand(values)
        ends = np.array([round(one.end.timestamp()) for one in series], dtype=np.int64)
        return cls(values, ends, round(step.total_seconds()), tuple(one.context for one in series))

    @property
    def bins(self) -> int:
        """Columns."""
        return self.values.shape[1]

    def bins_in(self, duration: timedelta) -> int:
        """How many bins make up `duration`; at least one."""
        return max(1, round(duration.total_seconds() / self.step))

    def seconds_at(self, origins: "Origins") -> IntArray:
        """Epoch seconds of each origin."""
        return self.ends[origins.rows] - (self.bins - origins.cols) * self.step

    def moment(self, row: int) -> datetime:
        """The end of a series, as a time."""
        return datetime.fromtimestamp(int(self.ends[row]), UTC)

    def latest_origins(self) -> "Origins":
        """The end of each series as its origin."""
        count = len(self.values)
        return Origins(np.arange(count), np.full(count, self.bins, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Origins:
    """Where forecasts are made: after column `cols - 1` of row `rows`. Columns from `cols` on are the future.

    rows, cols: shape (origins,); 0 <= cols <= bins.
    """

    rows: IntArray
    cols: IntArray

    @classmethod
    def of_single_series(cls, cols: IntArray) -> "Origins":
        """Origins in a panel of one series."""
        return cls(np.zeros(len(cols), dtype=np.int64), cols)

    def __len__(self) -> int:
        return len(self.cols)

    def __getitem__(self, which: slice | IntArray | npt.NDArray[np.bool_]) -> "Origins":
        return Origins(self.rows[which], self.cols[which])


def values_at(values: FloatArray, rows: IntArray, cols: IntArray) -> FloatArray:
    """values[rows, cols], NaN for columns that are not there. rows and cols broadcast."""
    inside = (cols >= 0) & (cols < values.shape[1])
    return np.where(inside, values[rows, np.where(inside, cols, 0)], np.nan)


def past_values(panel: Panel, origins: Origins, width: int) -> FloatArray:
    """The `width` bins before each origin, oldest first: shape (origins, width), NaN before the series began."""
    cols = origins.cols[:, None] + np.arange(-width, 0)
    return values_at(panel.values, origins.rows[:, None], cols)


def running_sums(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sums and counts of what is observed before each column: shapes (series, bins + 1)."""
    seen = np.isfinite(values)
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    counts = np.zeros_like(sums)
    np.cumsum(np.where(seen, values, 0.0), axis=1, out=sums[:, 1:])
    np.cumsum(seen, axis=1, out=counts[:, 1:])
    return sums, counts


def mean_before(sums: FloatArray, counts: FloatArray, rows: IntArray, cols: IntArray, width: int) -> FloatArray:
    """Mean of the `width` columns before `cols`; NaN where none of them was observed. rows and cols broadcast."""
    to, since = np.clip(cols, 0, sums.shape[1] - 1), np.clip(cols - width, 0, sums.shape[1] - 1)
    count = counts[rows, to] - counts[rows, since]
    total = np.maximum(sums[rows, to] - sums[rows, since], 0.0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
