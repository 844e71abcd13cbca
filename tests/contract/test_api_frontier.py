"""The frontier of a policy in the HTTP API, over a real PostgreSQL."""

import httpx
import pytest

from predictive_scaling.api.services import (
    Services,
)
from tests.support.api_services import (
    a_tuning,
    get_json,
)

pytestmark = pytest.mark.integration


async def test_a_frontier_marks_the_settings_in_use_and_recommended(
    services: Services, client: httpx.AsyncClient
) -> None:
    await services.tunings.record([a_tuning(), a_tuning("cart", under_provisioned_minute=None, replica_hour=None)])
    body = await get_json(client, "/api/v1/policies/shop/checkout/frontier")
    points = body.pop("points")
    assert body == {
        "namespace": "shop",
        "policy": "checkout",
        "tuned_at": "2026-11-27T08:00:00Z",
        "since": "2026-11-20T08:00:00Z",
        "until": "2026-11-27T08:00:00Z",
        "prices": {"under_provisioned_minute": 1.0, "replica_hour": 0.5},
        "quantile": 0.95,
        "hpa_target": 0.7,
        "advised_hpa_target": 0.75,
        "replica_hours_saved": 96.5,
        "message": "with this policy the HPA's target may go from 70 % to 75 %",
        "recorded_share": 0.25,
        "hpa_only": {
            "under_provisioned_share": 0.01,
            "under_provisioned_minutes": 100.0,
            "lost_demand_share": 0.002,
            "replica_hours": 1500.0,
        },
    }
    assert points[2] == {
        "quantile": 0.95,
        "hpa_target": 0.75,
        "under_provisioned_share": 0.004,
        "under_provisioned_minutes": 40.0,
        "lost_demand_share": 0.001,
        "replica_hours": 1553.5,
        "in_use": False,
        "recommended": True,
        "efficient": True,
    }
    marked = [(point["quantile"], point["hpa_target"], point["in_use"], point["efficient"]) for point in points]
    assert marked == [(0.9, 0.7, False, False), (0.95, 0.7, True, True), (0.95, 0.75, False, True)]
    assert (await get_json(client, "/api/v1/policies/shop/cart/frontier"))["prices"] is None


async def test_a_policy_without_a_tuning_has_no_frontier(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/v1/policies/shop/checkout/frontier")
    assert response.status_code == 404
    assert "policy shop/checkout" in response.json()["detail"]
