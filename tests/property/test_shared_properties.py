"""What one series does after a moment changes no forecast that was made before it, neither its own nor another's."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.shared import SharedLightGBM, walk_forward_shared
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward
from tests.support.demand_series import a_series

_KIND = SharedLightGBM(LightGBMQuantiles(rounds=4, rows=600))
_HORIZONS = np.array([1, 4])
_BINS = 5 * 96
_SPLIT = 0.6


def panel() -> list[Series]:
    return [a_series(days=5, seed=seed) for seed in (1, 2, 3)]


def walked(series: list[Series]) -> list[WalkForward]:
    return walk_forward_shared(series, _KIND, _SPLIT, 1, _HORIZONS)


@cache
def undisturbed() -> list[WalkForward]:
    return walked(panel())


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2), st.integers(round(_BINS * _SPLIT), _BINS - 1), st.floats(0, 1e6))
def test_the_future_of_any_series_of_a_panel_changes_nothing_before_it(which: int, cut: int, other: float) -> None:
    series = panel()
    values: FloatArray = series[which].values.copy()
    values[cut:] = other
    series[which] = replace(series[which], values=values)
    for before, after in zip(undisturbed(), walked(series), strict=True):
        seen = before.origins <= cut
        assert np.array_equal(before.quantiles[seen], after.quantiles[seen])


def test_a_stranger_is_forecast_by_what_the_others_taught() -> None:
    taught: list[set[str]] = []

    class Watched(SharedLightGBM):
        def fit_many(self, series: Sequence[Series]) -> FittedLightGBM:
            taught.append({one.name for one in series})
            return super().fit_many(series)

    series = [replace(one, name=name) for one, name in zip(panel(), "abc", strict=True)]
    found = walk_forward_shared(series, Watched(_KIND.model), _SPLIT, 1, _HORIZONS, leave_one_out=True)
    assert taught == [{"b", "c"}, {"a", "c"}, {"a", "b"}]
    assert not np.allclose(found[0].quantiles, undisturbed()[0].quantiles)
