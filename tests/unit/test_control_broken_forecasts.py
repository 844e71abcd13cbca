"""Forecasts that fail or are invalid: pins still apply, and the floor is kept."""

from typing import Any

import pytest

from predictive_scaling.resources.metadata import PolicyKey
from tests.support.control import World

pytestmark = pytest.mark.usefixtures("logs")


async def test_a_pin_applies_when_forecasts_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None

    def failing(*_: Any, **__: Any) -> Any:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr(world.loop.reconciler.situations.forecasts, "current", failing)
    monkeypatch.setattr(world.loop.reconciler.situations.forecasts, "baselines", failing)
    monkeypatch.setattr(world.loop.reconciler.situations.window, "newest", failing)
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/pin": "12"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await world.loop.run()
    assert world.target.minimum == 12
    ready = world.condition("ForecastReady")
    assert (ready["status"], ready["reason"]) == ("False", "ForecastFailed")
    assert "OverflowError" in ready["message"]
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("demand", [1e30, 9.3e18, float("inf"), float("nan"), -5.0])
async def test_a_pin_applies_to_any_forecast(demand: float) -> None:
    world = World()
    await world.turn(20)
    world.forecaster.demand = demand
    await world.turn(4)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/pin": "12"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await world.turn(1)
    assert world.target.minimum == 12
    assert world.condition("Ready")["status"] == "True"


async def test_a_forecast_that_breaks_the_decision_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    monkeypatch.setattr("predictive_scaling.decision.decide.recommend_from_forecast", fail_with_a_forecast)
    await world.turn(2)
    assert world.target.minimum == 9
    assert world.condition("ForecastReady")["reason"] == "ForecastFailed"


def fail_with_a_forecast(situation: Any, context: Any, spans: Any) -> None:
    del situation, spans
    if context.forecast is not None:
        raise ValueError("bins do not fit")
