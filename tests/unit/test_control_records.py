"""What the record of a decision says."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from forecasting.forecast import Forecast
from predictive_scaling.serving.model_store import ForecastRequest
from tests.support.control import World
from tests.support.in_memory_ports import FixedForecaster


class Reasoning(FixedForecaster):
    """Says why."""

    reasons = ("demand of the last 30 minutes (+21 %)", "minute of the day (-5%)", "the same time yesterday")

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        found = super().forecast(requests)
        return {name: replace(one, contributions=self.reasons) for name, one in found.items()}


def manifests(world: World) -> list[dict[str, Any]]:
    return [one for path, one in world.cluster.objects.items() if "/scalingdecisions/" in path]


async def test_a_decision_has_the_contributions_of_its_forecast() -> None:
    world = World()
    world.forecast_by(Reasoning(880.0))
    await world.turn(4)
    told = [
        {"feature": "demand of the last 30 minutes", "effect": "0.21"},
        {"feature": "minute of the day", "effect": "-0.05"},
        {"feature": "the same time yesterday"},
    ]
    assert [manifest["spec"]["forecast"]["contributions"] for manifest in manifests(world)] == [told] * len(
        manifests(world)
    )
    row = next(iter(world.decisions.rows.values()))
    assert row.forecast is not None
    assert row.forecast["contributions"] == told


async def test_a_forecast_that_says_nothing_has_none() -> None:
    world = World()
    await world.turn(4)
    assert manifests(world)
    assert all(manifest["spec"]["forecast"]["contributions"] == [] for manifest in manifests(world))
