"""Find the lags of leading indicators and fit a correction to the errors of earlier forecasts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, QUANTILES
from forecasting.leading.correction import Correction, Lead, no_scales, peak_shifts
from forecasting.leading.indicator import COLUMNS, Indicator, anomalies, lead_columns, scale_offset
from forecasting.leading.past_forecasts import MEDIAN, PastForecasts
from forecasting.panel import IntArray
from forecasting.series import FloatArray

MIN_ROWS = 48
"""With fewer earlier forecasts a horizon is not corrected."""
_RIDGE = 0.005
_MAX_DEVIATIONS = 4.0
"""Errors beyond that many (robust) standard deviations count as these."""
_LIMIT_SHARE = 1.5
_SCALE_RANGE = (0.4, 1.25)
_MIN_WIDTH, _MIN_CALIBRATED = 0.01, 0.2


def find_lag(past: PastForecasts, indicator: Indicator) -> int:
    """Return the lag at which the indicator explains most of the errors that the demand's own changes do not."""
    own, unusual = _anomalies(past, past.series.values), _anomalies(past, indicator.values)
    gains = [_gain(past, own, unusual, lag) for lag in range(1, indicator.max_lag + 1)]
    return int(np.argmax(gains)) + 1


def fit_correction(
    past: PastForecasts, indicators: Sequence[Indicator], lags: Sequence[int], *, own_only: bool = False
) -> Correction:
    """Return the correction that earlier forecasts teach.

    own_only: by the demand's own changes alone, with which a correction by indicators is compared.
    """
    names = ("", *(indicator.name for indicator in indicators))
    values = (past.series.values, *(indicator.values for indicator in indicators))
    offsets = [_offset(past, series) for series in values]
    unusual = [anomalies(series, past.series.step, offset) for series, offset in zip(values, offsets, strict=True)]
    # The demand's own changes at each lag, then each indicator at its own.
    sources = [*((0, lag) for lag in lags), *((at, lag) for at, lag in enumerate(lags, start=1))]
    used = sources[: len(lags)] if own_only else sources
    weights = np.zeros((len(sources), len(past.horizons), COLUMNS))
    limits = np.zeros((len(sources), COLUMNS))
    columns = np.concatenate([lead_columns(unusual[at], past.origins, past.horizons, lag) for at, lag in used], axis=-1)
    for row, horizon in enumerate(past.horizons):
        matrix, errors = _complete(columns[:, row], past.errors(int(horizon)))
        if len(errors) < MIN_ROWS:
            continue
        weights[: len(used), row] = _ridge(matrix, errors).reshape(len(used), COLUMNS)
        largest = _LIMIT_SHARE * np.abs(matrix).max(axis=0).reshape(len(used), COLUMNS)
        limits[: len(used)] = np.maximum(limits[: len(used)], largest)
    delays = (timedelta(), *(indicator.delay for indicator in indicators))
    leads = [
        Lead(names[at], lag, lag * past.series.step + delays[at], offsets[at], weights[row], limits[row])
        for row, (at, lag) in enumerate(sources)
    ]
    plain = Correction(past.horizons, tuple(leads[len(lags) :]), tuple(leads[: len(lags)]), *no_scales(past.horizons))
    return _with_scales(plain, past, indicators)


def _gain(past: PastForecasts, own: FloatArray, unusual: FloatArray, lag: int) -> float:
    """Return the share of squared errors that the leading bin explains beyond the demand's own: a sum over horizons."""
    gain = 0.0
    columns = np.stack(
        [lead_columns(series, past.origins, past.horizons, lag)[:, :, 0] for series in (own, unusual)], axis=-1
    )
    for row, horizon in enumerate(past.horizons):
        matrix, errors = _complete(columns[:, row], past.errors(int(horizon)))
        if len(errors) >= MIN_ROWS:
            gain += _explained(matrix, errors) - _explained(matrix[:, :1], errors)
    return gain


def _explained(matrix: FloatArray, errors: FloatArray) -> float:
    total = float((errors**2).sum())
    rest = float(((errors - matrix @ _ridge(matrix, errors)) ** 2).sum())
    return 1 - rest / total if total > 0 else 0.0


def _complete(matrix: FloatArray, errors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the rows without a gap, with errors that are not out of all proportion."""
    known = np.isfinite(matrix).all(axis=1) & np.isfinite(errors)
    matrix, errors = matrix[known], errors[known]
    if not len(errors):
        return matrix, errors
    deviation = 1.4826 * float(np.median(np.abs(errors - np.median(errors))))
    bound = _MAX_DEVIATIONS * deviation
    return matrix, np.clip(errors, -bound, bound) if bound > 0 else errors


def _ridge(matrix: FloatArray, errors: FloatArray) -> FloatArray:
    """Return the weights of a ridge regression without an intercept (Hoerl and Kennard, 1970)."""
    spread = np.sqrt((matrix**2).mean(axis=0)) + 1e-9
    scaled = matrix / spread
    gram = scaled.T @ scaled + _RIDGE * len(errors) * np.eye(matrix.shape[1])
    return np.linalg.solve(gram, scaled.T @ errors) / spread


def _anomalies(past: PastForecasts, values: FloatArray) -> FloatArray:
    return anomalies(values, past.series.step, _offset(past, values))


def _offset(past: PastForecasts, values: FloatArray) -> float:
    return scale_offset(values[: int(past.origins[-1])])


def _with_scales(plain: Correction, past: PastForecasts, indicators: Sequence[Indicator]) -> Correction:
    """Add how much narrower the bands may be, by the errors that remain."""
    _, shifts = plain.shifts(past.series, indicators, past.origins, past.steps)
    windows = past.peaks.shape[1]
    log_of = past.levels.log_of
    medians = past.values[:, :windows, MEDIAN]
    of_peaks = peak_shifts(medians, shifts[:, :windows], past.levels)
    scales = _scales(log_of(past.values), log_of(past.actual), shifts, QUANTILES, past.horizons)
    peak_scales = _scales(
        log_of(past.peaks), log_of(past.highest), of_peaks, PEAK_QUANTILES, np.minimum(past.horizons, windows)
    )
    return replace(plain, scales=scales, peak_scales=peak_scales)


def _scales(
    logs: FloatArray, actual: FloatArray, shifts: FloatArray, quantiles: Sequence[float], horizons: IntArray
) -> FloatArray:
    """Return the width of each quantile's band after the shifts, relative to that before: (horizons, quantiles).

    Errors in units of the band have a quantile of 1 where the band is calibrated; what counts is how it changes. So
    forecasts of a model that knows these days, whose errors are too small, do not make the bands too narrow.
    """
    center = quantiles.index(0.5)
    scales = np.ones((len(horizons), len(quantiles)))
    for row, horizon in enumerate(horizons):
        at = int(horizon) - 1
        errors = actual[:, at] - logs[:, at, center]
        known = np.isfinite(errors) & np.isfinite(shifts[:, at])
        if known.sum() < MIN_ROWS:
            continue
        for column, quantile in enumerate(quantiles):
            if column == center:
                continue
            side, share = (1.0, quantile) if quantile > 0.5 else (-1.0, 1 - quantile)
            width = np.maximum(side * (logs[known, at, column] - logs[known, at, center]), _MIN_WIDTH)
            before = float(np.quantile(side * errors[known] / width, share))
            after = float(np.quantile(side * (errors - shifts[:, at])[known] / width, share))
            if before > _MIN_CALIBRATED:
                scales[row, column] = np.clip(after / before, *_SCALE_RANGE)
    return scales
