"""Forecasts for many series at once by models that learn next to nothing, each calibrated on its own recent past."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.calibration import (
    WINDOW,
    Calibration,
    cold_start_factor,
    conformal_quantile_of_sorted,
    shifted,
    widened,
)
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel
from forecasting.levels import Levels, levels_at
from forecasting.panel import IntArray, Origins, Panel, values_at
from forecasting.peaks import WINDOWS, at_least_bins
from forecasting.series import FloatArray, Series

_STRIDE = 3
_BATCH_SIZE = 200
_FEW = 8
_AHEAD_SHARE = (0.0, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """Calibrated quantiles of one model for a panel: shape (series, steps, len(QUANTILES)). cost: shape (series,).

    cost: mean pinball loss of the 0.9 quantile over recent origins relative to the level; infinite where none is known.
    peaks: of the highest demand of the first bins, shape (series, windows, len(PEAK_QUANTILES)).
    """

    model: FittedModel
    values: FloatArray
    cost: FloatArray
    peaks: FloatArray


def naive_batch(series: Sequence[Series], models: Sequence[FittedModel], steps: int) -> list[Forecast]:
    """For each series the model that would have cost least lately. All series have one step.

    Whatever a series is like (empty, gappy, five bins long, all zero), it gets an answer.
    """
    found: list[Forecast] = []
    for at in range(0, len(series), _BATCH_SIZE):
        part = series[at : at + _BATCH_SIZE]
        panel = Panel.of(part)
        answers = [answer(panel, model.for_rows(slice(at, at + _BATCH_SIZE)), steps) for model in models]
        best = np.argmin(np.stack([one.cost for one in answers]), axis=0)
        # For all rows at once: what a model says of one series costs it hardly less.
        told = [one.model.contributions(panel, panel.latest_origins(), np.arange(1, steps + 1)) for one in answers]
        found += [
            finished(one, answers[which], row, told[which][row])
            for row, (one, which) in enumerate(zip(part, best, strict=True))
        ]
    return found


def finished(series: Series, found: Answer, row: int, reasons: tuple[str, ...]) -> Forecast:
    """The forecast of one series, widened by its youth and explained."""
    model, factor = found.model, cold_start_factor(series)
    values, highest = widened(found.values[row], factor), widened(found.peaks[row], factor, PEAK_QUANTILES)
    return Forecast(
        series.name, series.end, series.step, QUANTILES, values, model.name, model.version, reasons, highest
    )


def answer(panel: Panel, model: FittedModel, steps: int) -> Answer:
    """Forecast from the end of each series, calibrated on forecasts made lately from what was known then."""
    ahead = np.unique([max(1, round(share * steps)) for share in _AHEAD_SHARE])
    origins, back = _recent_origins(panel)
    levels = levels_at(panel, origins)
    points = model.quantiles(panel, origins, ahead)[:, :, QUANTILES.index(0.5)]
    # Only targets that have passed: pick gives NaN from the end of the series on.
    actual = values_at(panel.values, origins.rows[:, None], origins.cols[:, None] + np.arange(steps))
    shape = (len(panel.values), back, len(ahead))
    shifts, cost = _shifts(_errors(levels, actual[:, ahead - 1], points).reshape(shape), QUANTILES)
    highest = np.maximum.accumulate(actual, axis=1)[:, ahead - 1]
    rises, _ = _shifts(_errors(levels, highest, np.maximum.accumulate(points, axis=1)).reshape(shape), PEAK_QUANTILES)
    last = panel.latest_origins()
    values, now = model.quantiles(panel, last, np.arange(1, steps + 1)), levels_at(panel, last)
    calibrated = _moved_by_row(values, shifts, ahead, now)
    # Without a spread of its own a naive model's peak is where its highest point is.
    points_of_peaks = np.maximum.accumulate(values[:, : min(steps, WINDOWS), QUANTILES.index(0.5), None], axis=1)
    peaks = at_least_bins(_moved_by_row(points_of_peaks, rises, ahead, now), calibrated)
    return Answer(model, calibrated, cost, peaks)


def _errors(levels: Levels, actual: FloatArray, points: FloatArray) -> FloatArray:
    return np.where(levels.has_demand[:, None], levels.log_of(actual) - levels.log_of(points), np.nan)


def _recent_origins(panel: Panel) -> tuple[Origins, int]:
    back = np.arange(1, min(WINDOW, panel.bins) + 1, _STRIDE)[::-1]
    rows = np.repeat(np.arange(len(panel.values)), len(back))
    return Origins(rows, np.tile(panel.bins - back, len(panel.values))), len(back)


def _shifts(errors: FloatArray, quantiles: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Shifts of shape (series, horizons, quantiles) from errors of shape (series, origins, horizons), and the cost."""
    series, origins, horizons = errors.shape
    ordered = np.sort(errors.transpose(0, 2, 1).reshape(-1, origins), axis=1)
    counts = np.isfinite(ordered).sum(axis=1)
    shifts = np.stack([conformal_quantile_of_sorted(ordered, counts, quantile, _FEW) for quantile in quantiles], axis=1)
    short = ordered - shifts[:, quantiles.index(0.9), None]
    losses = np.where(np.isfinite(short), np.maximum(0.9 * short, -0.1 * short), 0.0).sum(axis=1)
    cost = np.where(counts > 0, losses / np.maximum(counts, 1), np.inf).reshape(series, horizons).mean(axis=1)
    return shifts.reshape(series, horizons, len(quantiles)), cost


def _moved_by_row(values: FloatArray, shifts: FloatArray, ahead: IntArray, levels: Levels) -> FloatArray:
    """moved, with each series' own shifts."""
    steps = np.arange(1, values.shape[1] + 1)
    spread = np.stack([Calibration(ahead, shift).at(steps) for shift in shifts])
    return shifted(values, spread, levels)
