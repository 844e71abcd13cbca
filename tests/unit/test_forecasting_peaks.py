"""Quantiles of the peak demand of a window: calibrated as peaks, never below the quantile of a single bin."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.calibration import calibrated
from forecasting.error_measures import coverage
from forecasting.forecast import PEAK_QUANTILES
from forecasting.forecaster import FittedModel
from forecasting.levels import levels_at
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.naive_batch import naive_batch
from forecasting.panel import Origins, Panel
from forecasting.peaks import (
    PeakShifts,
    actual_peaks,
    calibrate_peaks,
    highest_so_far,
    peak_log_errors,
    peaks_from_bins,
)
from forecasting.series import Series
from forecasting.walk_forward import WalkForward, before, replay
from tests.support.demand_series import a_series

WINDOWS = np.arange(1, 5)
INDEX_P90 = PEAK_QUANTILES.index(0.9)


def five_minutes(days: float, noise: float = 0.1) -> Series:
    return a_series(days, timedelta(minutes=5), noise=noise)


def a_walk(series: Series, first: int = 600) -> WalkForward:
    return calibrated(replay(series, LastValue(), first, WINDOWS))


def highest_demand(series: Series, origins: np.ndarray, bins: int) -> np.ndarray:
    """The highest demand of the next `bins`, NaN where the series ends before."""
    windows = [series.values[origin : origin + bins] for origin in origins]
    return np.array([window.max() if len(window) == bins else np.nan for window in windows])


def test_the_p90_of_the_peak_covers_90_percent_of_peaks_and_the_p90_of_bins_covers_fewer() -> None:
    series = five_minutes(days=12, noise=0.3)
    walk = a_walk(series)
    peaks = peaks_from_bins(series, 600, walk.quantiles)
    judged = slice(900, None)
    actual = highest_demand(series, walk.origins[judged], 4)
    naive = highest_so_far(walk.quantiles)[judged, 3, INDEX_P90]
    assert coverage(actual, peaks[judged, 3, INDEX_P90]) == pytest.approx(0.9, abs=0.025)
    assert coverage(actual, naive) < 0.85


def test_a_peak_is_never_below_its_bins_or_the_peak_of_a_shorter_window() -> None:
    series = five_minutes(days=8, noise=0.3)
    walk = a_walk(series)
    peaks = peaks_from_bins(series, 600, walk.quantiles)
    assert (peaks >= walk.quantiles[:, :, 1:] - 1e-9).all()
    assert (np.diff(peaks, axis=1) >= 0).all()
    assert (np.diff(peaks, axis=2) >= -1e-9).all()


def test_samples_after_an_origin_change_no_peak_forecast_at_it() -> None:
    series = five_minutes(days=8)
    walk = a_walk(series)
    origin = 1500
    changed_values = series.values.copy()
    changed_values[origin:] *= 7
    known = origin - 600 + 1
    before_change = peaks_from_bins(series, 600, walk.quantiles)[:known]
    after_change = peaks_from_bins(replace(series, values=changed_values), 600, walk.quantiles)[:known]
    np.testing.assert_array_equal(before_change, after_change)


def test_a_window_with_a_gap_has_no_peak() -> None:
    series = five_minutes(days=5)
    series.values[1000] = np.nan
    peaks = actual_peaks(Panel.of([series]), np.array([998]), 4)
    assert np.isfinite(peaks[0, :2]).all()
    assert np.isnan(peaks[0, 2:]).all()


def test_learned_shifts_are_applied_to_later_forecasts() -> None:
    series = five_minutes(days=12, noise=0.3)
    walk, panel = a_walk(series), Panel.of([series])
    raw = highest_so_far(walk.quantiles)
    shifts = PeakShifts.from_errors(peak_log_errors(panel, walk.origins, raw))
    last = Origins.of_single_series(walk.origins[-1:])
    peaks = calibrate_peaks(raw[-1:], shifts.up_to(4), levels_at(panel, last), walk.quantiles[-1:])
    assert peaks.shape == (1, 4, len(PEAK_QUANTILES))
    np.testing.assert_allclose(peaks[0, 0, :3], raw[-1, 0, :3], rtol=0.1)
    assert peaks[0, 3, INDEX_P90] > raw[-1, 3, INDEX_P90] * 1.02


def test_the_peaks_of_a_trained_model_are_calibrated_unlike_its_highest_bin() -> None:
    series = five_minutes(days=10, noise=0.3)
    fitted = LightGBMQuantiles(rounds=30, rows=6_000, peak_rows=6_000).fit(before(series, 2000))
    panel, origins = Panel.of([series]), np.arange(2000, 2800)
    raw = fitted.peaks(panel, Origins.of_single_series(origins), 4)
    by_bins = FittedModel.peaks(fitted, panel, Origins.of_single_series(origins), 4)
    actual = actual_peaks(panel, origins, 4)[:, 3]
    assert coverage(actual, by_bins[:, 3, INDEX_P90]) < 0.84
    assert coverage(actual, raw[:, 3, INDEX_P90]) == pytest.approx(0.9, abs=0.05)


def test_peaks_are_interpolated_between_the_learned_windows() -> None:
    series = five_minutes(days=4)
    fitted = LightGBMQuantiles(rounds=10, rows=2_000, peak_rows=2_000).fit(series)
    peaks = fitted.peaks(Panel.of([series]), Panel.of([series]).latest_origins(), 20)
    assert peaks.shape == (1, 20, len(PEAK_QUANTILES))
    assert (np.diff(peaks, axis=1) >= 0).all()
    assert (peaks[0, 12:] == peaks[0, 11]).all()
    np.testing.assert_allclose(peaks[0, 4], (peaks[0, 3] + peaks[0, 5]) / 2, rtol=0.01)


@pytest.mark.parametrize("text", ["[]", "[[1, 2]]", "[[1, 2, 3, null]]", "{}", "[1, 2, 3, 4]", "[[1, 2, 3, NaN]]"])
def test_invalid_stored_shifts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shifts of peaks"):
        PeakShifts.from_text(text)


def test_naive_models_have_calibrated_peaks() -> None:
    series = five_minutes(days=7, noise=0.3)
    origins = np.arange(1100, 2000, 9)
    forecasts = naive_batch([before(series, int(origin)) for origin in origins], [LastValue()], steps=4)
    peaks = np.stack([forecast.peaks for forecast in forecasts if forecast.peaks is not None])
    by_bin = np.stack([forecast.values for forecast in forecasts])
    assert (peaks >= by_bin[:, :, 1:] - 1e-9).all()
    actual = actual_peaks(Panel.of([series]), origins, 4)[:, 3]
    assert coverage(actual, by_bin[:, :, -2].max(axis=1)) < 0.84
    assert coverage(actual, peaks[:, 3, INDEX_P90]) == pytest.approx(0.9, abs=0.06)
