"""The HTTP API as one application; commands/api.py serves it."""

from functools import cache

from fastapi import APIRouter, FastAPI

from predictive_scaling import __version__
from predictive_scaling.api import (
    accuracy,
    commands,
    decisions,
    events,
    frontier,
    health,
    models,
    pages,
    policies,
    predictions,
    status,
)
from predictive_scaling.api.problems import describe_problems, responses, show_problems
from predictive_scaling.api.request_limits import API_V1, RequestLimits
from predictive_scaling.api.services import Services

_DESCRIPTION = """\
What the operator forecast, decided and did. It reads the database; what the operator has to do goes through a command
and is awaited for some seconds. Ratios are ratios (0.12), never percents; times are RFC 3339 in UTC; what is not known
is null. Errors are RFC 9457 problem details."""


def create_app(services: Services) -> FastAPI:
    """All routes over these services. Everything under /api goes through one router: the place to decide on access."""
    application = FastAPI(
        title="Predictive scaling",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    application.state.services = services
    generated = application.openapi
    application.openapi = cache(lambda: describe_problems(generated()))
    show_problems(application)
    for public in (health.router, pages.router):
        application.include_router(public)
    application.include_router(_api_v1())
    application.add_middleware(RequestLimits, limit_seconds=services.request_limit_seconds)
    return application


def _api_v1() -> APIRouter:
    router = APIRouter(prefix=API_V1, responses=responses(422, 503))
    for part in (decisions, status, predictions, accuracy, models, events, policies, frontier, commands):
        router.include_router(part.router)
    return router
