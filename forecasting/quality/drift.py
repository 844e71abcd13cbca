"""Has the pattern of a series changed since a model learned it?

The last day is compared with the same hours of earlier ones: each day's logarithms relative to its own level, against
the usual course of the others. The mean distance from that course grows with whatever changes: hours of the day, the
height of peaks, noise. Tests of distributions (Kolmogorov-Smirnov, the population stability index) are of no use here:
bins of one day are so alike that each day differs "significantly" from the others. So the earlier days say what a day
may differ: only one that is well further off than any of them has changed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecasting.cleaning.outliers import without_outliers
from forecasting.series import FloatArray, Series

CHANGE_FACTOR = 1.5
"""How many times the greatest distance of an earlier day is a change."""
MIN_WINDOW = timedelta(hours=6)
"""Less than this since the training tells nothing."""
MIN_DAYS = 5
_DAY = timedelta(days=1)
_OFFSET_SHARE = 0.1
_OBSERVED = 0.5
_LEAST = 0.02
"""A distance that is none, in logarithms: on a constant series any difference would be many times the usual."""


@dataclass(frozen=True, slots=True)
class Drift:
    """distance: of the newest window from the usual course, mean of absolute logarithms. usual: the greatest of an
    earlier day. since: where the newest window begins. days: how many earlier ones it was compared with.
    """

    distance: float
    usual: float
    since: datetime
    days: int

    @property
    def has_changed(self) -> bool:
        """Whether it is a change and no whim of a day."""
        return self.distance > CHANGE_FACTOR * max(self.usual, _LEAST)


def drift(series: Series, learned_until: datetime) -> Drift | None:
    """Compare what came after `learned_until`, the last day of it at most, with the same hours of the days before.

    None where less than SHORTEST of it or fewer than MIN_DAYS earlier days were observed: nothing can be said.
    """
    series = without_outliers(series)
    bins_a_day = round(_DAY / series.step)
    width = min(bins_a_day, max(0, (series.end - learned_until) // series.step))
    days = (len(series.values) - width) // bins_a_day
    if width * series.step < MIN_WINDOW or days < MIN_DAYS:
        return None
    ends = len(series.values) - bins_a_day * np.arange(days + 1)
    windows = np.stack([series.values[end - width : end] for end in ends])
    observed = np.isfinite(windows).mean(axis=1) >= _OBSERVED
    newest, earlier = windows[:1], windows[1:][observed[1:]]
    if not observed[0] or len(earlier) < MIN_DAYS:
        return None
    offset = _OFFSET_SHARE * float(np.nanmean(earlier))
    if offset <= 0:
        return None
    (relative,), others = _relative(newest, offset), _relative(earlier, offset)
    every = np.arange(len(others))
    usual = max(_distance(others[day], others[every != day]) for day in every)
    return Drift(_distance(relative, others), usual, series.end - width * series.step, len(others))


def _relative(windows: FloatArray, offset: float) -> FloatArray:
    """Logarithms over each window's own level; the offset mutes small differences near zero."""
    level = np.nanmean(windows, axis=1, keepdims=True)
    return np.log((windows + offset) / (level + offset))


def _distance(window: FloatArray, others: FloatArray) -> float:
    """From the median of the others at each time of day, over the times that are known."""
    known = np.isfinite(window) & np.isfinite(others).any(axis=0)
    if not known.any():
        return 0.0
    return float(np.abs(window[known] - np.nanmedian(others[:, known], axis=0)).mean())
