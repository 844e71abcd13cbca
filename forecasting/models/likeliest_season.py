"""The season by which a series repeats itself, chosen at each origin from the values before it."""

from datetime import timedelta

import numpy as np

from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel, mean_before, running_sums
from forecasting.series import FloatArray

SEASONS = (DAY, WEEK, timedelta(hours=1))
"""The candidates. Shorter periods of timers usually divide an hour, so their pattern repeats every hour."""
DAILY, WEEKLY, HOURLY = range(len(SEASONS))
_MAX_ERROR_RATIO = 0.85
_MAX_HOURLY_ERROR_RATIO = 0.9
_MIN_HISTORY = DAY


def likeliest(panel: Panel, origins: Origins) -> IntArray:
    """Return the season with the smallest error over the week before each origin: shape (origins,), of SEASONS.

    A day unless another season is clearly better. An hour only where it is better than the preceding bin as well:
    demand that changes slowly resembles the hour before without an hourly pattern.
    """
    if not len(origins):
        return np.zeros(0, dtype=np.int64)
    values, local = _relevant_part(panel, origins)
    day, week = (_differences(values, panel.bins_in(season)) for season in (DAY, WEEK))
    both = np.isfinite(day) & np.isfinite(week)
    day_error, week_error = (_recent_mean(panel, np.where(both, errors, np.nan), local) for errors in (day, week))
    season = np.where(week_error < _MAX_ERROR_RATIO * day_error, WEEKLY, DAILY)
    hour = panel.bins_in(SEASONS[HOURLY])
    if hour > 1:
        hour_error, bin_error = (_recent_mean(panel, _differences(values, lag), local) for lag in (hour, 1))
        season_error = np.where(season == WEEKLY, week_error, _recent_mean(panel, day, local))
        is_hourly = hour_error < _MAX_HOURLY_ERROR_RATIO * bin_error
        season[is_hourly & ~(season_error <= hour_error / _MAX_ERROR_RATIO)] = HOURLY
    return season


def _relevant_part(panel: Panel, origins: Origins) -> tuple[FloatArray, Origins]:
    """The values that the season of some origins depends on, and the origins as positions within them."""
    rows, at = np.unique(origins.rows, return_inverse=True)
    begin = max(0, int(origins.cols.min()) - 2 * panel.bins_in(WEEK))
    return panel.values[rows, begin : int(origins.cols.max())], Origins(at.astype(np.int64), origins.cols - begin)


def _differences(values: FloatArray, lag: int) -> FloatArray:
    """The difference to the bin `lag` before, over the sum of both: shape (series, bins), NaN where either is missing.

    Each is at most 1, so that no single burst decides.
    """
    differences = np.full(values.shape, np.nan)
    now, then = values[:, lag:], values[:, :-lag]
    total = now + then
    differences[:, lag:] = np.divide(np.abs(now - then), total, out=np.zeros_like(total), where=total != 0)
    return differences


def _recent_mean(panel: Panel, errors: FloatArray, origins: Origins) -> FloatArray:
    """The mean error over the week before each origin, NaN where less than a day of errors is known."""
    sums, counts = running_sums(errors)
    width = panel.bins_in(WEEK)
    since = np.maximum(origins.cols - width, 0)
    known = counts[origins.rows, origins.cols] - counts[origins.rows, since]
    mean = mean_before(sums, counts, origins.rows, origins.cols, width)
    return np.where(known >= panel.bins_in(_MIN_HISTORY), mean, np.nan)
