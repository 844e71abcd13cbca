"""The highest demand within a window: calibrated as such, never below what one bin is expected to see."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.backtest import WalkForward, replay
from forecasting.calibration import calibrated
from forecasting.evaluation import coverage
from forecasting.forecast import QUANTILES
from forecasting.levels import levels_at
from forecasting.models.last_value import LastValue
from forecasting.panel import Origins, Panel
from forecasting.peaks import PeakShifts, highest_so_far, of_windows, peaks_of
from forecasting.series import Series
from tests.support.demand_series import a_series

WINDOWS = np.arange(1, 5)
NINTH = QUANTILES.index(0.9)


def five_minutes(days: float, noise: float = 0.1) -> Series:
    return a_series(days, timedelta(minutes=5), noise=noise)


def a_walk(series: Series, first: int = 600) -> WalkForward:
    return calibrated(replay(series, LastValue(), first, WINDOWS))


def highest(series: Series, origins: np.ndarray, bins: int) -> np.ndarray:
    """What came: the highest of the next `bins`, NaN where the series ends before."""
    ends = [series.values[at : at + bins] for at in origins]
    return np.array([one.max() if len(one) == bins else np.nan for one in ends])


def test_a_ninth_decile_of_the_peak_covers_nine_of_ten_peaks_and_the_bins_own_covers_fewer() -> None:
    series = five_minutes(days=12, noise=0.3)
    walk = a_walk(series)
    peaks = peaks_of(series, 600, walk.quantiles)
    judged = slice(900, None)
    came = highest(series, walk.origins[judged], 4)
    naive = highest_so_far(walk.quantiles)[judged, 3, NINTH]
    assert coverage(came, peaks[judged, 3, NINTH]) == pytest.approx(0.9, abs=0.025)
    assert coverage(came, naive) < 0.85


def test_a_peak_is_never_lower_than_a_bin_of_its_window_or_the_peak_of_a_shorter_one() -> None:
    series = five_minutes(days=8, noise=0.3)
    walk = a_walk(series)
    peaks = peaks_of(series, 600, walk.quantiles)
    assert (peaks >= walk.quantiles - 1e-9).all()
    assert (np.diff(peaks, axis=1) >= 0).all()
    assert (np.diff(peaks, axis=2) >= -1e-9).all()


def test_what_comes_after_an_origin_changes_no_peak_forecast_at_it() -> None:
    series = five_minutes(days=8)
    walk = a_walk(series)
    at = 1500
    later = series.values.copy()
    later[at:] *= 7
    known = at - 600 + 1
    once = peaks_of(series, 600, walk.quantiles)[:known]
    again = peaks_of(replace(series, values=later), 600, walk.quantiles)[:known]
    np.testing.assert_array_equal(once, again)


def test_a_window_with_a_gap_teaches_nothing() -> None:
    series = five_minutes(days=5)
    series.values[1000] = np.nan
    asked = of_windows(replay(series, LastValue(), 990, WINDOWS))
    row = int(np.flatnonzero(asked.origins == 998)[0])
    assert np.isfinite(asked.actual[row, :2]).all()
    assert np.isnan(asked.actual[row, 2:]).all()


def test_windows_need_forecasts_of_every_bin() -> None:
    walk = replay(five_minutes(days=3), LastValue(), 600, np.array([1, 3]))
    with pytest.raises(ValueError, match="leaves some out"):
        of_windows(walk)


def test_shifts_that_were_learned_move_a_later_forecast() -> None:
    series = five_minutes(days=12, noise=0.3)
    walk = a_walk(series)
    shifts = PeakShifts.learned(walk)
    panel = Panel.of([series])
    last = walk.quantiles[-1:]
    peaks = shifts.apply(last, levels_at(panel, Origins.of_one(walk.origins[-1:])))
    raw = highest_so_far(last)
    assert peaks.shape == raw.shape
    np.testing.assert_allclose(peaks[0, 0], raw[0, 0], rtol=0.1)
    assert peaks[0, 3, NINTH] > raw[0, 3, NINTH] * 1.02
