"""The gauges of each policy for Prometheus, as the alerts use them."""

from datetime import timedelta

from prometheus_client import REGISTRY

from tests.support.builders import NOON, a_policy
from tests.support.control import World, an_edited_policy

MINUTE = timedelta(minutes=1)


def gauge(name: str) -> float | None:
    labels = {"namespace": "shop", "policy": "checkout"}
    return REGISTRY.get_sample_value(f"predictive_scaling_{name}", labels)


async def test_a_policy_without_demand_has_no_fresh_forecast_and_then_its_fallback_is_active() -> None:
    world = World(a_policy(fallback={"behavior": "HoldFloor", "after": "10m"}))
    world.source.since = NOON - timedelta(days=1)  # no forecast from the same time last week
    await world.turn(2)
    assert (gauge("forecast_fresh"), gauge("fallback_active")) == (1, 0)
    world.source.until = NOON
    await world.turn(3, step=4 * MINUTE)
    assert (gauge("forecast_fresh"), gauge("fallback_active")) == (0, 0)
    await world.turn(30, step=4 * MINUTE)
    assert (gauge("forecast_fresh"), gauge("fallback_active")) == (0, 1)


async def test_a_policy_that_is_off_or_deleted_fires_no_alert_on_forecasts() -> None:
    world = World()
    await world.turn(2)
    world.put(an_edited_policy(mode="Off"), generation=2)
    await world.turn(2)
    assert (gauge("forecast_fresh"), gauge("fallback_active")) == (None, None)
    world.put(an_edited_policy(), generation=3)
    await world.turn(2)
    assert gauge("forecast_fresh") == 1
    world.delete("checkout")
    await world.turn(3)
    assert (gauge("forecast_fresh"), gauge("fallback_active")) == (None, None)
