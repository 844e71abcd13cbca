"""The responses of the HTTP API by their contract names, over a real PostgreSQL."""

import math
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from predictive_scaling.api.services import (
    Services,
)
from predictive_scaling.storage.business_events import ObservedOccurrence
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.telemetry.checks import Check
from tests.support.api_services import (
    NOW,
    a_decision,
    a_forecast,
    a_performance,
    a_policy,
    an_event,
    api_client,
    api_services,
    get_json,
)

pytestmark = pytest.mark.integration


async def test_decisions_have_the_fields_of_the_contract_newest_first(
    services: Services, client: httpx.AsyncClient
) -> None:
    await ScalingDecisions(services.database).intend(a_decision("older", created_at=NOW - timedelta(hours=1)))
    await ScalingDecisions(services.database).intend(a_decision("newer"))
    body = await get_json(client, "/api/v1/scaling/decisions")
    assert [decision["id"] for decision in body["decisions"]] == ["newer", "older"]
    assert body["next_cursor"] is None
    assert body["decisions"][0] == {
        "id": "newer",
        "created_at": "2026-11-27T07:50:00Z",
        "service_name": "checkout",
        "namespace": "shop",
        "policy": "checkout",
        "target": "HorizontalPodAutoscaler/checkout",
        "decision_type": "scale_up",
        "status": "succeeded",
        "from_replicas": 4,
        "to_replicas": 9,
        "uncapped_replicas": 12,
        "source": "Forecast",
        "reason": "ForecastRose",
        "message": "The forecast for 08:03 needs 9 replicas.",
        "outcome": "9 replicas were ready after 52 s.",
        "cause": None,
        "started_at": "2026-11-27T07:50:00Z",
        "finished_at": "2026-11-27T07:51:00Z",
    }


async def test_pages_contain_each_decision_once_even_with_equal_times(
    services: Services, client: httpx.AsyncClient
) -> None:
    for number in range(7):
        await ScalingDecisions(services.database).intend(a_decision(f"d{number}"))
    ids: list[str] = []
    cursor = ""
    while True:
        body = await get_json(client, f"/api/v1/scaling/decisions?limit=3{cursor}")
        ids += [decision["id"] for decision in body["decisions"]]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={body['next_cursor']}"
    assert sorted(ids) == [f"d{number}" for number in range(7)]
    assert len(ids) == 7


async def test_decisions_are_filtered_by_status_and_service(services: Services, client: httpx.AsyncClient) -> None:
    await ScalingDecisions(services.database).intend(a_decision("a", status="failed"))
    await ScalingDecisions(services.database).intend(a_decision("b", service_name="cart"))
    failed = await get_json(client, "/api/v1/scaling/decisions?status=failed")
    assert [decision["id"] for decision in failed["decisions"]] == ["a"]
    cart = await get_json(client, "/api/v1/scaling/decisions?service=cart")
    assert [decision["id"] for decision in cart["decisions"]] == ["b"]
    injected = await get_json(client, "/api/v1/scaling/decisions?service=%27%3B%20drop%20table%20policies%3B--")
    assert injected["decisions"] == []


async def test_the_status_shows_each_policy_and_a_summary(services: Services, client: httpx.AsyncClient) -> None:
    await services.policies.record([a_policy(), a_policy("cart", mode="Recommend", limited=True, source="Fallback")])
    await ScalingDecisions(services.database).intend(a_decision("done"))
    await ScalingDecisions(services.database).intend(a_decision("bad", status="failed"))
    await ScalingDecisions(services.database).intend(a_decision("stuck", status="verifying", finished_at=None))
    body = await get_json(client, "/api/v1/scaling/status")
    assert body["summary"] == {
        "policies": 2,
        "auto": 1,
        "limited": 1,
        "fallback": 1,
        "stuck_decisions": 1,
        "success_rate_24h": 0.5,
    }
    assert body["policies"][1] == {
        "namespace": "shop",
        "policy": "checkout",
        "service_name": "checkout",
        "mode": "Auto",
        "target": "HorizontalPodAutoscaler/checkout",
        "min_replicas": 1,
        "max_replicas": 40,
        "floor": 9,
        "current_replicas": 9,
        "ready_replicas": 8,
        "source": "Forecast",
        "limited": False,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ticked",
                "message": "All is well.",
                "observed_generation": 3,
                "last_transition_time": "2026-11-27T07:00:00Z",
            }
        ],
        "last_decision_at": "2026-11-27T07:50:00Z",
        "advice": {
            "quantile": 0.8,
            "target_utilization": 0.75,
            "replica_hours_saved": 12.5,
            "message": "Lower it.",
        },
        "learned": None,
        "shadow": None,
    }


async def test_an_empty_installation_returns_empty_lists(client: httpx.AsyncClient) -> None:
    assert await get_json(client, "/api/v1/scaling/decisions") == {"decisions": [], "next_cursor": None}
    assert await get_json(client, "/api/v1/predictions/current") == {"predictions": [], "next_cursor": None}
    assert await get_json(client, "/api/v1/events") == {"events": [], "next_cursor": None}
    assert await get_json(client, "/api/v1/policies") == {"policies": [], "next_cursor": None}
    status = await get_json(client, "/api/v1/scaling/status")
    assert status["policies"] == []
    assert status["summary"]["success_rate_24h"] is None
    accuracy = await get_json(client, "/api/v1/metrics/accuracy")
    assert accuracy["accuracy"]["mape"] is None
    assert accuracy["accuracy"]["coverage"] == {"0.5": None, "0.8": None, "0.9": None, "0.95": None}


async def test_current_predictions_are_the_newest_valid_forecasts_from_the_current_bin_on(
    services: Services, client: httpx.AsyncClient
) -> None:
    await services.predictions.record(
        [
            *a_forecast(created_at=NOW - timedelta(minutes=12)),
            *a_forecast(created_at=NOW - timedelta(minutes=7), model_version="v2"),
            *a_forecast("cart", created_at=NOW - timedelta(minutes=70)),
            *a_forecast("search"),
        ]
    )
    body = await get_json(client, "/api/v1/predictions/current")
    assert [(prediction["policy"], prediction["model_version"]) for prediction in body["predictions"]] == [
        ("checkout", "v2"),
        ("search", "v1"),
    ]
    checkout = body["predictions"][0]
    points = checkout.pop("points")
    assert checkout == {
        "service_name": "checkout",
        "namespace": "shop",
        "policy": "checkout",
        "created_at": "2026-11-27T07:53:00Z",
        "valid_until": "2026-11-27T08:53:00Z",
        "model_name": "LightGBM",
        "model_version": "v2",
        "source": "FreshForecast",
    }
    assert points[0] == {
        "target_time": "2026-11-27T07:56:00Z",
        "p10": 80.0,
        "p50": 101.0,
        "p80": 115.0,
        "p90": 120.5,
        "p95": 130.0,
    }
    assert [point["target_time"][11:16] for point in points] == ["07:56", "08:01", "08:06", "08:11", "08:16"]
    search = await get_json(client, "/api/v1/predictions/current?service=search")
    assert [prediction["policy"] for prediction in search["predictions"]] == ["search"]


async def test_nan_and_infinity_are_null(services: Services, client: httpx.AsyncClient) -> None:
    await services.predictions.record(a_forecast(p90=math.nan, p95=math.inf))
    await services.performances.record([a_performance(mape=None)])
    current = await get_json(client, "/api/v1/predictions/current")
    assert current["predictions"][0]["points"][0]["p90"] is None
    assert current["predictions"][0]["points"][0]["p95"] is None
    predictions = await get_json(client, "/api/v1/predictions?service=checkout")
    assert predictions["predictions"][0]["points"][0]["p90"] is None
    accuracy = await get_json(client, "/api/v1/metrics/accuracy")
    assert accuracy["accuracy"]["services"][0]["mape"] is None
    assert accuracy["accuracy"]["mape"] is None


async def test_predictions_of_a_time_range_are_the_last_for_each_target_time(
    services: Services, client: httpx.AsyncClient
) -> None:
    await services.predictions.record(a_forecast(created_at=NOW - timedelta(minutes=5)))
    await services.predictions.record(a_forecast(model_version="v2"))
    body = await get_json(
        client,
        "/api/v1/predictions?service=checkout&from=2026-11-27T07:53:00Z&to=2026-11-27T09:00:00%2B01:00",
    )
    (prediction,) = body["predictions"]
    assert [(point["target_time"], point["model_version"]) for point in prediction["points"]] == [
        ("2026-11-27T07:53:00Z", "v1"),
        ("2026-11-27T07:58:00Z", "v2"),
    ]
    assert set(prediction) == {"service_name", "namespace", "policy", "points"}


async def test_accuracy_is_reported_as_ratios_by_quantile_and_service(
    services: Services, client: httpx.AsyncClient
) -> None:
    await services.performances.record(
        [
            a_performance(),
            a_performance("cart", mape=0.36, samples=50),
            a_performance(until=NOW - timedelta(hours=23, minutes=50), mape=9.0),
            a_performance(until=NOW - timedelta(days=2), mape=9.0),
        ]
    )
    body = await get_json(client, "/api/v1/metrics/accuracy?window=24h")
    accuracy = body["accuracy"]
    assert accuracy["mape"] == pytest.approx(0.2)
    assert accuracy["window"] == "1d"
    assert accuracy["samples"] == 150
    assert set(accuracy) == {"window", "mape", "wape", "bias", "coverage", "samples", "services"}
    assert accuracy["services"][1] == {
        "service_name": "checkout",
        "model_name": "LightGBM",
        "mape": 0.12,
        "wape": 0.1,
        "coverage": {"0.5": 0.5, "0.8": 0.8, "0.9": 0.91, "0.95": 1.0},
    }
    cart = await get_json(client, "/api/v1/metrics/accuracy?service=cart")
    assert cart["accuracy"]["mape"] == pytest.approx(0.36)


async def test_scores_of_the_last_day_are_exported_as_metrics(services: Services, client: httpx.AsyncClient) -> None:
    old = NOW - timedelta(days=2)
    await services.performances.record(
        [a_performance(mape=0.25), a_performance("cart", mape=0.9, until=old), a_performance("new", mape=None)]
    )
    metrics = (await client.get("/metrics")).text
    assert 'prediction_mape{model_name="LightGBM",service_name="checkout"} 0.25' in metrics
    assert 'predictive_scaling_prediction_coverage_ratio{model_name="LightGBM",service_name="new"} 0.91' in metrics
    assert 'service_name="cart"' not in metrics
    assert 'prediction_mape{model_name="LightGBM",service_name="new"}' not in metrics
    assert 'predictive_scaling_database_connections{purpose="test-api",state="max"} 4.0' in metrics


async def test_the_number_of_stuck_decisions_is_exported_as_a_metric(
    services: Services, client: httpx.AsyncClient
) -> None:
    assert "predictive_scaling_decisions_stuck 0.0" in (await client.get("/metrics")).text
    await ScalingDecisions(services.database).intend(a_decision("left-behind", status="verifying", finished_at=None))
    assert "predictive_scaling_decisions_stuck 1.0" in (await client.get("/metrics")).text


async def test_models_are_listed_with_scores_and_rejected_files(client: httpx.AsyncClient) -> None:
    body = await get_json(client, "/api/v1/models")
    assert body["rejected"] == [{"file": "cart/x", "reason": "size 7, expected 9"}]
    (model,) = body["models"]
    assert model["acting"] == "LightGBM"
    assert model["trained_until"] == "2026-11-27T08:00:00Z"
    scores = {"wape": None, "mape": 0.1, "coverage": 0.9, "cost": 0.05, "short": 0.01, "hours": 1.1}
    assert model["scores"] == [{"model": "LightGBM", **scores}]
    assert model["horizons"][0] == {"minutes": 5.0, "model": "LastValue"}
    assert model["history"] == [
        {
            "at": "2026-11-27T08:00:00Z",
            "outcome": "promoted",
            "version": "v2",
            "previous": None,
            "evidence": "better by half",
        }
    ]


async def test_events_that_overlap_a_time_range_are_listed_by_start(
    services: Services, client: httpx.AsyncClient
) -> None:
    sale = an_event()
    await services.events.record(
        [sale, an_event("later", start_time=NOW + timedelta(days=60), end_time=NOW + timedelta(days=61))]
    )
    await services.events.record_observed(
        ObservedOccurrence("shop", "flash-sale", sale.start_time, 4.2, "MultiplierTooLow")
    )
    await services.events.record([sale])
    body = await get_json(client, "/api/v1/events")
    assert body["events"] == [
        {
            "namespace": "shop",
            "name": "flash-sale",
            "type": "flash-sale",
            "start_time": "2026-11-27T09:00:00Z",
            "end_time": "2026-11-27T13:00:00Z",
            "multiplier": 2.5,
            "min_replicas": None,
            "priority": 0,
            "policies": ["checkout"],
            "observed_multiplier": 4.2,
            "multiplier_verdict": "MultiplierTooLow",
            "learned_multiplier": None,
        }
    ]
    later = await get_json(client, "/api/v1/events?from=2027-01-01T00:00:00Z")
    assert [event["name"] for event in later["events"]] == ["later"]
    assert (await get_json(client, "/api/v1/events?to=2026-11-27T09:00:00Z"))["events"] == []


async def test_policies_include_their_metric_and_forecast(services: Services, client: httpx.AsyncClient) -> None:
    await services.policies.record([a_policy(), a_policy("cart")])
    body = await get_json(client, "/api/v1/policies?service=cart")
    (policy,) = body["policies"]
    assert (policy["policy"], policy["metric_name"]) == ("cart", "requests_per_second")
    assert policy["forecast"] == {"model": "LightGBM", "version": "v1"}
    assert policy["updated_at"] == "2026-11-27T08:00:00Z"


async def test_health_reports_each_check_and_readiness_checks_the_schema(client: httpx.AsyncClient) -> None:
    body = await get_json(client, "/health")
    assert body["status"] == "healthy"
    assert set(body["checks"]["database"]) == {"status", "latency_seconds"}
    assert (await get_json(client, "/health/live"))["status"] == "healthy"
    assert (await get_json(client, "/health/ready"))["status"] == "healthy"


async def test_an_exhausted_pool_is_a_503_within_seconds(migrated_database_url: str) -> None:
    async with (
        api_services(migrated_database_url, connections=1, checkout=timedelta(seconds=1)) as services,
        api_client(services) as client,
        services.database.connection(),
    ):
        response = await client.get("/api/v1/scaling/status")
        assert response.status_code == 503
    async with api_services(migrated_database_url) as services, api_client(services) as client:
        assert (await client.get("/api/v1/scaling/status")).status_code == 200


async def test_a_failed_check_makes_health_503(services: Services) -> None:
    async def failing_check() -> None:
        raise ConnectionError("no")

    async with api_client(replace(services, checks=[Check("database", failing_check)])) as client:
        body = await get_json(client, "/health", 503)
        assert body == {
            "status": "unhealthy",
            "checks": {
                "database": {
                    "status": "unhealthy",
                    "latency_seconds": body["checks"]["database"]["latency_seconds"],
                    "message": "no",
                }
            },
        }
