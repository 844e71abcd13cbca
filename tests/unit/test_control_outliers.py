"""A policy with absurd demand: it is still acted on, its status stays valid, and overrides apply."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forecasting.forecast import Forecast
from predictive_scaling.control.demand_window import MINUTE
from predictive_scaling.resources.annotations import PIN
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.in_memory_ports import ConstantDemand, FixedForecaster
from tests.support.schemas import violations

MAX_INT64 = 2.0**63 - 1
DEMAND = 400.0


class NaiveForecasts(FixedForecaster):
    """Forecasts of series without a model, as the operator makes them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(DEMAND)
        self._model_store = ModelStore(folder)

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        return self._model_store.forecast(requests)


class DemandWithOutliers(ConstantDemand):
    """Constant demand with some outliers."""

    def __init__(self, outliers: Mapping[datetime, float], demand: float = DEMAND) -> None:
        super().__init__(demand, NOON + timedelta(days=1))
        self.outliers = outliers

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        demand = await super().minutes(keys, since, until)
        for values in demand.values():
            for at, value in self.outliers.items():
                if since <= at < until:
                    values[(at - since) // MINUTE] = value
        return demand


def a_world(folder: Path, source: ConstantDemand, **policy: Any) -> World:
    world = World(a_policy(**policy))
    world.source = source
    world.forecast_by(NaiveForecasts(folder / "models"))
    return world


def is_accepted(world: World) -> bool:
    spec = {"target": {}, "demand": {"metric": "m"}, "replicas": {"max": 1}}
    decisions = [body for path, body in world.cluster.objects.items() if "/scalingdecisions/" in path]
    return not violations("ScalingPolicy", {"spec": spec, "status": world.status}) and not any(
        violations("ScalingDecision", {"spec": decision["spec"]}) for decision in decisions
    )


@pytest.mark.parametrize("value", [MAX_INT64, 1e6, 1.7e308, 1e30])
async def test_one_absurd_sample_changes_no_floor_and_is_reported(tmp_path: Path, value: float) -> None:
    at = NOON + 2 * MINUTE
    world = a_world(tmp_path, DemandWithOutliers({at: value}))
    floors: list[int] = []
    messages: set[str] = set()
    for _ in range(16):
        await world.turn(2, timedelta(seconds=30))
        floors.append(world.status["floor"])
        messages.add(world.condition("MetricsFresh")["message"])
        assert world.condition("MetricsFresh")["status"] == "True"
        assert world.condition("Ready")["status"] == "True"
    assert set(floors[2:]) == {4}
    assert is_accepted(world)
    assert any("excluded as an outlier" in message and "2026-06-17T12:02:00Z" in message for message in messages)


async def test_a_lasting_surge_raises_the_floor_within_a_few_minutes(tmp_path: Path) -> None:
    world = a_world(
        tmp_path, DemandWithOutliers({NOON + index * MINUTE: 40 * DEMAND for index in range(2, 60)}), max=1000
    )
    world.target.maximum = 1000
    await world.turn(2 * 2, timedelta(seconds=30))
    assert world.status["floor"] == 4
    await world.turn(2 * 14, timedelta(seconds=30))
    assert world.status["floor"] > 100


async def test_demand_in_bytes_is_supported(tmp_path: Path) -> None:
    world = a_world(tmp_path, ConstantDemand(5e12, NOON + timedelta(days=1)), demand={"perReplica": "250000000000"})
    await world.turn(40, timedelta(seconds=30))
    assert world.status["floor"] == 20
    assert world.status["perReplica"] == "250000000000"
    assert float(world.status["forecast"]["points"][0]["p50"]) == pytest.approx(5e12, rel=1e-6)
    assert is_accepted(world)


@pytest.mark.parametrize("demand", [MAX_INT64, 1e30, 1.7e308, 5e-324])
async def test_a_pin_applies_to_any_demand(tmp_path: Path, demand: float) -> None:
    world = a_world(tmp_path, ConstantDemand(demand, NOON + timedelta(days=1)), annotations={PIN: "7"})
    await world.turn(4)
    assert world.target.minimum == 7
    assert world.condition("Paused")["reason"] == "Pinned"
    assert is_accepted(world)


async def test_a_resume_annotation_of_any_length_leaves_a_valid_status() -> None:
    world = World(a_policy(annotations={"predictive-scaling.io/resume": "é" * 100_000}))
    await world.turn(4)
    assert world.status["takeover"]["resume"].startswith("sha256:")
    assert is_accepted(world)
