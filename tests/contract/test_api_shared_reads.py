"""Reads that requests share and snapshots in memory: the same responses as from the database alone, and never older."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from predictive_scaling.api.services import Services
from predictive_scaling.storage.policies import ANY_POLICY, Policies, PolicySelection
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_services import NOW, a_decision, a_forecast, a_policy, api_client, api_services, get_json

pytestmark = pytest.mark.integration

FILTERS: Sequence[tuple[str, PolicySelection, list[str] | None]] = [
    ("", ANY_POLICY, None),
    ("mode=Auto", PolicySelection(mode="Auto"), None),
    ("source=Fallback&limited=true", PolicySelection(source="Fallback", limited=True), None),
    ("limited=false", PolicySelection(limited=False), None),
    ("search=SHOP%2Fa", PolicySelection(search="SHOP/a"), None),
    ("search=ünï", PolicySelection(search="ünï"), None),
    ("search=absent", PolicySelection(search="absent"), None),
    ("namespace=bank", ANY_POLICY, ["bank"]),
    ("namespace=bank&mode=Recommend&search=a", PolicySelection(mode="Recommend", search="a"), ["bank"]),
]


@pytest.fixture
async def populated(services: Services) -> Services:
    """Policies in an order in which a collation and the code points of the names disagree."""
    names = ("a-b", "ab", "a-c", "aB", "z", "a.b")
    await services.policies.record(
        [
            a_policy(
                name,
                namespace=namespace,
                service_name=("ünïcode" if name == "z" else None if name == "ab" else f"web-{name}"),
                mode="Recommend" if name.startswith("a-") else "Auto",
                source="Fallback" if name == "ab" else "Forecast",
                limited=name in ("ab", "z"),
            )
            for namespace in ("shop", "bank", "shop-2")
            for name in names
        ]
    )
    return services


async def listed(client: httpx.AsyncClient, query: str, limit: int) -> list[tuple[str, str]]:
    """Return the policies of all pages of the status."""
    names: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        following = "" if cursor is None else f"&cursor={cursor}"
        body = await get_json(client, f"/api/v1/scaling/status?limit={limit}&{query}{following}")
        names += [(policy["namespace"], policy["policy"]) for policy in body["policies"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return names


@pytest.mark.parametrize(("query", "selection", "namespaces"), FILTERS, ids=[query or "all" for query, _, _ in FILTERS])
async def test_a_filtered_status_has_the_policies_of_the_database_in_its_order(
    populated: Services,
    client: httpx.AsyncClient,
    query: str,
    selection: PolicySelection,
    namespaces: list[str] | None,
) -> None:
    rows = (await populated.policies.page(100, selection=selection, namespaces=namespaces)).policies
    for limit in (1, 2, 100):
        assert await listed(client, query, limit) == [(row.namespace, row.policy) for row in rows]


async def test_a_page_after_a_deleted_policy_goes_on_where_it_was(
    populated: Services, client: httpx.AsyncClient
) -> None:
    everything = await listed(client, "", 100)
    first = await get_json(client, "/api/v1/scaling/status?limit=4")
    await populated.policies.forget_others([key for key in everything if key != everything[3]])
    rest = await get_json(client, f"/api/v1/scaling/status?cursor={first['next_cursor']}")
    assert [(policy["namespace"], policy["policy"]) for policy in rest["policies"]] == everything[4:]


async def test_all_processes_respond_alike_after_each_change(migrated_database_url: str) -> None:
    async with (
        api_services(migrated_database_url) as one,
        api_services(migrated_database_url) as other,
        api_client(one) as first,
        api_client(other) as second,
    ):
        for floor in range(3):
            changed = a_policy("checkout", floor=floor, updated_at=NOW)
            await Policies(one.database).record([changed, a_policy(f"new-{floor}")])
            await ScalingDecisions(one.database).intend(
                a_decision(f"d{floor}", created_at=NOW + timedelta(seconds=floor))
            )
            await one.predictions.record(
                a_forecast(created_at=NOW + timedelta(seconds=floor), model_version=f"v{floor}")
            )
            status, decisions, forecasts = [
                [await get_json(client, f"/api/v1/{path}") for client in (first, second)]
                for path in (
                    "scaling/status?search=checkout",
                    "scaling/decisions?service=checkout",
                    "predictions/current?service=checkout",
                )
            ]
            assert [body["policies"][0]["floor"] for body in status] == [floor, floor]
            assert [body["decisions"][0]["id"] for body in decisions] == [f"d{floor}"] * 2
            assert [body["predictions"][0]["model_version"] for body in forecasts] == [f"v{floor}"] * 2
            assert status[0] == status[1]


async def test_requests_for_different_services_at_once_get_their_own(
    services: Services, client: httpx.AsyncClient
) -> None:
    names = [f"service-{number}" for number in range(60)]
    for name in names[:50]:
        await ScalingDecisions(services.database).intend(a_decision(f"d-{name}", service_name=name))
        await services.predictions.record(a_forecast(name))
    decisions, forecasts = [
        await asyncio.gather(*(get_json(client, f"/api/v1/{path}?service={name}") for name in names))
        for path in ("scaling/decisions", "predictions/current")
    ]
    expected = [[f"d-{name}"] for name in names[:50]] + [list[str]()] * 10
    assert [[decision["id"] for decision in body["decisions"]] for body in decisions] == expected
    shown = [[forecast["service_name"] for forecast in body["predictions"]] for body in forecasts]
    assert shown == [[name] for name in names[:50]] + [list[str]()] * 10


@pytest.mark.parametrize(("path", "key"), [("scaling/decisions", "decisions"), ("predictions/current", "predictions")])
async def test_a_shared_read_and_one_of_its_own_return_the_same(
    services: Services, client: httpx.AsyncClient, path: str, key: str
) -> None:
    for number in range(5):
        await ScalingDecisions(services.database).intend(a_decision(f"d{number}"))
        await services.predictions.record(a_forecast(f"policy-{number}", service_name="checkout"))
    shared = await get_json(client, f"/api/v1/{path}?service=checkout&limit=3")
    own = await get_json(client, f"/api/v1/{path}?service=checkout&limit=3&namespace=shop")
    assert shared == own
    rest: dict[str, Any] = await get_json(client, f"/api/v1/{path}?service=checkout&cursor={shared['next_cursor']}")
    assert (len(shared[key]), len(rest[key]), rest["next_cursor"]) == (3, 2, None)
