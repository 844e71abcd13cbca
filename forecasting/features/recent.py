"""The recent past, in logarithms relative to the level."""

from datetime import timedelta

import numpy as np

from forecasting.features.column import DAY_SHAPE, HOUR, MINUTE, RECENT, Feature, short
from forecasting.levels import Levels
from forecasting.panel import DAY, Origins, Panel, past_values
from forecasting.series import FloatArray

_LAGS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
_WINDOWS = (30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY)
_SPREADS = (30 * MINUTE, 2 * HOUR, DAY)
_DECAYS = (15 * MINUTE, HOUR, 6 * HOUR)
_CELLS = 500_000  # of a window held at once: 4 MB an array


def _names() -> tuple[Feature, ...]:
    found = [Feature(f"lag_{lag}", RECENT) for lag in _LAGS]
    found += [Feature(f"mean_{short(w)}", _family(w, 30 * MINUTE)) for w in _WINDOWS]
    for spread in _SPREADS:
        family = _family(spread, 30 * MINUTE)
        found += [Feature(f"{kind}_{short(spread)}", family) for kind in ("spread", "lowest", "highest")]
    found += [Feature(f"decayed_{short(d)}", _family(d, HOUR)) for d in _DECAYS]
    found += [Feature("trend_30m", RECENT), Feature("level_of_week", DAY_SHAPE)]
    return tuple(found)


def _family(width: timedelta, recent_up_to: timedelta) -> str:
    return RECENT if width <= recent_up_to else DAY_SHAPE


COLUMNS = _names()


def recent_columns(panel: Panel, origins: Origins, levels: Levels) -> FloatArray:
    """The columns of COLUMNS at each origin: shape (origins, len(COLUMNS)). A bounded number of windows at a time."""
    size = max(1, _CELLS // panel.bins_in(DAY))
    parts = [
        np.column_stack(_columns(panel, origins[cut], levels[cut]))
        for cut in (slice(at, at + size) for at in range(0, len(origins), size))
    ]
    return np.concatenate(parts)


def _columns(panel: Panel, origins: Origins, levels: Levels) -> list[FloatArray]:
    """What is known at the origin: each of shape (origins,)."""
    logs = levels.log_of(past_values(panel, origins, panel.bins_in(DAY)))
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
