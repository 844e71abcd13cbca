"""Is it well, is it alive, may it be asked; and its metrics."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from predictive_scaling.api.accuracy_metrics import refresh_accuracy
from predictive_scaling.api.fields import ResponseModel
from predictive_scaling.api.services import Use
from predictive_scaling.telemetry.checks import Health, HealthReport, examine
from predictive_scaling.telemetry.metrics import exposition

router = APIRouter(tags=["health"])


class PartHealth(ResponseModel):
    """What one part answered."""

    status: Health
    latency_seconds: float = Field(description="How long the answer took.")
    message: str | None = Field(None, description="What is wrong; left out when nothing is.")


class WholeHealth(ResponseModel):
    """The worst of the parts; only parts that are required make the whole unhealthy."""

    status: Health
    checks: dict[str, PartHealth] = Field(description="By name: database, redis, kafka, models.")


_UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": WholeHealth, "description": "Unhealthy"}}


@router.get("/health", response_model=WholeHealth, responses=_UNHEALTHY)
async def show_health(services: Use) -> JSONResponse:
    """All parts. 200 while it can serve (degraded too), else 503."""
    return _shown(await examine(services.checks))


@router.get("/health/live", response_model=WholeHealth)
async def show_liveness() -> JSONResponse:
    """200 while the process answers at all: no dependency counts, as a restart would not mend one."""
    return _shown(await examine(()))


@router.get("/health/ready", response_model=WholeHealth, responses=_UNHEALTHY)
async def show_readiness(services: Use) -> JSONResponse:
    """200 while requests can be answered: the database is there, in this release's schema."""
    return _shown(await examine(services.ready))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def show_metrics(request: Request, services: Use) -> Response:
    """Prometheus metrics of this process, and the accuracy of forecasts."""
    await refresh_accuracy(services)
    body, content_type = await asyncio.to_thread(exposition, request.headers.get("accept"))
    return Response(body, media_type=content_type)


def _shown(report: HealthReport) -> JSONResponse:
    return JSONResponse(report.as_json(), report.http_status, headers={"Cache-Control": "no-store"})
