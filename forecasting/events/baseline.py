"""What demand would be without events: a slow level and the clock's daily shape, drawn through quiet bins only."""

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray, Series

_DAY = 86_400.0
_LEVEL_DAYS = 0.5
_CLOCK_KNOTS = 48
_STIFF, _SMOOTH = 20.0, 5.0
_PULL, _WEEKEND_PULL = 0.1, 1.0
_PASSES = 4
_MAX_ROWS = 20_000
OFFSET_SHARE = 0.1
_SLIGHT_SHARE = 0.1


def log_offset(series: Series) -> float:
    """What is added before the logarithm: a tenth of the mean; 0 where nothing was observed above zero."""
    seen = series.values[np.isfinite(series.values)]
    return OFFSET_SHARE * float(seen.mean()) if len(seen) else 0.0


def log_excess(series: Series, quiet: npt.NDArray[np.bool_]) -> FloatArray:
    """Logarithms of demand over what the quiet bins lead to expect: shape (bins,), NaN where nothing was observed.

    Robust least squares with smoothness; what the quiet bins say nothing of (a time of day that never is quiet) lies
    between its neighbours. The series must have demand above zero.
    """
    logs = np.log(np.maximum(series.values, 0.0) + log_offset(series))
    columns, penalty = _design(series)
    usable = np.flatnonzero(np.isfinite(logs) & quiet)
    usable = usable[:: max(1, -(-len(usable) // _MAX_ROWS))]
    inputs, target = columns[usable], logs[usable]
    nearness = np.ones(len(usable))
    line: FloatArray = np.zeros(columns.shape[1])
    for _ in range(_PASSES):
        scaled = inputs * nearness[:, None]
        line = np.asarray(np.linalg.solve(scaled.T @ inputs + penalty, scaled.T @ target), dtype=np.float64)
        distance = np.abs(target - inputs @ line)
        nearness = 1 / np.maximum(distance / (np.median(distance) + 1e-9), 1.0)
    # Measured with a tenth of the offset: where demand is low, the whole of it would make effects look smaller.
    expected = np.maximum(np.exp(columns @ line) - log_offset(series), 0.0)
    slight = _SLIGHT_SHARE * log_offset(series)
    return np.log((np.maximum(series.values, 0.0) + slight) / (expected + slight))


def _design(series: Series) -> tuple[FloatArray, FloatArray]:
    """Columns of level, clock and the weekend's difference, and what bends cost."""
    step = series.step.total_seconds()
    since: FloatArray = np.arange(len(series.values), dtype=np.float64) * step
    local: FloatArray = since + (series.start.timestamp() + _shift(series))
    days: FloatArray = since / _DAY
    level = _between(days, np.arange(0.0, since[-1] / _DAY + 2 * _LEVEL_DAYS, _LEVEL_DAYS, dtype=np.float64))
    clock = _between(local % _DAY, np.linspace(0, _DAY, _CLOCK_KNOTS + 1))
    clock[:, 0] += clock[:, -1]
    clock = clock[:, :-1]
    weekend = ((local // _DAY + 3) % 7 >= 5)[:, None]
    columns = np.concatenate([level, clock, clock * weekend], axis=1)
    penalty = np.zeros((columns.shape[1], columns.shape[1]))
    steps = np.diff(np.eye(level.shape[1]), axis=0)
    ring = np.eye(_CLOCK_KNOTS) - np.roll(np.eye(_CLOCK_KNOTS), 1, axis=1)
    parts = (
        _STIFF * steps.T @ steps,
        _SMOOTH * ring.T @ ring + _PULL * np.eye(_CLOCK_KNOTS),
        _SMOOTH * ring.T @ ring + _WEEKEND_PULL * np.eye(_CLOCK_KNOTS),
    )
    at = 0
    for part in parts:
        penalty[at : at + len(part), at : at + len(part)] = part
        at += len(part)
    return columns, penalty + 1e-9 * np.eye(len(penalty))


def _shift(series: Series) -> float:
    """The zone's distance from UTC at the end of the series: an hour's jump within it matters little here."""
    there = series.end.astimezone(series.context.zone).utcoffset()
    return there.total_seconds() if there is not None else 0.0


def _between(values: FloatArray, knots: FloatArray) -> FloatArray:
    """Straight lines between knots: shape (values, knots)."""
    right = np.clip(np.searchsorted(knots, values, side="right"), 1, len(knots) - 1)
    share = (values - knots[right - 1]) / (knots[right] - knots[right - 1])
    found = np.zeros((len(values), len(knots)))
    rows = np.arange(len(values))
    found[rows, right - 1], found[rows, right] = 1 - share, share
    return found
