"""A policy over time: demand, forecast band, floor and replicas of the HTTP API."""

from datetime import timedelta

import httpx
import pytest

from predictive_scaling.api.services import Services
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.storage.samples import Sample, Samples, series_of
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_access import TENANT, InMemoryAuthority, policy_of
from tests.support.api_services import NOW, a_decision, a_forecast, a_policy, api_client, get_json

MINUTE = timedelta(minutes=1)
TIMELINE = "/api/v1/policies/shop/checkout/timeline"


@pytest.fixture
async def recorded(services: Services) -> Services:
    """A policy whose floor rose ten minutes ago, with ten minutes of demand and a forecast."""
    for minutes_ago, floor in ((30, 4), (20, 4), (10, 9)):
        await services.policies.record(
            [a_policy(floor=floor, current_replicas=floor, updated_at=NOW - minutes_ago * MINUTE)]
        )
    values = [(NOW - minute * MINUTE, 100.0 + minute) for minute in range(1, 11)]
    await Samples(services.database).record(
        [Sample(at, "checkout", "requests_per_second", series_of({}), value, {}) for at, value in values]
    )
    await services.predictions.record(a_forecast())
    return services


@pytest.mark.usefixtures("recorded")
async def test_a_timeline_has_demand_forecast_floor_and_replicas(client: httpx.AsyncClient) -> None:
    body = await get_json(client, TIMELINE)
    assert (body["policy"], body["min_replicas"], body["max_replicas"]) == ("checkout", 1, 40)
    assert (body["now"], body["step_seconds"]) == ("2026-11-27T08:00:00Z", 60)
    assert [point["value"] for point in body["demand"]] == [float(value) for value in range(110, 100, -1)]
    assert body["demand"][-1]["time"] == "2026-11-27T07:59:00Z"
    assert body["forecast"][0] == {
        "time": "2026-11-27T07:58:00Z",
        "p10": 80.0,
        "p50": 100.0,
        "p80": 115.0,
        "p90": 120.5,
        "p95": 130.0,
    }
    # The second row repeats the numbers of the first: only changes are recorded.
    assert [(point["time"], point["floor"], point["current_replicas"]) for point in body["replicas"]] == [
        ("2026-11-27T07:30:00Z", 4, 4),
        ("2026-11-27T07:50:00Z", 9, 9),
    ]


@pytest.mark.usefixtures("recorded")
async def test_the_change_before_the_span_is_part_of_it(client: httpx.AsyncClient) -> None:
    body = await get_json(client, f"{TIMELINE}?from=2026-11-27T07:45:00Z&to=2026-11-27T07:55:00Z")
    assert [(point["time"], point["floor"]) for point in body["replicas"]] == [
        ("2026-11-27T07:30:00Z", 4),
        ("2026-11-27T07:50:00Z", 9),
    ]
    assert len(body["demand"]) == 5


@pytest.mark.usefixtures("recorded")
async def test_a_long_span_has_longer_steps_with_the_highest_values(client: httpx.AsyncClient) -> None:
    body = await get_json(client, f"{TIMELINE}?from=2026-11-20T12:00:00Z&to=2026-11-27T12:00:00Z")
    assert body["step_seconds"] == 840
    assert max(point["value"] for point in body["demand"]) == 110.0
    assert len(body["demand"]) <= 2


async def test_an_unchanged_policy_without_history_has_its_numbers_over_the_span(
    services: Services, client: httpx.AsyncClient
) -> None:
    await services.policies.record([a_policy(updated_at=NOW - timedelta(days=40))])
    async with services.database.connection() as connection:
        await connection.execute("delete from replica_history")
    body = await get_json(client, TIMELINE)
    assert [(point["time"], point["floor"]) for point in body["replicas"]] == [(body["since"], 9)]


async def test_a_policy_without_a_valid_specification_has_an_empty_timeline(
    services: Services, client: httpx.AsyncClient
) -> None:
    await services.policies.record([a_policy(service_name=None, metric_name=None)])
    body = await get_json(client, TIMELINE)
    assert (body["demand"], body["forecast"]) == ([], [])


@pytest.mark.parametrize("path", [TIMELINE, TIMELINE.removesuffix("/timeline")])
async def test_an_unknown_policy_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert "policy shop/checkout is not known" in (await get_json(client, path, 404))["detail"]


@pytest.mark.parametrize("query", ["from=2026-11-27T08:00:00Z&to=2026-11-27T07:00:00Z", "from=monday", "unknown=1"])
async def test_an_invalid_span_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await get_json(client, f"{TIMELINE}?{query}", 422))["reason"] == "InvalidParameter"


@pytest.mark.usefixtures("recorded")
async def test_a_namespace_that_may_not_read_the_service_sees_no_demand(services: Services) -> None:
    restricted = NamespacePatterns({"shop": ["cart-*"]})
    async with api_client(services, policy_of(InMemoryAuthority(), services=restricted), TENANT) as client:
        body = await get_json(client, TIMELINE)
    assert (body["demand"], body["forecast"], len(body["replicas"])) == ([], [], 2)


@pytest.mark.usefixtures("recorded")
async def test_a_single_policy_equals_its_entry_of_the_list(client: httpx.AsyncClient) -> None:
    listed = (await get_json(client, "/api/v1/policies"))["policies"]
    assert [await get_json(client, "/api/v1/policies/shop/checkout")] == listed


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("mode=Auto", ["checkout", "search"]),
        ("mode=Recommend", ["cart"]),
        ("source=Fallback", ["search"]),
        ("limited=true", ["cart"]),
        ("limited=false&mode=Auto", ["checkout", "search"]),
        ("search=CHECK", ["checkout"]),
        ("search=op/ca", ["cart"]),
        ("search=payment", ["search"]),
        ("search=%25", []),
    ],
)
@pytest.mark.parametrize("path", ["policies", "scaling/status"])
async def test_lists_of_policies_are_filtered(
    services: Services, client: httpx.AsyncClient, path: str, query: str, names: list[str]
) -> None:
    await services.policies.record(
        [
            a_policy("checkout"),
            a_policy("cart", mode="Recommend", limited=True),
            a_policy("search", source="Fallback", service_name="payments"),
        ]
    )
    body = await get_json(client, f"/api/v1/{path}?{query}")
    assert [policy["policy"] for policy in body["policies"]] == names


async def test_decisions_are_filtered_by_policy(services: Services, client: httpx.AsyncClient) -> None:
    for policy in ("checkout", "cart"):
        await ScalingDecisions(services.database).intend(a_decision(policy, policy=policy, service_name="web"))
    body = await get_json(client, "/api/v1/scaling/decisions?policy=cart")
    assert [decision["policy"] for decision in body["decisions"]] == ["cart"]
