"""Samples that no forecast may lean on: a counter's glitch, a unit mistake, the largest integer.

A sample is set aside while it is out of all proportion to what came before it: beyond ten times of what the last hours
saw, and beyond three times of anything that was ever seen (or as far below). A few samples that are alike are enough
to be seen, so one absurd sample changes nothing, and a level that stays, or a burst that comes again, counts from its
third or fourth sample on. Ordinary spikes, also steep ones, stay.

Each sample is judged by those before it only: what is known of it later, in training or in a backtest, is what was
known live.
"""

import math
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.series import MAX_DEMAND, FloatArray, Outlier, Series

RECENT_FACTOR = 10.0
"""A sample within so many times of what the last hours saw, up or down, is an ordinary spike or dip."""
HISTORY_FACTOR = 3.0
"""So is one within so many times of what was ever seen."""
RECENT_WINDOW = timedelta(hours=2)
ABSURD_FACTOR = 1e6
"""So many times the median of the past is absurd also when it came before: only staying makes it demand."""
CONFIRMATION_TIME = timedelta(minutes=3)
"""After so long a new level counts, but after two to five samples."""
_COMPANY = 2, 5
_FOLLOWING = 12
_LATELY = 3
_NAMED = 3

BoolArray = npt.NDArray[np.bool_]
Samples = npt.NDArray[np.floating[Any]]


def min_similar(step: timedelta) -> int:
    """How many earlier samples have to be alike before a sample counts.

    >>> company(timedelta(minutes=1)), company(timedelta(minutes=5))
    (3, 2)
    """
    least, most = _COMPANY
    return min(most, max(least, math.ceil(CONFIRMATION_TIME / step)))


def find_outliers(values: Samples, step: timedelta, since: int = 0, *, judge_first: bool = False) -> BoolArray:
    """Which values are set aside: shape (n,). NaN are none, and count for nothing.

    values: not negative, not infinite. since: judge only from this position on; what lies before is their past.
    first_too: the first samples have no past; judge them by those that follow, once there are enough. Only for those
    who look at nothing from within that time.
    """
    needed = min_similar(step)
    places = np.flatnonzero(np.isfinite(values))
    found = np.zeros(len(values), dtype=np.bool_)
    if judge_first:
        far = _far_from_what_followed(values[places], needed)
        found[places[: len(far)]] = far
        places = places[~found[places]]
    seen, begin = values[places], int(np.searchsorted(places, since))
    if begin < needed or not _is_clear(seen, begin, needed):
        wrong = _strangers(seen, needed, max(needed, round(RECENT_WINDOW / step))) | _absurd(seen, needed)
        found[places[begin:]] = wrong[begin:]
    return found


def without_outliers(series: Series, *, judge_first: bool = False) -> Series:
    """The series with gaps in place of its outliers, which it names; as it is where somebody looked for them already.

    first_too: see outliers. Negative and infinite values become gaps too, and values beyond MAX_DEMAND become that.
    """
    if series.outliers is not None:
        return series
    values = usable_demand(series.values)
    found = find_outliers(values, series.step, judge_first=judge_first)
    named = tuple(
        Outlier(series.start + int(at) * series.step, float(series.values[at])) for at in np.flatnonzero(found)
    )
    values[found] = np.nan
    return replace(series, values=values, outliers=named)


def usable_demand(values: FloatArray) -> FloatArray:
    """Demand as it may be calculated with: NaN where it is negative or infinite, at most MAX_DEMAND."""
    return np.where(np.isfinite(values) & (values >= 0), np.minimum(values, MAX_DEMAND), np.nan)


def describe_outliers(found: tuple[Outlier, ...]) -> str:
    """What was set aside, for people; the first few by name.

    >>> from datetime import datetime
    >>> outliers_in_words((Outlier(datetime(2026, 3, 1, 12, 5, tzinfo=UTC), 9.223372036854776e18),))
    '1 value is out of all proportion and counts as a gap: 9.22337e+18 at 2026-03-01T12:05Z'
    """
    named = ", ".join(f"{one.value:g} at {one.at.astimezone(UTC):%Y-%m-%dT%H:%MZ}" for one in found[:_NAMED])
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    are = "value is" if len(found) == 1 else "values are"
    count = "counts as a gap" if len(found) == 1 else "count as gaps"
    return f"{len(found):,} {are} out of all proportion and {count}: {named}{more}"


def _is_clear(seen: Samples, begin: int, needed: int) -> bool:
    """Whether nothing from `begin` on can be an outlier, by one look at the highest and the lowest of it."""
    past, part = seen[:begin], seen[begin:]
    if not len(part):
        return True
    highest, lowest = float(part.max()), float(part.min())
    return bool(
        np.count_nonzero(past >= highest / HISTORY_FACTOR) >= needed
        and np.count_nonzero(past <= lowest * HISTORY_FACTOR) >= needed
        and 2 * np.count_nonzero(past >= highest / ABSURD_FACTOR) > len(seen)
    )


def _strangers(seen: Samples, needed: int, recent: int) -> BoolArray:
    """Samples beyond all that was ever seen before them and far beyond what was seen of late. shape (n,)."""
    high, low = _running_highest(seen, needed), -_running_highest(-seen, needed)
    # From nothing no proportion can be told: what wakes a sleeping series counts at once.
    above = (high > 0) & (seen > HISTORY_FACTOR * high)
    below = np.isfinite(low) & (seen < low / HISTORY_FACTOR)
    found = above | below
    for at in np.flatnonzero(found):
        lately, value = seen[max(0, at - recent) : at], float(seen[at])
        near = lately >= value / RECENT_FACTOR if above[at] else lately <= value * RECENT_FACTOR
        found[at] = np.count_nonzero(near) < needed
    return found


def _running_highest(seen: Samples, rank: int) -> Samples:
    """The rank-th highest of the samples before each: shape (n,), minus infinity where there are fewer."""
    nothing = np.full(1, -np.inf, dtype=seen.dtype)
    rest = before = seen
    for _ in range(rank):
        before = np.concatenate([nothing, np.maximum.accumulate(rest)[:-1]])
        # What a higher one pushes out is next in rank.
        rest = np.minimum(rest, before)
    return before


def _absurd(seen: Samples, needed: int) -> BoolArray:
    """Samples far beyond any demand, unless the newest ones are like them. shape (n,)."""
    found = np.zeros(len(seen), dtype=np.bool_)
    begin = needed
    # In parts that double, each by the median of what lies before it.
    while begin < len(seen):
        part, past = seen[begin : 2 * begin], seen[:begin]
        awake = past[past > 0]
        if len(awake) and float(part.max()) > ABSURD_FACTOR * float(awake.min()):
            beyond = np.flatnonzero(part > ABSURD_FACTOR * float(np.median(awake))) + begin
            found[beyond] = [not _stays(seen, int(at), needed) for at in beyond]
        begin *= 2
    return found


def _stays(seen: Samples, at: int, needed: int) -> bool:
    lately = seen[max(0, at - _LATELY * needed) : at]
    return bool(np.count_nonzero(lately >= float(seen[at]) / RECENT_FACTOR) >= needed)


def _far_from_what_followed(seen: Samples, needed: int) -> BoolArray:
    """Of the first `needed` samples those that are out of all proportion to what followed them."""
    first, following = seen[:needed], seen[needed : needed + _FOLLOWING * needed]
    if len(following) < _FOLLOWING * needed:
        return np.zeros(len(first), dtype=np.bool_)
    ordered = np.sort(following)
    low, high = float(ordered[needed - 1]) / RECENT_FACTOR, float(ordered[-needed]) * RECENT_FACTOR
    return (first < low) | (first > (high or math.inf))
