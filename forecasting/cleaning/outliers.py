"""Outliers: samples that no forecast may use, such as a counter glitch, a unit mistake or the largest integer.

A sample is set aside while it is out of proportion to earlier samples: more than ten times the demand of the last hours
and more than three times any earlier demand (or as far below). A few similar samples are enough to count as demand.
So a single absurd sample has no effect, and a new level or a repeated burst counts from its third or fourth sample on.
Ordinary spikes stay, even steep ones.

Each sample is judged by earlier samples only, so training and backtest set aside the same samples as the live window.
"""

import math
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.series import MAX_DEMAND, FloatArray, Outlier, Series

RECENT_FACTOR = 10.0
"""A sample within this factor of the demand of the last hours, up or down, is an ordinary spike or dip."""
HISTORY_FACTOR = 3.0
"""A sample within this factor of any earlier demand is ordinary too."""
RECENT_WINDOW = timedelta(hours=2)
ABSURD_FACTOR = 1e6
"""A sample beyond this factor times the median of the past is absurd even if it is repeated: only a level that stays
counts."""
CONFIRMATION_TIME = timedelta(minutes=3)
"""A new level counts after this duration, limited to two to five samples."""
_MIN_SIMILAR, _MAX_SIMILAR = 2, 5
_FOLLOWING_RATIO = 12
_RECENT_RATIO = 3
_MAX_NAMED = 3

BoolArray = npt.NDArray[np.bool_]
Samples = npt.NDArray[np.floating[Any]]


def min_similar(step: timedelta) -> int:
    """Return the number of similar earlier samples that a sample needs to count as demand.

    >>> min_similar(timedelta(minutes=1)), min_similar(timedelta(minutes=5))
    (3, 2)
    """
    return min(_MAX_SIMILAR, max(_MIN_SIMILAR, math.ceil(CONFIRMATION_TIME / step)))


def find_outliers(values: Samples, step: timedelta, since: int = 0, *, judge_first: bool = False) -> BoolArray:
    """Return which values are set aside: shape (n,). NaN is never set aside and never counts.

    values: not negative, not infinite. since: judge values from this position on, by all values before.
    judge_first: also judge the first samples, by the samples that follow once there are enough. Only for callers that
    make no forecast within that time.
    """
    needed = min_similar(step)
    positions = np.flatnonzero(np.isfinite(values))
    flags = np.zeros(len(values), dtype=np.bool_)
    if judge_first:
        far = _first_out_of_proportion(values[positions], needed)
        flags[positions[: len(far)]] = far
        positions = positions[~flags[positions]]
    known, begin = values[positions], int(np.searchsorted(positions, since))
    if begin < needed or not _has_no_outliers(known, begin, needed):
        recent = max(needed, round(RECENT_WINDOW / step))
        known_flags = _out_of_proportion(known, needed, recent) | _absurd(known, needed)
        flags[positions[begin:]] = known_flags[begin:]
    return flags


def without_outliers(series: Series, *, judge_first: bool = False) -> Series:
    """Return the series with its outliers listed and replaced by gaps; the same series if it was searched before.

    judge_first: see find_outliers. Negative and infinite values become gaps too; values are capped at MAX_DEMAND.
    """
    if series.outliers is not None:
        return series
    values = usable_demand(series.values)
    flags = find_outliers(values, series.step, judge_first=judge_first)
    outliers = tuple(
        Outlier(series.start + int(position) * series.step, float(series.values[position]))
        for position in np.flatnonzero(flags)
    )
    values[flags] = np.nan
    return replace(series, values=values, outliers=outliers)


def usable_demand(values: FloatArray) -> FloatArray:
    """Return demand for calculations: NaN where negative or infinite, at most MAX_DEMAND."""
    return np.where(np.isfinite(values) & (values >= 0), np.minimum(values, MAX_DEMAND), np.nan)


def describe_outliers(outliers: tuple[Outlier, ...]) -> str:
    """Return a sentence on the outliers, with the first few values and times.

    >>> from datetime import datetime
    >>> describe_outliers((Outlier(datetime(2026, 3, 1, 12, 5, tzinfo=UTC), 9.223372036854776e18),))
    '1 value is out of proportion and counts as a gap: 9.22337e+18 at 2026-03-01T12:05Z'
    """
    named = ", ".join(
        f"{outlier.value:g} at {outlier.at.astimezone(UTC):%Y-%m-%dT%H:%MZ}" for outlier in outliers[:_MAX_NAMED]
    )
    more = f" and {len(outliers) - _MAX_NAMED:,} more" if len(outliers) > _MAX_NAMED else ""
    subject = "value is" if len(outliers) == 1 else "values are"
    verb = "counts as a gap" if len(outliers) == 1 else "count as gaps"
    return f"{len(outliers):,} {subject} out of proportion and {verb}: {named}{more}"


def _has_no_outliers(known: Samples, begin: int, needed: int) -> bool:
    """Return whether no sample from `begin` on can be an outlier, by their highest and lowest value alone."""
    past, part = known[:begin], known[begin:]
    if not len(part):
        return True
    highest, lowest = float(part.max()), float(part.min())
    return bool(
        np.count_nonzero(past >= highest / HISTORY_FACTOR) >= needed
        and np.count_nonzero(past <= lowest * HISTORY_FACTOR) >= needed
        and 2 * np.count_nonzero(past >= highest / ABSURD_FACTOR) > len(known)
    )


def _out_of_proportion(known: Samples, needed: int, recent: int) -> BoolArray:
    """Return the samples beyond all earlier samples and far beyond the recent samples: shape (n,)."""
    high, low = _running_highest(known, needed), -_running_highest(-known, needed)
    # Zeros have no scale to compare with: the first demand of an idle series counts immediately.
    above = (high > 0) & (known > HISTORY_FACTOR * high)
    below = np.isfinite(low) & (known < low / HISTORY_FACTOR)
    flags = above | below
    for position in np.flatnonzero(flags):
        window, value = known[max(0, position - recent) : position], float(known[position])
        similar = window >= value / RECENT_FACTOR if above[position] else window <= value * RECENT_FACTOR
        flags[position] = np.count_nonzero(similar) < needed
    return flags


def _running_highest(known: Samples, rank: int) -> Samples:
    """Return the rank-th highest of the samples before each sample: shape (n,), minus infinity if there are fewer."""
    no_sample = np.full(1, -np.inf, dtype=known.dtype)
    rest = before = known
    for _ in range(rank):
        before = np.concatenate([no_sample, np.maximum.accumulate(rest)[:-1]])
        # A value that a higher value displaces has the next rank.
        rest = np.minimum(rest, before)
    return before


def _absurd(known: Samples, needed: int) -> BoolArray:
    """Return the samples far beyond the median demand, unless their level stays: shape (n,)."""
    flags = np.zeros(len(known), dtype=np.bool_)
    begin = needed
    # In parts of doubling length, each judged by the median of the samples before it.
    while begin < len(known):
        part, past = known[begin : 2 * begin], known[:begin]
        above_zero = past[past > 0]
        if len(above_zero) and float(part.max()) > ABSURD_FACTOR * float(above_zero.min()):
            beyond = np.flatnonzero(part > ABSURD_FACTOR * float(np.median(above_zero))) + begin
            flags[beyond] = [not _stays(known, int(position), needed) for position in beyond]
        begin *= 2
    return flags


def _stays(known: Samples, position: int, needed: int) -> bool:
    """Return whether the newest samples before a position are at the level of its sample."""
    window = known[max(0, position - _RECENT_RATIO * needed) : position]
    return bool(np.count_nonzero(window >= float(known[position]) / RECENT_FACTOR) >= needed)


def _first_out_of_proportion(known: Samples, needed: int) -> BoolArray:
    """Return which of the first `needed` samples are out of proportion to the samples that follow them."""
    first, following = known[:needed], known[needed : needed + _FOLLOWING_RATIO * needed]
    if len(following) < _FOLLOWING_RATIO * needed:
        return np.zeros(len(first), dtype=np.bool_)
    ordered = np.sort(following)
    low, high = float(ordered[needed - 1]) / RECENT_FACTOR, float(ordered[-needed]) * RECENT_FACTOR
    return (first < low) | (first > (high or math.inf))
