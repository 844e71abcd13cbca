"""Drift: whether the pattern of a series has changed since a model was trained on it.

The last day is compared with the same hours of earlier days: the logarithms of each day relative to its own level,
against the median of the other days. The mean distance grows with any change: hours of the day, height of peaks, noise.
Tests of distributions (Kolmogorov-Smirnov, the population stability index) are useless here: the bins of a day are so
correlated that each day differs "significantly" from the others. So the earlier days define the usual distance, and
only a day well beyond the largest of their distances is drift.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecasting.cleaning.outliers import without_outliers
from forecasting.series import FloatArray, Series

CHANGE_FACTOR = 1.5
"""A distance beyond this factor times the largest distance of an earlier day is a change."""
MIN_WINDOW = timedelta(hours=6)
"""Minimum duration since the training that is compared."""
MIN_DAYS = 5
_DAY = timedelta(days=1)
_OFFSET_SHARE = 0.1
_MIN_OBSERVED_SHARE = 0.5
_MIN_DISTANCE = 0.02
"""Distances below this, in logarithms, do not count: on a constant series any difference is many times the usual."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance of the newest window, compared with earlier days.

    distance: of the newest window from the median of the earlier days, the mean of absolute logarithms. usual: the
    largest distance of an earlier day. since: the start of the newest window. days: number of earlier days compared.
    """

    distance: float
    usual: float
    since: datetime
    days: int

    @property
    def has_changed(self) -> bool:
        """Whether the distance is a change of the pattern, beyond the usual variation of days."""
        return self.distance > CHANGE_FACTOR * max(self.usual, _MIN_DISTANCE)


def drift(series: Series, learned_until: datetime) -> Drift | None:
    """Compare the demand after `learned_until`, at most its last day, with the same hours of the days before.

    None if less than MIN_WINDOW of it or fewer than MIN_DAYS earlier days were observed.
    """
    series = without_outliers(series)
    bins_a_day = round(_DAY / series.step)
    width = min(bins_a_day, max(0, (series.end - learned_until) // series.step))
    days = (len(series.values) - width) // bins_a_day
    if width * series.step < MIN_WINDOW or days < MIN_DAYS:
        return None
    ends = len(series.values) - bins_a_day * np.arange(days + 1)
    windows = np.stack([series.values[end - width : end] for end in ends])
    observed = np.isfinite(windows).mean(axis=1) >= _MIN_OBSERVED_SHARE
    newest, earlier = windows[:1], windows[1:][observed[1:]]
    if not observed[0] or len(earlier) < MIN_DAYS:
        return None
    offset = _OFFSET_SHARE * float(np.nanmean(earlier))
    if offset <= 0:
        return None
    (relative,), others = _relative(newest, offset), _relative(earlier, offset)
    day_indices = np.arange(len(others))
    usual = max(_distance(others[day], others[day_indices != day]) for day in day_indices)
    return Drift(_distance(relative, others), usual, series.end - width * series.step, len(others))


def _relative(windows: FloatArray, offset: float) -> FloatArray:
    """Return logarithms relative to the level of each window; the offset damps differences near zero."""
    level = np.nanmean(windows, axis=1, keepdims=True)
    return np.log((windows + offset) / (level + offset))


def _distance(window: FloatArray, others: FloatArray) -> float:
    """Return the mean distance from the median of the others, over the times of day that are known."""
    known = np.isfinite(window) & np.isfinite(others).any(axis=0)
    if not known.any():
        return 0.0
    return float(np.abs(window[known] - np.nanmedian(others[:, known], axis=0)).mean())
