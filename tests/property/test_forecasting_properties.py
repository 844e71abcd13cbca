from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import Origins, Panel
from forecasting.series import FloatArray, Series
from forecasting.serving import naive_batch
from tests.support.demand_series import a_series

HOUR = timedelta(hours=1)
demand = arrays(
    np.float64,
    st.integers(0, 80),
    elements=st.one_of(st.just(np.nan), st.just(0.0), st.floats(0.001, 1e6, allow_subnormal=False)),
)
kinds = st.sampled_from(["last", "seasonal", "holt-winters", "lightgbm"])


@cache
def fitted(kind: str) -> Fitted:
    learned = {"last": LastValue(), "seasonal": SeasonalNaive(), "holt-winters": FittedHoltWinters()}
    return learned[kind] if kind in learned else LightGBMQuantiles(rounds=5, rows=1000).fit(a_series(step=HOUR))


def series_of(values: FloatArray) -> Series:
    return Series("a", datetime(2026, 3, 1, 7, 13, tzinfo=UTC), HOUR, values)


@settings(max_examples=60, deadline=None)
@given(kinds, demand)
def test_quantiles_never_cross(kind: str, values: FloatArray) -> None:
    found = fitted(kind).forecast(series_of(values), 5).values
    assert found.shape == (5, len(QUANTILES))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(kinds, demand, st.integers(-8, 8))
def test_a_fitted_model_does_not_care_for_the_unit(kind: str, values: FloatArray, power: int) -> None:
    factor = 2.0**power
    plain, scaled = (fitted(kind).forecast(series_of(one), 5).values for one in (values, values * factor))
    assert np.allclose(scaled, plain * factor, rtol=1e-3, atol=1e-9 * factor)


@settings(max_examples=40, deadline=None)
@given(demand, st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_a_higher_quantile_is_never_lower(values: FloatArray, one: float, other: float) -> None:
    (found,) = naive_batch([series_of(values)], [LastValue(), SeasonalNaive()], 4)
    low, high = sorted((one, other))
    assert (found.at(low) <= found.at(high) * (1 + 1e-9) + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(kinds, demand, st.integers(0, 79), st.floats(0, 1e6))
def test_what_comes_after_the_origin_changes_nothing(kind: str, values: FloatArray, at: int, other: float) -> None:
    cut = min(at, len(values))
    changed = values.copy()
    changed[cut:] = other
    found = [
        fitted(kind).quantiles(Panel.of([series_of(one)]), Origins.of_one(np.arange(cut + 1)), np.array([1, 30]))
        for one in (values, changed)
    ]
    assert np.array_equal(found[0], found[1])
