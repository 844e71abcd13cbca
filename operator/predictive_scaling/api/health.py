"""Health, liveness, readiness and metrics of the API process."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from predictive_scaling.api.accuracy_metrics import refresh_accuracy
from predictive_scaling.api.decision_metrics import refresh_stuck_decisions
from predictive_scaling.api.fields import ResponseModel
from predictive_scaling.api.quality_metrics import refresh_demand_age
from predictive_scaling.api.services import Use
from predictive_scaling.telemetry.checks import Health, ProcessHealth, examine
from predictive_scaling.telemetry.metrics import exposition

router = APIRouter(tags=["health"])


class ComponentHealth(ResponseModel):
    """The health of a dependency."""

    status: Health
    latency_seconds: float = Field(description="Duration of the check.")
    message: str | None = Field(None, description="Problem; absent when healthy.")


class HealthResponse(ResponseModel):
    """The worst status of the checks; only required dependencies make it unhealthy."""

    status: Health
    checks: dict[str, ComponentHealth] = Field(
        description="Checks by name: database, redis, kafka (if set), models, sources."
    )


_UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": HealthResponse, "description": "Unhealthy"}}


@router.get("/health", response_model=HealthResponse, responses=_UNHEALTHY)
async def show_health(services: Use) -> JSONResponse:
    """Return all checks; 200 when healthy or degraded, otherwise 503."""
    return _health_response(await examine(services.checks))


@router.get("/health/live", response_model=HealthResponse)
async def show_liveness() -> JSONResponse:
    """Return 200 while the process responds. Dependencies do not count, because a restart does not repair them."""
    return _health_response(await examine(()))


@router.get("/health/ready", response_model=HealthResponse, responses=_UNHEALTHY)
async def show_readiness(services: Use) -> JSONResponse:
    """Return 200 while requests can be served: the database is reachable and has this release's schema."""
    return _health_response(await examine(services.ready))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def show_metrics(request: Request, services: Use) -> Response:
    """Return the Prometheus metrics of this process, with the accuracy of forecasts, stuck decisions and demand."""
    await asyncio.gather(refresh_accuracy(services), refresh_stuck_decisions(services), refresh_demand_age(services))
    body, content_type = await asyncio.to_thread(exposition, request.headers.get("accept"))
    return Response(body, media_type=content_type)


def _health_response(report: ProcessHealth) -> JSONResponse:
    return JSONResponse(report.as_json(), report.http_status, headers={"Cache-Control": "no-store"})
