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
Forecasts, decisions and status of the operator, read from the database. What the operator executes is a command;
the API waits some seconds for its result. Ratios are fractions (0.12), not percentages; times are RFC 3339 in UTC;
unknown values are null. Errors are RFC 9457 problem details."""


def create_app(services: Services) -> FastAPI:
    """Return the application. All routes under /api share a router, where access control can be added."""
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
    for module in (decisions, status, predictions, accuracy, models, events, policies, frontier, commands):
        router.include_router(module.router)
    return router
