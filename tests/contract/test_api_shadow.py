"""What mode Auto would have done, in the HTTP API, over a real PostgreSQL."""

import re
from datetime import timedelta
from xml.etree import ElementTree

import httpx
import pytest

from predictive_scaling.api.services import Services
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_services import NOW, a_decision, a_policy, a_shadow_hour, get_json

pytestmark = pytest.mark.integration

SHADOW = {
    "since": "2026-11-20T09:00:00Z",
    "until": "2026-11-27T07:50:00Z",
    "coveredHours": "161.5",
    "decisions": 84,
    "minutesShort": "45",
    "minutesShortAvoided": "38",
    "replicaHours": "812.5",
    "replicaHoursAdded": "-0.5",
    "largest": [{"time": "2026-11-27T07:00:00Z", "minutesShortAvoided": "12", "replicaHoursAdded": "5.2"}],
}


async def test_the_status_of_a_policy_has_its_account(services: Services, client: httpx.AsyncClient) -> None:
    await services.policies.record([a_policy(mode="Recommend", shadow=SHADOW), a_policy("cart", shadow={"since": 1})])
    for path in ("scaling/status", "policies"):
        cart, checkout = (await get_json(client, f"/api/v1/{path}"))["policies"]
        assert cart["shadow"] is None
        assert checkout["shadow"] == {
            "since": "2026-11-20T09:00:00Z",
            "until": "2026-11-27T07:50:00Z",
            "covered_hours": 161.5,
            "decisions": 84,
            "minutes_short": 45.0,
            "minutes_short_avoided": 38.0,
            "replica_hours": 812.5,
            "replica_hours_added": -0.5,
            "largest": [{"time": "2026-11-27T07:00:00Z", "minutes_short_avoided": 12.0, "replica_hours_added": 5.2}],
        }


async def test_the_account_has_its_sums_and_every_minute(services: Services, client: httpx.AsyncClient) -> None:
    hours = [a_shadow_hour(hours_ago=3, auto_minutes_short=1.0), a_shadow_hour(hours_ago=1)]
    await services.shadow_hours.record([*hours, a_shadow_hour("cart", minutes_short=9.0)])
    await ScalingDecisions(services.database).intend(
        a_decision("d", status="recommended", created_at=NOW - timedelta(hours=2))
    )
    body = await get_json(client, "/api/v1/policies/shop/checkout/shadow")
    rows = body.pop("hours")
    assert body == {
        "namespace": "shop",
        "policy": "checkout",
        "target": "hpa/checkout",
        "since": "2026-11-27T05:00:00Z",
        "until": "2026-11-27T07:50:00Z",
        "covered_hours": pytest.approx(100 / 60),
        "decisions": 1,
        "minutes_short": 8.0,
        "minutes_short_avoided": 7.0,
        "replica_hours": 8.0,
        "replica_hours_added": 1.0,
        "largest": [
            {"time": "2026-11-27T07:00:00Z", "minutes_short_avoided": 4.0, "replica_hours_added": 0.5},
            {"time": "2026-11-27T05:00:00Z", "minutes_short_avoided": 3.0, "replica_hours_added": 0.5},
        ],
    }
    assert [row["time"] for row in rows] == ["2026-11-27T05:00:00Z", "2026-11-27T07:00:00Z"]
    for name in ("demand", "replicas", "ready", "auto_replicas", "auto_ready"):
        assert rows[1][name] == getattr(hours[1], name)
    assert (rows[1]["per_replica"], rows[1]["lead_time_seconds"], rows[1]["covered_minutes"]) == (100.0, 120.0, 50)


async def test_the_report_shows_the_verdict_and_the_same_numbers_as_a_picture(
    services: Services, client: httpx.AsyncClient
) -> None:
    ready = [3 if minute < 50 else None for minute in range(60)]
    rows = [a_shadow_hour(hours_ago=3, ready=ready, minutes_short=37.0), a_shadow_hour(hours_ago=1)]
    await services.shadow_hours.record(rows)
    response = await client.get("/api/v1/policies/shop/checkout/shadow/report")
    assert response.headers["content-type"].startswith("text/html")
    page = response.text
    assert "Auto would have avoided 41 of 41 minutes short, with 1.0 replica-hours more (+12.5 %)" in page
    texts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    figures = [ElementTree.fromstring(text) for text in texts]  # noqa: S314 (our own page)
    assert [figure.get("aria-label", "").partition(":")[0] for figure in figures] == [
        "What happened",
        "In mode Auto",
        "The largest difference",
    ]
    drawn = [{path.get("class") for path in figure.iter() if path.tag.endswith("path")} for figure in figures]
    assert "short" in drawn[0]
    assert "short" not in drawn[1]
    assert {"short-minutes", "demand", "capacity-alone", "capacity-ahead", "pods pods-ahead"} <= drawn[2]
    uncovered = [rect for rect in figures[0].iter() if rect.get("class") == "uncovered"]
    assert len(uncovered) == 1


async def test_an_account_without_demand_and_replicas_has_a_report(
    services: Services, client: httpx.AsyncClient
) -> None:
    zeros = [0] * 60
    hour = a_shadow_hour(
        demand=[0.0] * 60,
        **dict.fromkeys(("replicas", "ready", "auto_replicas", "auto_ready"), zeros),
        **dict.fromkeys(("minutes_short", "auto_minutes_short", "replica_hours", "auto_replica_hours"), 0.0),
    )
    await services.shadow_hours.record([hour])
    page = (await client.get("/api/v1/policies/shop/checkout/shadow/report")).text
    assert "The replicas were never too few" in page
    assert "Auto would have made no difference." in page


@pytest.mark.parametrize("path", ["shadow", "shadow/report"])
async def test_a_policy_without_an_account_is_not_found(
    services: Services, client: httpx.AsyncClient, path: str
) -> None:
    await services.shadow_hours.record([a_shadow_hour(hours_ago=24 * 8)])
    response = await client.get(f"/api/v1/policies/shop/checkout/{path}")
    assert response.status_code == 404
    assert "policy shop/checkout has no account of the last seven days" in response.json()["detail"]
