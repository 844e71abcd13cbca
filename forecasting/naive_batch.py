"""Forecasts of many series at once by naive models, each calibrated on the recent past of its series."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.bands import Bands, cold_start_factor
from forecasting.calibration import (
    NAIVE_ORIGINS,
    UNSHIFTED_QUANTILE,
    calibrate,
    conformal_quantile_of_sorted,
    interpolation,
    measured_horizons,
)
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel
from forecasting.levels import Levels, levels_at
from forecasting.panel import IntArray, Origins, Panel, values_at
from forecasting.peaks import WINDOWS, highest_so_far
from forecasting.series import FloatArray, Series

_BATCH_SIZE = 200
_MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True, slots=True)
class NaiveForecasts:
    """The forecasts of one model for a panel, before peaks are calibrated and bands widened.

    values: calibrated, shape (series, steps, len(QUANTILES)). raw_peaks, peak_shifts: shape (series, windows,
    len(PEAK_QUANTILES)). levels: at the end of each series. cost: shape (series,), the mean pinball loss of the 0.9
    quantile over recent origins relative to the level; infinite where none is known.
    """

    model: FittedModel
    values: FloatArray
    raw_peaks: FloatArray
    peak_shifts: FloatArray
    levels: Levels
    cost: FloatArray

    def bands(self, factors: FloatArray) -> Bands:
        """Return the final bands. factors: of the cold start, shape (series,)."""
        return Bands.of(self.values, self.raw_peaks, self.peak_shifts, self.levels, factors)


def naive_batch(series: Sequence[Series], models: Sequence[FittedModel], steps: int) -> list[Forecast]:
    """Return for each series the forecast of the model with the lowest recent cost. All series have one step.

    Every series gets a forecast, also an empty one, one with gaps, one of five bins or of zeros only.
    """
    forecasts: list[Forecast] = []
    for begin in range(0, len(series), _BATCH_SIZE):
        part = series[begin : begin + _BATCH_SIZE]
        panel = Panel.of(part)
        candidates = [
            naive_forecasts(panel, model.for_rows(slice(begin, begin + _BATCH_SIZE)), steps) for model in models
        ]
        best = np.argmin(np.stack([candidate.cost for candidate in candidates]), axis=0)
        factors = np.array([cold_start_factor(member) for member in part])
        bands = [candidate.bands(factors) for candidate in candidates]
        # For all rows at once: the reasons of a single row take nearly as long.
        origins, horizons = panel.latest_origins(), np.arange(1, steps + 1)
        reasons = [candidate.model.contributions(panel, origins, horizons) for candidate in candidates]
        forecasts += [
            bands[which].forecast(row, member, candidates[which].model, reasons[which][row])
            for row, (member, which) in enumerate(zip(part, best, strict=True))
        ]
    return forecasts


def naive_forecasts(panel: Panel, model: FittedModel, steps: int) -> NaiveForecasts:
    """Forecast from the end of each series, calibrated by the errors that the model would have made recently."""
    measured, windows = measured_horizons(timedelta(seconds=panel.step), steps), min(steps, WINDOWS)
    distances = NAIVE_ORIGINS.distances(steps)
    distances = distances[distances <= panel.bins]
    origins = _origins_before_end(panel, distances)
    levels = levels_at(panel, origins)
    horizons = np.union1d(np.arange(1, windows + 1), measured)
    points = model.quantiles(panel, origins, horizons)[:, :, _MEDIAN]
    # Targets beyond the end of a series are NaN: their errors are not known yet.
    actual = values_at(panel.values, origins.rows[:, None], origins.cols[:, None] + np.arange(steps))
    shape = (len(panel.values), len(distances), -1)
    errors = _log_errors(levels, actual[:, measured - 1], points[:, np.searchsorted(horizons, measured)]).reshape(shape)
    shifts, cost = _shifts(errors, distances, measured, QUANTILES)
    highest, predicted = (np.maximum.accumulate(part[:, :windows], axis=1) for part in (actual, points))
    peak_errors = _log_errors(levels, highest, predicted).reshape(shape)
    peak_shifts, _ = _shifts(peak_errors, distances, np.arange(1, windows + 1), PEAK_QUANTILES)
    last = panel.latest_origins()
    raw, now = model.quantiles(panel, last, np.arange(1, steps + 1)), levels_at(panel, last)
    shifts[:, :, QUANTILES.index(UNSHIFTED_QUANTILE)] = 0.0
    values = calibrate(raw, interpolation(measured, np.arange(1, steps + 1)) @ shifts, now)
    return NaiveForecasts(model, values, highest_so_far(raw[:, :windows]), peak_shifts, now, cost)


def _log_errors(levels: Levels, actual: FloatArray, points: FloatArray) -> FloatArray:
    return np.where(levels.has_demand[:, None], levels.log_of(actual) - levels.log_of(points), np.nan)


def _origins_before_end(panel: Panel, distances: IntArray) -> Origins:
    """The origins at some distances from the end of each series, ordered by series."""
    rows = np.repeat(np.arange(len(panel.values)), len(distances))
    return Origins(rows, np.tile(panel.bins - distances, len(panel.values)))


def _shifts(
    errors: FloatArray, distances: IntArray, horizons: IntArray, quantiles: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Shifts of shape (series, horizons, quantiles) from errors of shape (series, origins, horizons), and the cost."""
    series, origins, count = errors.shape
    counted = np.where(NAIVE_ORIGINS.contains(distances, horizons), errors, np.nan)
    ordered = np.sort(counted.transpose(0, 2, 1).reshape(-1, origins), axis=1)
    counts = np.isfinite(ordered).sum(axis=1)
    columns = [
        conformal_quantile_of_sorted(ordered, counts, quantile, NAIVE_ORIGINS.min_errors) for quantile in quantiles
    ]
    shifts = np.stack(columns, axis=1)
    short = ordered - shifts[:, quantiles.index(0.9), None]
    losses = np.where(np.isfinite(short), np.maximum(0.9 * short, -0.1 * short), 0.0).sum(axis=1)
    cost = np.where(counts > 0, losses / np.maximum(counts, 1), np.inf).reshape(series, count).mean(axis=1)
    return shifts.reshape(series, count, len(quantiles)), cost
