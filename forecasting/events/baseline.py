"""Demand without events: a slow level and a daily shape, fitted to bins away from events (quiet bins) only."""

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray, Series

_DAY = 86_400.0
_LEVEL_DAYS = 0.5
_CLOCK_KNOTS = 48
_LEVEL_SMOOTHNESS, _CLOCK_SMOOTHNESS = 20.0, 5.0
_CLOCK_SHRINKAGE, _WEEKEND_SHRINKAGE = 0.1, 1.0
_PASSES = 4
_MAX_ROWS = 20_000
OFFSET_SHARE = 0.1
_EXCESS_OFFSET_SHARE = 0.1


def log_offset(series: Series) -> float:
    """Return the offset before logarithms: a tenth of the mean, 0 without observed demand above zero."""
    observed = series.values[np.isfinite(series.values)]
    return OFFSET_SHARE * float(observed.mean()) if len(observed) else 0.0


def log_excess(series: Series, quiet: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the log of demand over the demand expected from quiet bins: shape (bins,), NaN where unobserved.

    Robust least squares with smoothness penalties; a time of day without quiet bins is interpolated. The series must
    have demand above zero.
    """
    logs = np.log(np.maximum(series.values, 0.0) + log_offset(series))
    columns, penalty = _design(series)
    usable = np.flatnonzero(np.isfinite(logs) & quiet)
    usable = usable[:: max(1, -(-len(usable) // _MAX_ROWS))]
    inputs, target = columns[usable], logs[usable]
    weights = np.ones(len(usable))
    coefficients: FloatArray = np.zeros(columns.shape[1])
    for _ in range(_PASSES):
        scaled = inputs * weights[:, None]
        coefficients = np.asarray(np.linalg.solve(scaled.T @ inputs + penalty, scaled.T @ target), dtype=np.float64)
        distance = np.abs(target - inputs @ coefficients)
        weights = 1 / np.maximum(distance / (np.median(distance) + 1e-9), 1.0)
    # Measured with a tenth of the offset: the full offset would hide effects where demand is low.
    expected = np.maximum(np.exp(columns @ coefficients) - log_offset(series), 0.0)
    offset = _EXCESS_OFFSET_SHARE * log_offset(series)
    return np.log((np.maximum(series.values, 0.0) + offset) / (expected + offset))


def _design(series: Series) -> tuple[FloatArray, FloatArray]:
    """Return the columns of level, clock and weekend difference, and the penalty matrix."""
    step = series.step.total_seconds()
    elapsed: FloatArray = np.arange(len(series.values), dtype=np.float64) * step
    local: FloatArray = elapsed + (series.start.timestamp() + _utc_offset(series))
    days: FloatArray = elapsed / _DAY
    level = interpolation_weights(
        days, np.arange(0.0, elapsed[-1] / _DAY + 2 * _LEVEL_DAYS, _LEVEL_DAYS, dtype=np.float64)
    )
    clock = interpolation_weights(local % _DAY, np.linspace(0, _DAY, _CLOCK_KNOTS + 1))
    clock[:, 0] += clock[:, -1]
    clock = clock[:, :-1]
    weekend = ((local // _DAY + 3) % 7 >= 5)[:, None]
    columns = np.concatenate([level, clock, clock * weekend], axis=1)
    penalty = np.zeros((columns.shape[1], columns.shape[1]))
    steps = np.diff(np.eye(level.shape[1]), axis=0)
    ring = np.eye(_CLOCK_KNOTS) - np.roll(np.eye(_CLOCK_KNOTS), 1, axis=1)
    parts = (
        _LEVEL_SMOOTHNESS * steps.T @ steps,
        _CLOCK_SMOOTHNESS * ring.T @ ring + _CLOCK_SHRINKAGE * np.eye(_CLOCK_KNOTS),
        _CLOCK_SMOOTHNESS * ring.T @ ring + _WEEKEND_SHRINKAGE * np.eye(_CLOCK_KNOTS),
    )
    first = 0
    for part in parts:
        penalty[first : first + len(part), first : first + len(part)] = part
        first += len(part)
    return columns, penalty + 1e-9 * np.eye(len(penalty))


def _utc_offset(series: Series) -> float:
    """Return the UTC offset at the end of the series in seconds; a clock change within it matters little here."""
    offset = series.end.astimezone(series.context.zone).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def interpolation_weights(values: FloatArray, knots: FloatArray) -> FloatArray:
    """Return the weights of linear interpolation between knots: shape (values, knots)."""
    right = np.clip(np.searchsorted(knots, values, side="right"), 1, len(knots) - 1)
    share = (values - knots[right - 1]) / (knots[right] - knots[right - 1])
    weights = np.zeros((len(values), len(knots)))
    rows = np.arange(len(values))
    weights[rows, right - 1], weights[rows, right] = 1 - share, share
    return weights
