"""The HTTP API as one application; commands/api.py serves it."""

from functools import cache
from types import ModuleType

from fastapi import APIRouter, FastAPI

from predictive_scaling import __version__
from predictive_scaling.api import (
    accuracy,
    backtests,
    changes,
    commands,
    data_quality,
    decisions,
    events,
    frontier,
    health,
    models,
    openapi,
    pages,
    policies,
    predictions,
    shadow,
    status,
    timeline,
    web_page,
)
from predictive_scaling.api.access_control import AccessControl, AccessPolicy
from predictive_scaling.api.change_feed import ChangeFeed
from predictive_scaling.api.problems import responses, show_problems
from predictive_scaling.api.recent_responses import RecentResponses
from predictive_scaling.api.request_limits import API_V1, RequestLimits
from predictive_scaling.api.request_records import RequestRecords
from predictive_scaling.api.request_traces import RequestTraces
from predictive_scaling.api.services import Services
from predictive_scaling.storage.change_markers import ChangeTable

_DESCRIPTION = """\
Forecasts, decisions and status of the operator, read from the database. What the operator executes is a command;
the API waits some seconds for its result. Ratios are fractions (0.12), not percentages; times are RFC 3339 in UTC;
unknown values are null. Errors are RFC 9457 problem details."""

# Those that are called often come first: the routes are tried in order.
_API_V1 = (
    *(decisions, status, predictions, policies, timeline, frontier, shadow, accuracy, data_quality, models, events),
    *(backtests, commands, changes),
)


def create_app(services: Services, access: AccessPolicy | None = None) -> FastAPI:
    """Return the application. access: None for callers without tokens, limited in their rate."""
    application = FastAPI(
        title="Predictive scaling",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    access = access or AccessPolicy()
    application.state.services = services
    application.state.changes = ChangeFeed(ChangeTable(services.database), services.clock)
    generated = application.openapi
    application.openapi = cache(
        lambda: openapi.complete(
            generated(), with_tokens=access.authority is not None, public_telemetry=access.public_telemetry
        )
    )
    show_problems(application)
    application.router.routes.extend(_ROUTES.routes)
    # The middleware that is added last comes first.
    application.add_middleware(RecentResponses, factor=services.recent_factor)
    application.add_middleware(AccessControl, policy=access, namespaces=lambda: services.namespaces.all())
    application.add_middleware(RequestLimits, limit_seconds=services.request_limit_seconds)
    application.add_middleware(RequestRecords)
    application.add_middleware(RequestTraces)
    return application


def _together(*modules: ModuleType) -> APIRouter:
    """Return a router with the routes of all modules: FastAPI matches a path again at each level of routers."""
    router = APIRouter()
    for module in modules:
        router.routes.extend(module.router.routes)
    return router


_ROUTES = APIRouter(generate_unique_id_function=lambda route: route.name)
"""Built once for all applications of a process: FastAPI completes included routes at the first request, in 15 ms."""
_ROUTES.include_router(_together(*_API_V1), prefix=API_V1, responses=responses(401, 403, 422, 429, 503))
_ROUTES.include_router(_together(health, pages, web_page))
