"""One absurd sample changes next to nothing of what is forecast after it; a level that stays is followed."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.cleaning.outliers import EVER_TIMES, outliers, without_outliers
from forecasting.context import Context
from forecasting.forecaster import Fitted
from forecasting.learning import Learned, learn
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
SMALL = 1.5
"""What one absurd minute may change a later forecast by: its bin lacks a minute, or a bin is a gap."""
ORDINARY = 1 + 2 * EVER_TIMES
"""What a high but possible minute may: its bin is the mean of it and four others, in a shape that rises fivefold."""
SETTINGS = LightGBMQuantiles(rounds=20, rows=4_000, peak_rows=2_000)

factors = st.floats(1, 15).map(lambda power: 10.0**power)
absurd = st.one_of(factors.map(lambda factor: ("times", factor)), st.just(("times", 0.0)), st.just(("is", 2.0**63 - 1)))


def minutes(days: int = DAYS, seed: int = 1) -> FloatArray:
    return a_shape(days * 24 * 60, MINUTE, seed)


def live(values: FloatArray) -> Series:
    """What the operator forecasts from."""
    found = binned(
        "shop",
        MONDAY,
        values.astype(np.float32),
        zero_is_valid=True,
        set_aside=outliers(values, MINUTE, first_too=True),
    )
    assert found is not None
    return found


@cache
def learned() -> Learned:
    return learn(live(minutes()), SETTINGS)


@cache
def models() -> dict[str, Fitted]:
    series = live(minutes())
    own = SETTINGS.fit(series)
    return {
        "LastValue": LastValue(),
        "SeasonalNaive": SeasonalNaive(),
        "HoltWinters": HoltWinters().fit(series),
        "LightGBM": own,
        "LightGBM-shared": SharedLightGBM(SETTINGS).fit_many([series, live(minutes(seed=2))]),
    }


NAMES = ("LastValue", "SeasonalNaive", "HoltWinters", "LightGBM", "LightGBM-shared")


def changed(one: FloatArray, other: FloatArray) -> float:
    """By what factor forecasts differ at most, up or down; both are far from zero."""
    return float(np.exp(np.abs(np.log(one) - np.log(other)).max()))


def with_sample(values: FloatArray, at: int, sample: tuple[str, float]) -> FloatArray:
    """The same with one sample that is not like the others."""
    how, number = sample
    found = values.copy()
    found[at] = number if how == "is" else number * found[:at].max()
    return found


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(st.integers(1, 300), absurd)
def test_one_absurd_minute_hardly_changes_what_is_forecast_after_it(
    name: str, ago: int, sample: tuple[str, float]
) -> None:
    values = minutes()
    wild, usual = (models()[name].forecast(live(one), 12) for one in (with_sample(values, -ago, sample), values))
    assert changed(wild.values, usual.values) < SMALL


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(st.integers(1, 40), absurd)
def test_one_absurd_bin_hardly_changes_what_is_forecast_after_it(
    name: str, ago: int, sample: tuple[str, float]
) -> None:
    usual = live(minutes())
    wild = Series(usual.name, usual.start, BIN, with_sample(usual.values, -ago, sample))
    forecasts = [models()[name].forecast(one, 12).values for one in (wild, usual)]
    assert changed(*forecasts) < SMALL


@settings(max_examples=25)
@given(st.integers(1, 300), factors)
def test_a_minute_that_could_be_true_changes_forecasts_by_its_own_bin_only(ago: int, factor: float) -> None:
    values = minutes()
    wild = values.copy()
    wild[-ago] *= factor
    naive = [LastValue(), SeasonalNaive()]
    found = [naive_batch([live(one)], naive, 12)[0].values for one in (wild, values)]
    assert changed(*found) < ORDINARY


@settings(max_examples=25)
@given(st.integers(0, DAYS * 24 * 60 - 1), absurd)
def test_an_absurd_minute_of_the_past_costs_no_service_its_model(at: int, sample: tuple[str, float]) -> None:
    values = minutes()
    wild = values.copy()
    wild[at] = sample[1] if sample[0] == "is" else sample[1] * values.max()
    forecasts = [learned().forecast(live(one), 12) for one in (wild, values)]
    assert forecasts[0].model == forecasts[1].model
    assert changed(forecasts[0].values, forecasts[1].values) < SMALL
    assert forecasts[0].peaks is not None
    assert forecasts[1].peaks is not None
    assert changed(forecasts[0].peaks, forecasts[1].peaks) < SMALL


@pytest.mark.parametrize(
    ("places", "value"),
    [
        ((2_000,), 1e5),
        ((700, 2_100, 3_500), 0.0),
        ((700, 2_100, 3_500, 4_200, 4_900, 5_600), 2.0**63),
        ((5_700, 5_701), 1e30),
    ],
)
def test_a_model_learns_the_same_with_absurd_minutes_among_its_days(places: Sequence[int], value: float) -> None:
    wild = minutes()
    wild[list(places)] = value
    found = learn(live(wild), SETTINGS)
    assert found.verdict.acting == learned().verdict.acting
    champions = found.verdict.champion, learned().verdict.champion
    assert champions[0] is not None
    assert champions[1] is not None
    assert champions[0].wape == pytest.approx(champions[1].wape, rel=0.1)
    assert champions[0].coverage == pytest.approx(champions[1].coverage, abs=0.03)
    usual = live(minutes())
    assert changed(found.forecast(usual, 12).values, learned().forecast(usual, 12).values) < SMALL


@pytest.mark.parametrize("value", [0.0, 2.0**63])
def test_a_model_learns_the_same_with_an_absurd_bin_that_nobody_set_aside(value: float) -> None:
    usual = live(minutes())
    values = usual.values.copy()
    values[700] = value
    found = learn(Series(usual.name, usual.start, BIN, values), SETTINGS)
    assert found.verdict.acting == learned().verdict.acting
    assert changed(found.forecast(usual, 12).values, learned().forecast(usual, 12).values) < SMALL


@pytest.mark.parametrize("name", ["LastValue", "LightGBM", "LightGBM-shared"])
@pytest.mark.parametrize("factor", [3.0, 30.0, 1000.0, 1 / 3, 1 / 30])
def test_a_level_that_stays_is_followed_within_a_few_bins(name: str, factor: float) -> None:
    values = minutes()
    shifted = values.copy()
    shifted[-25:] *= factor
    forecast = models()[name].forecast(live(shifted), 1).values[0, 1]
    now = live(values).values[-1] * factor
    assert now / 2 < forecast < now * 2


@pytest.mark.parametrize("factor", [3.0, 1000.0, 1 / 30])
def test_holt_winters_follows_a_level_as_fast_as_it_smooths(factor: float) -> None:
    values = minutes()
    shifted = values.copy()
    shifted[-60:] *= factor
    forecast = FittedHoltWinters((Smoothing(level=0.3),)).forecast(live(shifted), 1).values[0, 1]
    now = live(values).values[-1] * factor
    assert now / 2 < forecast < now * 2


@given(st.floats(3, 1e12), st.integers(3, 30))
def test_a_true_shift_of_any_height_counts_from_its_fourth_minute_on(factor: float, length: int) -> None:
    values = minutes()
    values[-length:] *= factor
    found = outliers(values, MINUTE)[-length:]
    assert not found[3:].any()


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=300), st.data())
def test_what_comes_later_changes_nothing_of_what_was_set_aside(values: list[float], data: st.DataObject) -> None:
    known = data.draw(st.integers(0, len(values)))
    series = np.array(values)
    assert np.array_equal(outliers(series, MINUTE)[:known], outliers(series[:known], MINUTE))


@given(st.lists(st.one_of(st.floats(0, 1e9), st.just(np.nan)), max_size=300), st.data())
def test_judging_the_newest_samples_alone_comes_to_the_same(values: list[float], data: st.DataObject) -> None:
    since = data.draw(st.integers(0, len(values)))
    series = np.array(values)
    whole, newest = outliers(series, MINUTE), outliers(series, MINUTE, since)
    assert np.array_equal(newest[since:], whole[since:])
    assert not newest[:since].any()


@given(st.lists(st.floats(width=64), max_size=60))
def test_any_numbers_at_all_become_demand_that_can_be_calculated_with(values: list[float]) -> None:
    found = without_outliers(Series("shop", MONDAY, MINUTE, np.array(values))).values
    assert ((found >= 0) & (found <= MAX_DEMAND) | np.isnan(found)).all()


@given(st.lists(st.floats(width=64), min_size=1, max_size=400), st.sampled_from(NAMES))
def test_any_numbers_at_all_get_a_finite_forecast(values: list[float], name: str) -> None:
    forecast = models()[name].forecast(Series("shop", MONDAY, BIN, np.array(values)), 6)
    # As the database keeps them.
    assert np.isfinite(forecast.values.astype(np.float32)).all()
    assert (forecast.values >= 0).all()


def test_a_nightly_burst_is_learned_once_it_came_again() -> None:
    values = minutes(days=6)
    bursts = np.arange(180, len(values), 24 * 60)
    values[bursts] = 50 * values.max()
    found = outliers(values, MINUTE)
    assert found[bursts[:3]].all()
    assert not found[bursts[3:]].any()


def test_a_service_that_wakes_up_counts_at_once() -> None:
    values = np.concatenate([np.zeros(600), [5.0, 500.0, 800.0, 900.0]])
    assert not outliers(values, MINUTE)[600:603].any()


def test_the_first_sample_of_a_series_is_judged_by_what_followed() -> None:
    values = np.concatenate([[2.0**63], np.full(60, 100.0)])
    assert np.flatnonzero(outliers(values, MINUTE, first_too=True)).tolist() == [0]
    assert not outliers(values[:30], MINUTE, first_too=True)[0]


def test_a_series_names_what_was_set_aside() -> None:
    values = np.full(60, 100.0)
    values[40] = 2.0**63
    found = without_outliers(Series("shop", MONDAY, BIN, values, Context()))
    assert found.outliers is not None
    assert [(outlier.at, outlier.value) for outlier in found.outliers] == [(MONDAY + 40 * BIN, 2.0**63)]
    assert np.isnan(found.values[40])
    assert np.isnan(Panel.of([Series("shop", MONDAY, BIN, values)]).values[0, 40])
