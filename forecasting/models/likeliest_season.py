"""Which season a series repeats itself by, told at each origin from what was seen before it."""

from datetime import timedelta

import numpy as np

from forecasting.panel import DAY, WEEK, IntArray, Origins, Panel, mean_before, running
from forecasting.series import FloatArray

SEASONS = (DAY, WEEK, timedelta(hours=1))
"""What is chosen among. All that timers usually repeat within an hour comes back after an hour."""
DAILY, WEEKLY, HOURLY = range(len(SEASONS))
_CLEARLY = 0.85
_TIMER = 0.9
_FEWEST = DAY


def likeliest(panel: Panel, origins: Origins) -> IntArray:
    """The season that would have erred least over the week before each origin: shape (origins,), of SEASONS.

    A day unless another is clearly better. An hour only where it is better than the bin before as well: what moves
    slowly is like an hour ago without repeating itself.
    """
    if not len(origins):
        return np.zeros(0, dtype=np.int64)
    seen, near = _in_sight(panel, origins)
    day, week = (_differences(seen, panel.bins_in(season)) for season in (DAY, WEEK))
    both = np.isfinite(day) & np.isfinite(week)
    of_day, of_week = (_lately(panel, np.where(both, one, np.nan), near) for one in (day, week))
    found = np.where(of_week < _CLEARLY * of_day, WEEKLY, DAILY)
    hour = panel.bins_in(SEASONS[HOURLY])
    if hour > 1:
        of_hour, of_bin = (_lately(panel, _differences(seen, lag), near) for lag in (hour, 1))
        of_season = np.where(found == WEEKLY, of_week, _lately(panel, day, near))
        found[(of_hour < _TIMER * of_bin) & ~(of_season <= of_hour / _CLEARLY)] = HOURLY
    return found


def _in_sight(panel: Panel, origins: Origins) -> tuple[FloatArray, Origins]:
    """The rows and columns that matter to some origins, and the origins within them."""
    rows, at = np.unique(origins.rows, return_inverse=True)
    begin = max(0, int(origins.cols.min()) - 2 * panel.bins_in(WEEK))
    return panel.values[rows, begin : int(origins.cols.max())], Origins(at.astype(np.int64), origins.cols - begin)


def _differences(values: FloatArray, lag: int) -> FloatArray:
    """From the bin `lag` before, over the sum of both: shape (series, bins), NaN where either is missing.

    At most 1 each, so that no single burst decides.
    """
    found = np.full(values.shape, np.nan)
    now, then = values[:, lag:], values[:, :-lag]
    both = now + then
    found[:, lag:] = np.divide(np.abs(now - then), both, out=np.zeros_like(both), where=both != 0)
    return found


def _lately(panel: Panel, errors: FloatArray, origins: Origins) -> FloatArray:
    """Their mean over the week before each origin, NaN where less than a day of them is known."""
    sums, counts = running(errors)
    width = panel.bins_in(WEEK)
    since = np.maximum(origins.cols - width, 0)
    known = counts[origins.rows, origins.cols] - counts[origins.rows, since]
    mean = mean_before(sums, counts, origins.rows, origins.cols, width)
    return np.where(known >= panel.bins_in(_FEWEST), mean, np.nan)
