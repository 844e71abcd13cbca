"""The HTTP API over a given database, and builders of the rows that it reads."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from predictive_scaling.api.access_control import AccessPolicy
from predictive_scaling.api.application import create_app
from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.api.services import Services
from predictive_scaling.api.stored_models import Models
from predictive_scaling.clock import Clock, ManualClock
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.model_performance import ErrorSums, ModelPerformance
from predictive_scaling.storage.policies import PolicyRow
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from predictive_scaling.storage.shadow_hours import ShadowHour
from predictive_scaling.storage.tunings import TuningRow
from predictive_scaling.telemetry.checks import Check

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
UNREACHABLE_DATABASE = "postgresql://app:hunter2@127.0.0.1:1/nothing"


@asynccontextmanager
async def api_services(
    url: str,
    *,
    clock: Clock | None = None,
    checks: Sequence[Check] = (),
    ready: Sequence[Check] = (),
    cache: ResponseCache | None = None,
    stored_models: Models | None = None,
    command_limit_seconds: float = 0.3,
    request_limit_seconds: float = 240.0,
    connections: int = 4,
    checkout: timedelta | None = None,
) -> AsyncGenerator[Services]:
    """Return services over this database; connections are opened on first use.

    checkout: how long a request waits for a connection, by default as long as on a starved machine; a database that
    does not exist is waited for in vain, so briefly.
    """
    if checkout is None:
        checkout = timedelta(milliseconds=300) if url == UNREACHABLE_DATABASE else timedelta(seconds=120)
    models = stored_models or Models(models=[], rejected=[])
    # Pools open on first use, so that a request that is rejected earlier costs no connection.
    database = Database(url, purpose="test-api", max_size=connections, checkout_timeout=checkout)
    command_database = Database(url, purpose="test-commands", checkout_timeout=checkout)
    try:
        yield Services(
            clock=clock or ManualClock(NOW),
            database=database,
            commands=Commands(command_database),
            stored_models=lambda: models,
            cache=cache or ResponseCache(),
            checks=checks,
            ready=ready,
            command_limit_seconds=command_limit_seconds,
            request_limit_seconds=request_limit_seconds,
        )
    finally:
        await database.close()
        await command_database.close()


def api_client(services: Services, access: AccessPolicy | None = None, token: str | None = None) -> httpx.AsyncClient:
    """Return a client of the application that uses no socket. token: sent with each request."""
    transport = httpx.ASGITransport(app=create_app(services, access))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)


def a_decision(id: str = "a1", **changes: Any) -> ScalingDecisionRow:  # noqa: A002 (the column's name)
    """Return a raise that succeeded. changes: fields by name."""
    fields: dict[str, Any] = {
        "id": id,
        "created_at": NOW - timedelta(minutes=10),
        "service_name": "checkout",
        "namespace": "shop",
        "policy": "checkout",
        "policy_uid": "u-1",
        "generation": 1,
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
        "mode": "Auto",
        "attempts": 1,
        "started_at": NOW - timedelta(minutes=10),
        "finished_at": NOW - timedelta(minutes=9),
        "deadline_at": NOW - timedelta(minutes=5),
        "forecast": {"quantile": "0.9"},
        "limits": ["StepUp"],
        "event": None,
    }
    return ScalingDecisionRow(**(fields | changes))


def a_policy(policy: str = "checkout", **changes: Any) -> PolicyRow:
    """Return a policy in Auto that acts on its forecast. changes: fields by name."""
    fields: dict[str, Any] = {
        "namespace": "shop",
        "policy": policy,
        "service_name": policy,
        "metric_name": "requests_per_second",
        "aggregation": "Sum",
        "mode": "Auto",
        "target": f"HorizontalPodAutoscaler/{policy}",
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
                "observedGeneration": 3,
                "lastTransitionTime": "2026-11-27T07:00:00Z",
            }
        ],
        "last_decision_at": NOW - timedelta(minutes=10),
        "advice": {"quantile": "0.8", "targetUtilization": 75, "replicaHoursSaved": "12.5", "message": "Lower it."},
        "forecast": {"model": "LightGBM", "version": "v1"},
        "updated_at": NOW,
    }
    return PolicyRow(**(fields | changes))


def a_tuning(policy: str = "checkout", **changes: Any) -> TuningRow:
    """Return a tuning with p95 in use at 70 %, and 75 % advised. changes: fields by name."""
    fields: dict[str, Any] = {
        "namespace": "shop",
        "policy": policy,
        "tuned_at": NOW,
        "since": NOW - timedelta(days=7),
        "until": NOW,
        "under_provisioned_minute": 1.0,
        "replica_hour": 0.5,
        "quantile": 0.95,
        "moved_at": NOW,
        "rising": None,
        "turns": 0,
        "hpa_target": 0.7,
        "advised_target": 0.75,
        "saved": 0.06,
        "hours_saved": 96.5,
        "message": "with this policy the HPA's target may go from 70 % to 75 %",
        "recorded_share": 0.25,
        "alone": [0.0, 0.7, 0.01, 0.002, 100.0, 1500.0],
        "points": [
            [0.95, 0.75, 0.004, 0.001, 40.0, 1553.5],
            [0.9, 0.7, 0.005, 0.001, 50.0, 1600.0],
            [0.95, 0.7, 0.002, 0.0005, 20.0, 1650.0],
        ],
    }
    return TuningRow(**(fields | changes))


def a_shadow_hour(policy: str = "checkout", *, hours_ago: int = 1, **changes: Any) -> ShadowHour:
    """Return an hour with a ramp from 200 to 790 at 100 per replica, which Auto serves two minutes earlier.

    The last ten minutes were not observed. changes: fields by name.
    """
    since = NOW.replace(minute=0) - timedelta(hours=hours_ago)
    demand: list[float | None] = [200.0 + 10 * minute for minute in range(60)]
    ready: list[int | None] = [
        (200 + 10 * max(0, minute - 2)) // 100 + 1 if minute < 50 else None for minute in range(60)
    ]
    auto: list[int | None] = [(200 + 10 * minute) // 100 + 1 if minute < 50 else None for minute in range(60)]
    fields: dict[str, Any] = {
        "namespace": "shop",
        "policy": policy,
        "policy_uid": "u-1",
        "target": f"hpa/{policy}",
        "since": since,
        "until": since + timedelta(minutes=50),
        "per_replica": 100.0,
        "lead_time_seconds": 120.0,
        "observed_minutes": 50,
        "covered_minutes": 50,
        "minutes_short": 4.0,
        "auto_minutes_short": 0.0,
        "replica_hours": 4.0,
        "auto_replica_hours": 4.5,
        "demand": demand,
        "replicas": ready,
        "ready": ready,
        "auto_replicas": auto,
        "auto_ready": auto,
    }
    return ShadowHour(**(fields | changes))


def a_forecast(
    policy: str = "checkout", *, created_at: datetime = NOW, valid_for: timedelta = timedelta(hours=1), **changes: Any
) -> list[Prediction]:
    """Return six bins of 5 minutes, the first of which contains `created_at`. changes: fields by name."""
    first = created_at - timedelta(minutes=2)
    fields: dict[str, Any] = {
        "created_at": created_at,
        "service_name": policy,
        "p10": 80.0,
        "p80": 115.0,
        "p90": 120.5,
        "p95": 130.0,
        "model_name": "LightGBM",
        "model_version": "v1",
        "namespace": "shop",
        "policy": policy,
        "source": "FreshForecast",
        "valid_until": created_at + valid_for,
    }
    bins: list[dict[str, Any]] = [
        {"target_time": first + index * timedelta(minutes=5), "p50": 100.0 + index} for index in range(6)
    ]
    return [Prediction(**(fields | bin_ | changes)) for bin_ in bins]


def a_performance(
    policy: str = "checkout",
    *,
    mape: float | None = 0.12,
    wape: float = 0.10,
    coverage: float = 0.91,
    samples: int = 100,
    until: datetime = NOW - timedelta(hours=1),
    **changes: Any,
) -> ModelPerformance:
    """Return the scores of an interval at a demand of 10 in each sample. mape None: no demand was above zero.

    changes: fields by name.
    """
    demand = 10.0 * samples
    covered = round(coverage * samples)
    fields: dict[str, Any] = {
        "created_at": until,
        "model_name": "LightGBM",
        "model_version": "v1",
        "service_name": policy,
        "namespace": "shop",
        "policy": policy,
        "since": until - timedelta(minutes=15),
        "until": until,
        "quantile": 0.95,
        "sums": ErrorSums(
            samples=samples,
            absolute_error=wape * demand,
            error=-0.02 * demand,
            demand=demand,
            relative_error=(mape or 0.0) * samples,
            relative_samples=samples if mape is not None else 0,
            covered_p50=samples // 2,
            covered_p80=samples * 4 // 5,
            covered_p90=covered,
            covered_p95=samples,
            covered=samples,
        ),
    }
    return ModelPerformance(**(fields | changes))


def an_event(name: str = "flash-sale", **changes: Any) -> BusinessEventRow:
    """Return a sale that begins in an hour. changes: fields by name."""
    fields: dict[str, Any] = {
        "namespace": "shop",
        "name": name,
        "type": "flash-sale",
        "start_time": NOW + timedelta(hours=1),
        "end_time": NOW + timedelta(hours=5),
        "multiplier": 2.5,
        "min_replicas": None,
        "priority": 0,
        "policies": ["checkout"],
        "updated_at": NOW,
    }
    return BusinessEventRow(**(fields | changes))


async def get_json(client: httpx.AsyncClient, path: str, status: int = 200) -> dict[str, Any]:
    """Return the JSON document at a path; fail on NaN and Infinity."""
    response = await client.get(path)
    assert response.status_code == status, response.text
    return json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} in {path}"))
