"""The record of a decision: the contributions of its forecast, and the order of its phases."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest

from forecasting.forecast import Forecast
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.serving.model_store import ForecastRequest
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.in_memory_ports import FixedForecaster


class ExplainingForecaster(FixedForecaster):
    """Adds contributions to its forecasts."""

    contributions = ("demand of the last 30 minutes (+21 %)", "minute of the day (-5%)", "the same time yesterday")

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        forecasts = super().forecast(requests)
        return {name: replace(forecast, contributions=self.contributions) for name, forecast in forecasts.items()}


def decision_manifests(world: World) -> list[dict[str, Any]]:
    return [body for path, body in world.cluster.objects.items() if "/scalingdecisions/" in path]


async def test_a_decision_has_the_contributions_of_its_forecast() -> None:
    world = World()
    world.forecast_by(ExplainingForecaster(880.0))
    await world.turn(4)
    expected = [
        {"feature": "demand of the last 30 minutes", "effect": "0.21"},
        {"feature": "minute of the day", "effect": "-0.05"},
        {"feature": "the same time yesterday"},
    ]
    assert [manifest["spec"]["forecast"]["contributions"] for manifest in decision_manifests(world)] == [
        expected
    ] * len(decision_manifests(world))
    row = next(iter(world.decisions.rows.values()))
    assert row.forecast is not None
    assert row.forecast["contributions"] == expected


async def test_a_forecast_without_contributions_gives_a_decision_without_contributions() -> None:
    world = World()
    await world.turn(4)
    assert decision_manifests(world)
    assert all(manifest["spec"]["forecast"]["contributions"] == [] for manifest in decision_manifests(world))


async def decide(world: World) -> None:
    await world.leadership.campaign()
    await world.loop.run()
    await world.refresher.run()
    await world.loop.run()


async def verify(world: World) -> None:
    world.target.replicas = world.target.ready_replicas = 9
    await world.verification.run()


async def show_the_end_of_the_row(world: World) -> None:
    (row,) = world.decisions.rows.values()
    world.decision_records.queue_write_back(replace(row, status=DecisionPhase.CANCELLED.stored, outcome="Cleared."))
    await world.decision_records.flush()


@pytest.mark.parametrize(("end", "phase"), [(verify, "Succeeded"), (show_the_end_of_the_row, "Cancelled")])
async def test_the_end_of_a_raise_is_shown_after_a_slow_write_of_its_phase_verifying(
    end: Callable[[World], Coroutine[Any, Any, None]], phase: str
) -> None:
    world = World(a_policy(scaleUp={"maxStep": 40, "period": "1m"}))
    in_flight, released, write = asyncio.Event(), asyncio.Event(), world.cluster.merge

    async def merge(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("status", {}).get("phase") == "Verifying":
            in_flight.set()
            await released.wait()
        return await write(path, body)

    world.cluster.merge = merge
    raised = asyncio.create_task(decide(world))
    await in_flight.wait()
    ended = asyncio.create_task(end(world))
    for _ in range(100):
        await asyncio.sleep(0)
    released.set()
    await asyncio.gather(raised, ended)
    assert world.phases == [phase]
