"""All implementations of quantile interpolation agree."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.forecast import QUANTILES, Forecast
from forecasting.quantile_interpolation import quantile_weights
from predictive_scaling.decision.peak_demand import highest_bin
from predictive_scaling.decision.spans import Span
from tests.support.builders import NOON

rows = st.lists(st.floats(0, 1e9), min_size=5, max_size=5).map(sorted)
quantiles = st.floats(0.5, 0.999)


@given(rows, quantiles)
def test_single_vectorized_and_live_interpolation_agree(row: list[float], quantile: float) -> None:
    forecast = Forecast("", NOON, timedelta(minutes=5), QUANTILES, np.array([row]), "", "")
    live = highest_bin(forecast, quantile, (Span(NOON, NOON + forecast.step),))
    assert live is not None
    vectorized = np.array([row]) @ np.array(quantile_weights(QUANTILES, quantile).by_column(len(QUANTILES)))
    assert forecast.at(quantile)[0] == pytest.approx(live.value, rel=1e-12, abs=1e-9)
    assert vectorized[0] == pytest.approx(live.value, rel=1e-12, abs=1e-9)


@given(rows, quantiles, quantiles)
def test_a_higher_quantile_is_never_lower(row: list[float], first: float, second: float) -> None:
    forecast = Forecast("", NOON, timedelta(minutes=5), QUANTILES, np.array([row]), "", "")
    low, high = sorted((first, second))
    assert forecast.at(low)[0] <= forecast.at(high)[0] * (1 + 1e-12) + 1e-9
