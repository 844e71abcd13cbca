"""The recorded forecasts and their sources in the fallback chain."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from forecasting.forecast import PEAK_QUANTILES, Forecast
from predictive_scaling.control.demand_window import MINUTE
from predictive_scaling.serving.model_store import ForecastRequest
from predictive_scaling.storage.forecast_history import Prediction
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.in_memory_ports import FixedForecaster


class PeakForecaster(FixedForecaster):
    """Forecasts with peaks of the first three windows."""

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        peaks = np.arange(12.0).reshape(3, len(PEAK_QUANTILES)) + 5000
        return {name: replace(forecast, peaks=peaks) for name, forecast in super().forecast(requests).items()}


def sources(rows: Sequence[Prediction]) -> list[str]:
    """The sources of the recorded forecasts, in order, without repetitions."""
    return [row.source for index, row in enumerate(rows) if index == 0 or row.source != rows[index - 1].source]


async def test_forecasts_are_recorded_with_the_source_that_was_used() -> None:
    world = World()
    world.source.until = NOON + 3 * MINUTE
    await world.turn(2)
    await world.turn(60 * 5, step=MINUTE)
    assert sources(world.predicted.rows) == ["FreshForecast", "LastForecast", "SameTimeLastWeek"]
    last = [row for row in world.predicted.rows if row.source == "LastForecast"]
    assert len({row.created_at for row in last}) == 1
    last_week = [row for row in world.predicted.rows if row.source == "SameTimeLastWeek"]
    assert {row.model_name for row in last_week} == {"SameTimeLastWeek"}
    origins = sorted({row.created_at for row in last_week})
    assert min(after - before for before, after in pairwise(origins)) >= timedelta(minutes=5)


async def test_a_fresh_forecast_replaces_the_fallback_once_data_return() -> None:
    world = World()
    world.source.until = NOON + 3 * MINUTE
    await world.turn(2)
    await world.turn(60 * 4, step=MINUTE)
    world.source.until = NOON + timedelta(days=1)
    await world.turn(8)
    assert sources(world.predicted.rows)[-2:] == ["SameTimeLastWeek", "FreshForecast"]


async def test_peaks_are_recorded_with_the_bins_that_end_their_windows() -> None:
    world = World()
    world.forecast_by(PeakForecaster(880.0))
    await world.turn(1)
    rows = world.predicted.rows
    assert [row.peak_p95 for row in rows[:4]] == [5003.0, 5007.0, 5011.0, None]
    assert rows[1].peak_p50 == 5004.0


async def test_rows_that_postgresql_refuses_do_not_affect_other_policies() -> None:
    checkout = a_policy()
    other = checkout.metadata.model_copy(update={"name": "cart", "uid": "cart-uid"})
    world = World(checkout, checkout.model_copy(update={"metadata": other}))
    recorded: list[Prediction] = []

    class RefusingTable:
        async def record(self, predictions: Sequence[Prediction]) -> None:
            if any(row.policy == "cart" for row in predictions):
                raise ValueError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
            recorded.extend(predictions)

    world.refresher.table = RefusingTable()
    await world.turn(4)
    assert {row.policy for row in recorded} == {"checkout"}
