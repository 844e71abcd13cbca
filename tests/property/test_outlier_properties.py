"""An absurd sample hardly changes the forecasts after it; a lasting change of level is followed."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.cleaning.outliers import HISTORY_FACTOR, find_outliers, without_outliers
from forecasting.context import Context
from forecasting.forecaster import FittedModel
from forecasting.learning import LearnedModels, learn
from forecasting.models.holt_winters import FittedHoltWinters, HoltWinters, Smoothing
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.models.shared import SharedLightGBM
from forecasting.naive_batch import naive_batch
from forecasting.panel import Panel
from forecasting.series import MAX_DEMAND, FloatArray, Series
from predictive_scaling.control.demand_window import binned
from tests.support.demand_series import MONDAY, a_shape

MINUTE, BIN = timedelta(minutes=1), timedelta(minutes=5)
DAYS = 4
MAX_OUTLIER_EFFECT = 1.5
"""Largest factor by which an absurd minute may change a later forecast: its bin lacks a minute, or a bin is a gap."""
MAX_SPIKE_EFFECT = 1 + 2 * HISTORY_FACTOR
"""The same for a high but plausible minute: its bin is its mean with four others, in a shape that rises fivefold."""
FAST_MODEL = LightGBMQuantiles(rounds=20, rows=4_000, peak_rows=2_000, peak_rounds=15)
JUDGED_MODEL = LightGBMQuantiles(rounds=60, rows=4_000, peak_rows=2_000, peak_rounds=15)
"""With fewer rounds LightGBM and Holt-Winters are nearly equal, and chance decides which one acts."""

factors = st.floats(1, 15).map(lambda power: 10.0**power)
absurd = st.one_of(factors.map(lambda factor: ("times", factor)), st.just(("times", 0.0)), st.just(("is", 2.0**63 - 1)))


def minutes(days: int = DAYS, seed: int = 1) -> FloatArray:
    return a_shape(days * 24 * 60, MINUTE, seed)


def live_series(values: FloatArray) -> Series:
    """The minutes in bins without outliers, as the operator forecasts from them."""
    series = binned(
        "shop",
        MONDAY,
        values.astype(np.float32),
        zero_is_valid=True,
        set_aside=find_outliers(values, MINUTE, judge_first=True),
    )
    assert series is not None
    return series


@cache
def learned_model() -> LearnedModels:
    return learn(live_series(minutes()), JUDGED_MODEL)


@cache
def fitted_models() -> dict[str, FittedModel]:
    series = live_series(minutes())
    own = FAST_MODEL.fit(series)
    return {
        "LastValue": LastValue(),
        "SeasonalNaive": SeasonalNaive(),
        "HoltWinters": HoltWinters().fit(series),
        "LightGBM": own,
        "LightGBM-shared": SharedLightGBM(FAST_MODEL).fit_many([series, live_series(minutes(seed=2))]),
    }


NAMES = ("LastValue", "SeasonalNaive", "HoltWinters", "LightGBM", "LightGBM-shared")


def max_ratio(first: FloatArray, second: FloatArray) -> float:
    """The largest factor between two forecasts, up or down; both are far from zero."""
    return float(np.exp(np.abs(np.log(first) - np.log(second)).max()))


def with_sample(values: FloatArray, at: int, sample: tuple[str, float]) -> FloatArray:
    """A copy of the values with one outlier."""
    how, number = sample
    changed = values.copy()
    changed[at] = number if how == "is" else number * changed[:at].max()
    return changed


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(st.integers(1, 300), absurd)
def test_one_absurd_minute_hardly_changes_later_forecasts(name: str, ago: int, sample: tuple[str, float]) -> None:
    values = minutes()
    wild, usual = (
        fitted_models()[name].forecast(live_series(series), 12)
        for series in (with_sample(values, -ago, sample), values)
    )
    assert max_ratio(wild.values, usual.values) < MAX_OUTLIER_EFFECT


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(st.integers(1, 40), absurd)
def test_one_absurd_bin_hardly_changes_later_forecasts(name: str, ago: int, sample: tuple[str, float]) -> None:
    usual = live_series(minutes())
    wild = Series(usual.name, usual.start, BIN, with_sample(usual.values, -ago, sample))
    forecasts = [fitted_models()[name].forecast(series, 12).values for series in (wild, usual)]
    assert max_ratio(*forecasts) < MAX_OUTLIER_EFFECT


@settings(max_examples=25)
@given(st.integers(1, 300), factors)
def test_a_plausible_spike_changes_forecasts_only_through_its_own_bin(ago: int, factor: float) -> None:
    values = minutes()
    wild = values.copy()
    wild[-ago] *= factor
    naive = [LastValue(), SeasonalNaive()]
    forecasts = [naive_batch([live_series(samples)], naive, 12)[0].values for samples in (wild, values)]
    assert max_ratio(*forecasts) < MAX_SPIKE_EFFECT


@settings(max_examples=25)
@given(st.integers(0, DAYS * 24 * 60 - 1), absurd)
def test_an_absurd_minute_in_the_past_does_not_change_the_acting_model(at: int, sample: tuple[str, float]) -> None:
    values = minutes()
    wild = values.copy()
    wild[at] = sample[1] if sample[0] == "is" else sample[1] * values.max()
    forecasts = [learned_model().forecast(live_series(samples), 12) for samples in (wild, values)]
    assert forecasts[0].model == forecasts[1].model
    assert max_ratio(forecasts[0].values, forecasts[1].values) < MAX_OUTLIER_EFFECT
    assert forecasts[0].peaks is not None
    assert forecasts[1].peaks is not None
    assert max_ratio(forecasts[0].peaks, forecasts[1].peaks) < MAX_OUTLIER_EFFECT


@pytest.mark.parametrize(
    ("positions", "value"),
    [
        ((2_000,), 1e5),
        ((700, 2_100, 3_500), 0.0),
        ((700, 2_100, 3_500, 4_200, 4_900, 5_600), 2.0**63),
        ((5_700, 5_701), 1e30),
    ],
)
def test_absurd_minutes_in_the_history_do_not_change_what_a_model_learns(
    positions: Sequence[int], value: float
) -> None:
    wild = minutes()
    wild[list(positions)] = value
    relearned = learn(live_series(wild), JUDGED_MODEL)
    assert relearned.verdict.acting == learned_model().verdict.acting
    champions = relearned.verdict.champion, learned_model().verdict.champion
    assert champions[0] is not None
    assert champions[1] is not None
    assert champions[0].wape == pytest.approx(champions[1].wape, rel=0.1)
    assert champions[0].coverage == pytest.approx(champions[1].coverage, abs=0.03)
    usual = live_series(minutes())
    assert (
        max_ratio(relearned.forecast(usual, 12).values, learned_model().forecast(usual, 12).values) < MAX_OUTLIER_EFFECT
    )


@pytest.mark.parametrize("value", [0.0, 2.0**63])
def test_an_absurd_bin_does_not_change_what_a_model_learns(value: float) -> None:
    usual = live_series(minutes())
    values = usual.values.copy()
    values[700] = value
    relearned = learn(Series(usual.name, usual.start, BIN, values), JUDGED_MODEL)
    assert relearned.verdict.acting == learned_model().verdict.acting
    assert (
        max_ratio(relearned.forecast(usual, 12).values, learned_model().forecast(usual, 12).values) < MAX_OUTLIER_EFFECT
    )


@pytest.mark.parametrize("name", ["LastValue", "LightGBM", "LightGBM-shared"])
@pytest.mark.parametrize("factor", [3.0, 30.0, 1000.0, 1 / 3, 1 / 30])
def test_a_lasting_change_of_level_is_followed_within_a_few_bins(name: str, factor: float) -> None:
    values = minutes()
    shifted = values.copy()
    shifted[-25:] *= factor
    forecast = fitted_models()[name].forecast(live_series(shifted), 1).values[0, 1]
    new_level = live_series(values).values[-1] * factor
    assert new_level / 2 < forecast < new_level * 2


@pytest.mark.parametrize("factor", [3.0, 1000.0, 1 / 30])
def test_holt_winters_follows_a_change_of_level_at_its_smoothing_rate(factor: float) -> None:
    values = minutes()
    shifted = values.copy()
    shifted[-60:] *= factor
    forecast = FittedHoltWinters((Smoothing(level=0.3),)).forecast(live_series(shifted), 1).values[0, 1]
    new_level = live_series(values).values[-1] * factor
    assert new_level / 2 < forecast < new_level * 2


@given(st.floats(3, 1e12), st.integers(3, 30))
def test_a_lasting_shift_of_any_size_counts_from_its_fourth_minute(factor: float, length: int) -> None:
    values = minutes()
    values[-length:] *= factor
    flags = find_outliers(values, MINUTE)[-length:]
    assert not flags[3:].any()


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=300), st.data())
def test_later_samples_do_not_change_which_earlier_samples_are_outliers(
    values: list[float], data: st.DataObject
) -> None:
    known = data.draw(st.integers(0, len(values)))
    series = np.array(values)
    assert np.array_equal(find_outliers(series, MINUTE)[:known], find_outliers(series[:known], MINUTE))


@given(st.lists(st.one_of(st.floats(0, 1e9), st.just(np.nan)), max_size=300), st.data())
def test_checking_only_the_newest_samples_gives_the_same_outliers(values: list[float], data: st.DataObject) -> None:
    since = data.draw(st.integers(0, len(values)))
    series = np.array(values)
    all_flags, newest_flags = find_outliers(series, MINUTE), find_outliers(series, MINUTE, since)
    assert np.array_equal(newest_flags[since:], all_flags[since:])
    assert not newest_flags[:since].any()


@given(st.lists(st.floats(width=64), max_size=60))
def test_any_numbers_become_demand_within_the_valid_range(values: list[float]) -> None:
    cleaned = without_outliers(Series("shop", MONDAY, MINUTE, np.array(values))).values
    assert ((cleaned >= 0) & (cleaned <= MAX_DEMAND) | np.isnan(cleaned)).all()


@given(st.lists(st.floats(width=64), min_size=1, max_size=400), st.sampled_from(NAMES))
def test_any_numbers_get_a_finite_forecast(values: list[float], name: str) -> None:
    forecast = fitted_models()[name].forecast(Series("shop", MONDAY, BIN, np.array(values)), 6)
    # The database stores 32-bit floats.
    assert np.isfinite(forecast.values.astype(np.float32)).all()
    assert (forecast.values >= 0).all()


def test_a_nightly_burst_is_no_outlier_once_it_has_recurred() -> None:
    values = minutes(days=6)
    bursts = np.arange(180, len(values), 24 * 60)
    values[bursts] = 50 * values.max()
    flags = find_outliers(values, MINUTE)
    assert flags[bursts[:3]].all()
    assert not flags[bursts[3:]].any()


def test_demand_after_an_idle_period_counts_at_once() -> None:
    values = np.concatenate([np.zeros(600), [5.0, 500.0, 800.0, 900.0]])
    assert not find_outliers(values, MINUTE)[600:603].any()


def test_the_first_sample_of_a_series_is_compared_with_later_samples() -> None:
    values = np.concatenate([[2.0**63], np.full(60, 100.0)])
    assert np.flatnonzero(find_outliers(values, MINUTE, judge_first=True)).tolist() == [0]
    assert not find_outliers(values[:30], MINUTE, judge_first=True)[0]


def test_a_cleaned_series_lists_its_outliers() -> None:
    values = np.full(60, 100.0)
    values[40] = 2.0**63
    cleaned = without_outliers(Series("shop", MONDAY, BIN, values, Context()))
    assert cleaned.outliers is not None
    assert [(outlier.at, outlier.value) for outlier in cleaned.outliers] == [(MONDAY + 40 * BIN, 2.0**63)]
    assert np.isnan(cleaned.values[40])
    assert np.isnan(Panel.of([Series("shop", MONDAY, BIN, values)]).values[0, 40])
