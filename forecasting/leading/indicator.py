"""A leading indicator on the bins of the demand that it may run ahead of, and what of it a correction reads.

What counts is the unusual part: logarithms relative to the same time on earlier days, which a forecast knows anyway.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.levels import OFFSET_SHARE
from forecasting.panel import DAY, IntArray
from forecasting.series import FloatArray

RECENT_BINS = 3
"""The bins that stand for the present, as in the level of a forecast."""
COLUMNS = 3
"""Columns of `lead_columns`."""
_DAYS_BACK = 7
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class Indicator:
    """A series beside demand.

    values: shape (bins,), one for each bin of the demand, NaN where nothing was observed. If its samples arrive later
    than those of demand, the bins are shifted back by this delay: a value in the column before an origin was known at
    that origin. max_lag: maximum number of these bins by which it is expected to run ahead.
    """

    name: str
    values: FloatArray
    max_lag: int
    delay: timedelta = timedelta()


def scale_offset(values: FloatArray) -> float:
    """Return what is added to values before their logarithm: a tenth of their mean."""
    mean = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
    return max(OFFSET_SHARE * mean, _SMALLEST)


def anomalies(values: FloatArray, step: timedelta, offset: float, newest: int | None = None) -> FloatArray:
    """Return logarithms minus the mean of the same time on up to seven earlier days: shape (bins,).

    NaN where the bin or all earlier days are missing. Reads nothing after a bin. newest: only so many of the newest
    bins are computed, and the others are NaN.
    """
    bins, day = len(values), max(1, round(DAY / step))
    first = 0 if newest is None else max(0, bins - newest)
    columns = np.arange(first, bins) - day * np.arange(_DAYS_BACK + 1)[:, None]
    logs = np.log(np.maximum(np.where(columns >= 0, values[np.maximum(columns, 0)], np.nan), 0.0) + offset)
    known = np.isfinite(logs[1:])
    counts = known.sum(axis=0)
    sums = np.where(known, logs[1:], 0.0).sum(axis=0)
    unusual = np.full(bins, np.nan)
    unusual[first:] = logs[0] - np.divide(sums, counts, out=np.full(bins - first, np.nan), where=counts > 0)
    return unusual


def lead_columns(unusual: FloatArray, origins: IntArray, horizons: IntArray, lag: int) -> FloatArray:
    """Return how much the indicator changed between what demand shows by now and what it will show at the target.

    unusual: the anomalies. Shape (origins, horizons, COLUMNS): the change to the bin that leads the target, to the
    three bins around it, and to the three newest bins. NaN where bins are missing. Reads no bin at or after an origin.
    """
    now = origins[:, None]
    recent = _recent_means(unusual)
    shown, newest = _at(recent, now - lag), _at(recent, now)
    leading = np.minimum(now + horizons - lag, now)
    around = _at(recent, np.minimum(leading + 1, now))
    columns = (_at(unusual, leading - 1) - shown, around - shown, np.broadcast_to(newest - shown, leading.shape))
    return np.stack(columns, axis=-1)


def _recent_means(unusual: FloatArray) -> FloatArray:
    """Return the mean of the observed ones of the RECENT_BINS bins before each column: shape (bins + 1,)."""
    padded = np.concatenate([np.full(RECENT_BINS, np.nan), unusual])
    parts = np.lib.stride_tricks.sliding_window_view(padded, RECENT_BINS)
    known = np.isfinite(parts)
    counts = known.sum(axis=1)
    sums = np.where(known, parts, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(parts), np.nan), where=counts > 0)


def _at(values: FloatArray, columns: IntArray) -> FloatArray:
    inside = (columns >= 0) & (columns < len(values))
    return np.where(inside, values[np.where(inside, columns, 0)], np.nan)
