"""What a model looks at: the recent past relative to its level, the same time on earlier days, and the calendar.

Nothing from an origin on is read. All but the calendar is in logarithms relative to the level, so a series in other
units has the same features.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.levels import Levels, levels_from
from forecasting.panel import DAY, IntArray, Origins, Panel, mean_before, past, running
from forecasting.series import FloatArray

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
_LAGS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
_WINDOWS = (30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY)
_SPREADS = (30 * MINUTE, 2 * HOUR, DAY)
_DECAYS = (15 * MINUTE, HOUR, 6 * HOUR)
_DAYS_BACK = (1, 2, 3, 7)
_WEEK_DAYS = 7
_CELLS = 500_000  # of a window held at once: 4 MB an array


@dataclass(frozen=True, slots=True)
class Feature:
    """A column: its name, and the family that explanations group it by."""

    name: str
    family: str


RECENT = "demand of the last 30 minutes"
DAY_SHAPE = "demand of the last day"
YESTERDAY = "the same time on the days before"
LAST_WEEK = "the same time a week ago"
CLOCK = "the time of day"
CALENDAR = "the day of the week"
AHEAD = "how far ahead"


def _names() -> tuple[Feature, ...]:
    found = [Feature(f"lag_{lag}", RECENT) for lag in _LAGS]
    found += [Feature(f"mean_{_short(w)}", RECENT if w <= 30 * MINUTE else DAY_SHAPE) for w in _WINDOWS]
    for spread in _SPREADS:
        family = RECENT if spread <= 30 * MINUTE else DAY_SHAPE
        found += [Feature(f"{kind}_{_short(spread)}", family) for kind in ("spread", "lowest", "highest")]
    found += [Feature(f"decayed_{_short(d)}", RECENT if d <= HOUR else DAY_SHAPE) for d in _DECAYS]
    found += [Feature("trend_30m", RECENT), Feature("level_of_week", DAY_SHAPE)]
    found.append(Feature("horizon", AHEAD))
    for day in _DAYS_BACK:
        family = LAST_WEEK if day == _WEEK_DAYS else YESTERDAY
        found += [Feature(f"value_{day}d", family), Feature(f"growth_{day}d", family)]
    found += [Feature("growth_days", YESTERDAY), Feature("value_days", YESTERDAY)]
    found += [Feature("minute_of_day", CLOCK), Feature("minute_of_hour", CLOCK), Feature("weekday", CALENDAR)]
    return tuple(found)


def _short(duration: timedelta) -> str:
    minutes = round(duration / MINUTE)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h"


FEATURES = _names()
"""The columns of `build`, in order."""


@dataclass(frozen=True, slots=True)
class Built:
    """matrix: shape (origins * horizons, len(FEATURES)), origin by origin. levels: to turn logs into values."""

    matrix: Matrix
    levels: Levels

    def of(self, origin: int, horizons: int) -> "Built":
        """The part of one origin."""
        rows = slice(origin * horizons, (origin + 1) * horizons)
        return Built(self.matrix[rows], self.levels[origin : origin + 1])


def build(panel: Panel, origins: Origins, horizons: IntArray) -> Built:
    """Features of each origin for each horizon. horizons: shape (horizons,) or (origins, horizons), bins ahead."""
    ahead: IntArray = np.broadcast_to(horizons, (len(origins), horizons.shape[-1]))
    sums, counts = running(panel.values)
    levels = levels_from(sums, counts, panel, origins)
    recent = _in_chunks(panel, origins, levels)
    target = np.stack([*_target(panel, origins, ahead, levels, (sums, counts))], axis=-1)
    matrix = np.empty((ahead.size, len(FEATURES)), dtype=np.float32)
    matrix[:, : recent.shape[1]] = np.repeat(recent, ahead.shape[1], axis=0)
    matrix[:, recent.shape[1] :] = target.reshape(ahead.size, -1)
    return Built(matrix, levels)


def _in_chunks(panel: Panel, origins: Origins, levels: Levels) -> FloatArray:
    """_recent as columns, a bounded number of windows at a time."""
    size = max(1, _CELLS // panel.bins_in(DAY))
    parts = [
        np.column_stack(_recent(panel, origins[cut], levels[cut]))
        for cut in (slice(at, at + size) for at in range(0, len(origins), size))
    ]
    return np.concatenate(parts)


def _recent(panel: Panel, origins: Origins, levels: Levels) -> list[FloatArray]:
    """What is known at the origin: each of shape (origins,)."""
    logs = levels.log_of(past(panel, origins, panel.bins_in(DAY)))
    columns = [logs[:, -lag] if lag <= logs.shape[1] else np.full(len(logs), np.nan) for lag in _LAGS]
    seen = np.isfinite(logs)
    filled = np.where(seen, logs, 0.0)
    columns += [_weighted(filled[:, -panel.bins_in(w) :], seen[:, -panel.bins_in(w) :]) for w in _WINDOWS]
    for duration in _SPREADS:
        bins = max(2, panel.bins_in(duration))
        columns += _spread(logs[:, -bins:], filled[:, -bins:], seen[:, -bins:])
    for decay in _DECAYS:
        weights = np.exp(np.arange(-logs.shape[1], 0) / panel.bins_in(decay))
        columns.append(_weighted(filled, seen * weights))
    half = panel.bins_in(30 * MINUTE)
    newest, older = slice(-half, None), slice(-2 * half, -half)
    columns.append(_weighted(filled[:, newest], seen[:, newest]) - _weighted(filled[:, older], seen[:, older]))
    columns.append(np.log(levels.level + levels.offset) - np.log(11 * levels.offset))
    return columns


def _weighted(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean along each row; NaN where nothing was seen."""
    total = weights.sum(axis=1, dtype=np.float64)
    return np.divide((values * weights).sum(axis=1), total, out=np.full(len(values), np.nan), where=total > 0)


def _spread(logs: FloatArray, filled: FloatArray, seen: FloatArray) -> list[FloatArray]:
    """Standard deviation, minimum and maximum along each row; NaN where nothing was seen."""
    mean = _weighted(filled, seen)
    variance = _weighted((filled - mean[:, None]) ** 2, seen)
    lowest, highest = np.where(seen, logs, np.inf).min(axis=1), np.where(seen, logs, -np.inf).max(axis=1)
    nothing = ~seen.any(axis=1)
    return [np.sqrt(variance), np.where(nothing, np.nan, lowest), np.where(nothing, np.nan, highest)]


def _target(
    panel: Panel, origins: Origins, ahead: IntArray, levels: Levels, sums: tuple[FloatArray, FloatArray]
) -> list[FloatArray]:
    """What is known about the target time: each of shape (origins, horizons)."""
    columns: list[FloatArray] = [(ahead * (panel.step / 60)).astype(np.float64)]
    growths: list[FloatArray] = []
    values: list[FloatArray] = []
    rows, day = origins.rows[:, None], panel.bins_in(DAY)
    for days in range(1, _WEEK_DAYS + 1):
        then = _around(panel, rows, origins.cols[:, None] + ahead - 1 - days * day, sums, origins.cols[:, None])
        value = levels.log_of(then)
        base = levels.log_of(mean_before(*sums, origins.rows, origins.cols - days * day, 3))
        values.append(value)
        growths.append(value - base[:, None])
        if days in _DAYS_BACK:
            columns += [values[-1], growths[-1]]
    columns += [_mean_of(growths), _mean_of(values)]
    seconds = panel.seconds_at(origins)[:, None] + (ahead - 1) * panel.step
    columns.append(seconds % 86_400 / 60)
    columns.append(seconds % 3600 / 60)
    columns.append(((seconds // 86_400 + 3) % 7).astype(np.float64))
    return columns


def _around(
    panel: Panel, rows: IntArray, cols: IntArray, sums: tuple[FloatArray, FloatArray], origin: IntArray
) -> FloatArray:
    """The mean of a bin and its neighbours, or of what of them lies before the origin."""
    del panel
    # The window's end is cut at the origin: with a short day (coarse bins) a neighbour could lie in the future.
    return mean_before(*sums, rows, np.minimum(cols + 2, origin), 3)


def _mean_of(columns: list[FloatArray]) -> FloatArray:
    stacked = np.stack(columns)
    seen = np.isfinite(stacked)
    count = seen.sum(axis=0)
    total = np.where(seen, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
