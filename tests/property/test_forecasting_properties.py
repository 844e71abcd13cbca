"""Forecasts of any series: ordered quantiles, no look into the future, no dependence on unit or order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.cleaning.counters import counter_rates
from forecasting.cleaning.regularize import SampleKind, regularize
from forecasting.context import Context
from forecasting.features import FEATURES, build_features
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch
from forecasting.panel import Origins, Panel
from forecasting.series import FloatArray, Series
from tests.support.demand_series import a_series

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
CHRISTMAS = datetime(2026, 12, 18, 11, tzinfo=UTC)
demand = arrays(
    np.float64,
    st.integers(0, 80),
    elements=st.one_of(st.just(np.nan), st.just(0.0), st.floats(0.001, 1e6, allow_subnormal=False)),
)
kinds = st.sampled_from(["last", "seasonal", "holt-winters", "lightgbm"])


@cache
def fitted(kind: str) -> FittedModel:
    naive = {"last": LastValue(), "seasonal": SeasonalNaive(), "holt-winters": FittedHoltWinters()}
    if kind in naive:
        return naive[kind]
    return LightGBMQuantiles(rounds=5, rows=1000, peak_rows=1000, peak_rounds=5).fit(a_series(step=HOUR))


def series_of(values: FloatArray) -> Series:
    return Series("a", datetime(2026, 3, 1, 7, 13, tzinfo=UTC), HOUR, values)


@settings(max_examples=60, deadline=None)
@given(kinds, demand)
def test_quantiles_never_cross(kind: str, values: FloatArray) -> None:
    quantiles = fitted(kind).forecast(series_of(values), 5).values
    assert quantiles.shape == (5, len(QUANTILES))
    assert np.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


MOSTLY_CONSTANT = np.full(46, 480128.63840622)
MOSTLY_CONSTANT[[0, *range(4, 11)]], MOSTLY_CONSTANT[[1, 11, 43]] = np.nan, 0.0
"""The growth from one day to the next is zero or 2e-15, depending on the unit."""


@settings(max_examples=60, deadline=None)
@given(kinds, demand, st.floats(0.004, 256))
@example("lightgbm", MOSTLY_CONSTANT, 3.7)
@example("lightgbm", MOSTLY_CONSTANT - 3e-9, 0.25)
def test_a_fitted_model_does_not_depend_on_the_unit(kind: str, values: FloatArray, factor: float) -> None:
    plain, scaled = (fitted(kind).forecast(series_of(demand), 5).values for demand in (values, values * factor))
    assert np.allclose(scaled, plain * factor, rtol=1e-3, atol=1e-9 * factor)


@settings(max_examples=40, deadline=None)
@given(demand, st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_a_higher_quantile_is_never_lower(values: FloatArray, first: float, second: float) -> None:
    (forecast,) = naive_batch([series_of(values)], [LastValue(), SeasonalNaive()], 4)
    low, high = sorted((first, second))
    assert (forecast.at(low) <= forecast.at(high) * (1 + 1e-9) + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(kinds, demand, st.integers(0, 79), st.floats(0, 1e6))
def test_samples_after_the_origin_change_no_forecast(kind: str, values: FloatArray, at: int, other: float) -> None:
    cut = min(at, len(values))
    changed = values.copy()
    changed[cut:] = other
    quantiles = [
        fitted(kind).quantiles(
            Panel.of([series_of(samples)]), Origins.of_single_series(np.arange(cut + 1)), np.array([1, 30])
        )
        for samples in (values, changed)
    ]
    assert np.array_equal(quantiles[0], quantiles[1])


CONTEXTS = st.sampled_from(
    [
        Context(),
        Context(ZoneInfo("Europe/Paris")),
        Context(ZoneInfo("Australia/Lord_Howe"), "AU"),
        Context(ZoneInfo("America/New_York"), "US"),
        Context(country="DE-BY"),
    ]
)
STARTS = st.sampled_from([datetime(2026, 3, 24, 3, tzinfo=UTC), datetime(2026, 10, 20, 7, tzinfo=UTC), CHRISTMAS])


def long_series(values: FloatArray, start: datetime, context: Context) -> Series:
    """Ten days, longer than any lag: the values repeated, each time a little higher."""
    days = np.resize(values, 240) * (1 + np.arange(240) / 1000) if len(values) else np.full(240, np.nan)
    return Series("a", start, HOUR, days, context)


@settings(max_examples=60, deadline=None)
@given(demand, STARTS, CONTEXTS, st.integers(0, 239), st.floats(0, 1e6))
def test_future_samples_change_no_feature(
    values: FloatArray, start: datetime, context: Context, cut: int, other: float
) -> None:
    series = long_series(values, start, context)
    changed = series.values.copy()
    changed[cut:] = other
    origins = Origins.of_single_series(np.arange(cut + 1))
    matrices = [
        build_features(Panel.of([history]), origins, np.array([1, 3, 30])).matrix
        for history in (series, replace(series, values=changed))
    ]
    for column, feature in enumerate(FEATURES):
        assert np.array_equal(matrices[0][:, column], matrices[1][:, column], equal_nan=True), feature.name


@settings(max_examples=60, deadline=None)
@given(kinds, demand, STARTS, CONTEXTS, st.integers(0, 239), st.floats(0, 1e6))
def test_future_samples_change_no_forecast_in_any_calendar_context(
    kind: str, values: FloatArray, start: datetime, context: Context, cut: int, other: float
) -> None:
    series = long_series(values, start, context)
    changed = series.values.copy()
    changed[cut:] = other
    quantiles = [
        fitted(kind).quantiles(Panel.of([history]), Origins.of_single_series(np.arange(cut + 1)), np.array([1, 30]))
        for history in (series, replace(series, values=changed))
    ]
    assert np.array_equal(quantiles[0], quantiles[1])
    assert np.isfinite(quantiles[0]).all()
    assert (np.diff(quantiles[0], axis=2) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(demand, STARTS, st.lists(CONTEXTS, min_size=2, max_size=4))
def test_a_series_has_the_same_features_alone_and_in_a_panel(
    values: FloatArray, start: datetime, contexts: list[Context]
) -> None:
    panel = [long_series(values * (1 + index), start, context) for index, context in enumerate(contexts)]
    together = build_features(Panel.of(panel), Panel.of(panel).latest_origins(), np.array([1, 3])).matrix
    alone = [
        build_features(Panel.of([series]), Panel.of([series]).latest_origins(), np.array([1, 3])).matrix
        for series in panel
    ]
    assert np.array_equal(together, np.concatenate(alone), equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(demand.filter(len), st.sampled_from(list(SampleKind)), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(values: FloatArray, kind: SampleKind, random: Random) -> None:
    times = [datetime(2026, 3, 29, tzinfo=UTC) + index * 5 * MINUTE for index in range(len(values))]
    order = list(range(len(values)))
    random.shuffle(order)
    zone = ZoneInfo("Europe/Paris")
    assume(np.isfinite(values).sum() >= (2 if kind is SampleKind.COUNTER else 1))
    plain = regularize("a", times, values, step=5 * MINUTE, kind=kind).series
    shuffled = regularize(
        "a", [times[index].astimezone(zone) for index in order], values[order], step=5 * MINUTE, kind=kind
    ).series
    assert (plain.start, plain.step) == (shuffled.start, shuffled.step)
    assert np.array_equal(plain.values, shuffled.values, equal_nan=True)
    assert not (plain.values < 0).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=60), st.integers(1, 59))
def test_a_counter_reset_loses_only_the_increase_just_before_it(steps: list[float], at: int) -> None:
    totals = np.cumsum([0.0, *steps])
    cut = min(at, len(steps))
    totals_with_reset = np.where(np.arange(len(totals)) >= cut, totals - totals[cut - 1], totals)
    seconds: FloatArray = 60.0 * np.arange(len(totals), dtype=np.float64)
    (_, without_reset, _), (_, with_reset, resets) = (
        counter_rates(seconds, counter, 60.0) for counter in (totals, totals_with_reset)
    )
    assert resets <= 1
    assert (with_reset >= 0).all()
    assert np.allclose(np.delete(with_reset, cut - 1), np.delete(without_reset, cut - 1), rtol=1e-6, atol=1e-3)
