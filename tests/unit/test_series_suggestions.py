"""A policy whose series does not exist shows the nearest names that its namespace may read."""

from typing import Any

import pytest

from predictive_scaling.control.series_suggestions import nearest_series
from predictive_scaling.control.status_writer import REFRESH
from predictive_scaling.resources.series_key import SeriesKey
from tests.support.builders import LONG_AGO
from tests.support.control import World

KNOWN = {
    "checkout": ["cpu_usage", "requests_per_second", "requests_per_minute"],
    "checkout-api": ["requests_per_second"],
    "billing": ["requests_per_second"],
}


@pytest.mark.parametrize(
    ("service", "metric", "nearest"),
    [
        ("checkout", "request_per_second", [("checkout", "requests_per_second"), ("checkout", "requests_per_minute")]),
        ("checkout", "xyz", [("checkout", name) for name in KNOWN["checkout"]]),
        (
            "chekout",
            "requests_per_second",
            [("checkout", "requests_per_second"), ("checkout-api", "requests_per_second")],
        ),
        ("chekout-api", "rps", []),
        ("unknown", "requests_per_second", []),
    ],
)
def test_the_nearest_series_have_similar_names(service: str, metric: str, nearest: list[tuple[str, str]]) -> None:
    assert nearest_series(service, metric, KNOWN) == nearest


async def message_of(world: World) -> str:
    await world.turn()
    await world.series_suggestions()
    # A message alone is not written at once.
    await world.turn(2, REFRESH)
    condition = world.condition("MetricsFresh")
    assert condition["reason"] == "NoMetrics"
    return condition["message"]


def a_world_without_demand(**settings: Any) -> World:
    world = World(**settings)
    world.source.until = LONG_AGO
    world.source.known = [
        SeriesKey("checkout", "request_per_second"),
        SeriesKey("checkout-api", "requests_per_second"),
    ]
    return world


async def test_a_policy_without_metrics_shows_the_nearest_name() -> None:
    world = a_world_without_demand()
    assert (await message_of(world)).endswith("for service checkout; did you mean request_per_second?")


async def test_only_names_that_the_namespace_may_read_are_shown() -> None:
    allowed = {"shop": ("checkout-*", "checkout"), "billing": ("*",)}
    world = a_world_without_demand(namespace_services=allowed)
    world.source.known = [SeriesKey("checkot", "requests_per_second"), SeriesKey("checkout-api", "requests_per_second")]
    message = await message_of(world)
    assert message.endswith("did you mean requests_per_second of service checkout-api?")
    assert "checkot " not in message


async def test_an_outage_of_the_database_keeps_the_suggestion() -> None:
    world = a_world_without_demand()
    first = await message_of(world)
    world.source.is_away = True
    await world.turn()
    with pytest.raises(Exception, match="away"):
        await world.series_suggestions()
    await world.turn(2, REFRESH)
    assert world.condition("MetricsFresh")["message"] == first


async def test_without_a_near_name_the_message_has_no_suggestion() -> None:
    world = a_world_without_demand()
    world.source.known = [SeriesKey("warehouse", "temperature")]
    assert "did you mean" not in await message_of(world)


def test_the_requested_series_is_no_suggestion_for_itself() -> None:
    assert nearest_series("checkout", "cpu_usage", KNOWN)[0] == ("checkout", "cpu_usage")
