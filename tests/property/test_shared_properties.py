"""Samples of one series change no earlier forecast of any series of the shared model."""

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

_SHARED_MODEL = SharedLightGBM(LightGBMQuantiles(rounds=4, rows=600, peak_rows=600, peak_rounds=4))
_HORIZONS = np.array([1, 4])
_BINS = 5 * 96
_SPLIT = 0.6


def a_panel() -> list[Series]:
    return [a_series(days=5, seed=seed) for seed in (1, 2, 3)]


def walk(series: list[Series]) -> list[WalkForward]:
    return walk_forward_shared(series, _SHARED_MODEL, _SPLIT, 1, _HORIZONS)


@cache
def original_walks() -> list[WalkForward]:
    return walk(a_panel())


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2), st.integers(round(_BINS * _SPLIT), _BINS - 1), st.floats(0, 1e6))
def test_future_samples_of_one_series_change_no_earlier_forecast(changed_series: int, cut: int, other: float) -> None:
    series = a_panel()
    values: FloatArray = series[changed_series].values.copy()
    values[cut:] = other
    series[changed_series] = replace(series[changed_series], values=values)
    for before, after in zip(original_walks(), walk(series), strict=True):
        past = before.origins <= cut
        assert np.array_equal(before.quantiles[past], after.quantiles[past])


def test_leave_one_out_trains_on_the_other_series_only() -> None:
    training_sets: list[set[str]] = []

    class RecordingModel(SharedLightGBM):
        def fit_many(self, series: Sequence[Series]) -> FittedLightGBM:
            training_sets.append({member.name for member in series})
            return super().fit_many(series)

    series = [replace(member, name=name) for member, name in zip(a_panel(), "abc", strict=True)]
    walks = walk_forward_shared(series, RecordingModel(_SHARED_MODEL.model), _SPLIT, 1, _HORIZONS, leave_one_out=True)
    assert training_sets == [{"b", "c"}, {"a", "c"}, {"a", "b"}]
    assert not np.allclose(walks[0].quantiles, original_walks()[0].quantiles)
