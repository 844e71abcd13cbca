"""Columns of recent demand, in logarithms relative to the level."""

from datetime import timedelta

import numpy as np

from forecasting.features.column import DAY_SHAPE, HOUR, MINUTE, RECENT, Feature, abbreviated
from forecasting.levels import Levels
from forecasting.panel import DAY, Origins, Panel, past_values
from forecasting.series import FloatArray

_LAGS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
_WINDOWS = (30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY)
_SPREADS = (30 * MINUTE, 2 * HOUR, DAY)
_DECAYS = (15 * MINUTE, HOUR, 6 * HOUR)
_BATCH_CELLS = 500_000  # 4 MB per array


def _names() -> tuple[Feature, ...]:
    columns = [Feature(f"lag_{lag}", RECENT) for lag in _LAGS]
    columns += [Feature(f"mean_{abbreviated(w)}", _family(w, 30 * MINUTE)) for w in _WINDOWS]
    for spread in _SPREADS:
        family = _family(spread, 30 * MINUTE)
        columns += [Feature(f"{kind}_{abbreviated(spread)}", family) for kind in ("spread", "lowest", "highest")]
    columns += [Feature(f"decayed_{abbreviated(d)}", _family(d, HOUR)) for d in _DECAYS]
    columns += [Feature("trend_30m", RECENT), Feature("level_of_week", DAY_SHAPE)]
    return tuple(columns)


def _family(width: timedelta, recent_up_to: timedelta) -> str:
    return RECENT if width <= recent_up_to else DAY_SHAPE


COLUMNS = _names()


def recent_columns(panel: Panel, origins: Origins, levels: Levels) -> FloatArray:
    """Return the columns of COLUMNS at each origin: shape (origins, len(COLUMNS)), computed in bounded batches."""
    size = max(1, _BATCH_CELLS // panel.bins_in(DAY))
    parts = [
        np.column_stack(_columns(panel, origins[batch], levels[batch]))
        for batch in (slice(first, first + size) for first in range(0, len(origins), size))
    ]
    return np.concatenate(parts)


def _columns(panel: Panel, origins: Origins, levels: Levels) -> list[FloatArray]:
    """Return the columns at the origins, each of shape (origins,)."""
    logs = levels.log_of(past_values(panel, origins, panel.bins_in(DAY)))
    columns = [logs[:, -lag] if lag <= logs.shape[1] else np.full(len(logs), np.nan) for lag in _LAGS]
    observed = np.isfinite(logs)
    filled = np.where(observed, logs, 0.0)
    columns += [_weighted_mean(filled[:, -panel.bins_in(w) :], observed[:, -panel.bins_in(w) :]) for w in _WINDOWS]
    for duration in _SPREADS:
        bins = max(2, panel.bins_in(duration))
        columns += _spread(logs[:, -bins:], filled[:, -bins:], observed[:, -bins:])
    for decay in _DECAYS:
        weights = np.exp(np.arange(-logs.shape[1], 0) / panel.bins_in(decay))
        columns.append(_weighted_mean(filled, observed * weights))
    half = panel.bins_in(30 * MINUTE)
    newest, older = slice(-half, None), slice(-2 * half, -half)
    columns.append(
        _weighted_mean(filled[:, newest], observed[:, newest]) - _weighted_mean(filled[:, older], observed[:, older])
    )
    columns.append(np.log(levels.level + levels.offset) - np.log(11 * levels.offset))
    return columns


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted mean of each row; NaN where nothing was observed."""
    total = weights.sum(axis=1, dtype=np.float64)
    return np.divide((values * weights).sum(axis=1), total, out=np.full(len(values), np.nan), where=total > 0)


def _spread(logs: FloatArray, filled: FloatArray, observed: FloatArray) -> list[FloatArray]:
    """Return standard deviation, minimum and maximum of each row; NaN where nothing was observed."""
    mean = _weighted_mean(filled, observed)
    variance = _weighted_mean((filled - mean[:, None]) ** 2, observed)
    lowest, highest = np.where(observed, logs, np.inf).min(axis=1), np.where(observed, logs, -np.inf).max(axis=1)
    is_empty = ~observed.any(axis=1)
    return [np.sqrt(variance), np.where(is_empty, np.nan, lowest), np.where(is_empty, np.nan, highest)]
