"""Around all routes: limits on size and time, one shape for what nobody expected, and a count of everything."""

import asyncio
from http import HTTPMethod, HTTPStatus

import structlog
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictive_scaling.api.problems import problem
from predictive_scaling.clock import monotonic

log = structlog.get_logger(__name__)

API_V1 = "/api/v1"
"""Where all but health, metrics and docs is."""

MAX_BODY_BYTES = 1 << 20
# HTTP allows any token as a method: as a label it would make as many series as a client likes.
_METHODS = frozenset(HTTPMethod)


class _TooLargeError(HTTPException):
    """The body passed the limit. An HTTPException, as FastAPI takes any other one for a body that cannot be parsed."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")


class RequestLimits:
    """413 for a body above 1 MiB, 408 for one that does not arrive in time, 503 for an answer that does not."""

    def __init__(self, application: ASGIApp, limit_seconds: float) -> None:
        self._application = application
        self._limit_seconds = limit_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        visit = _Exchange(scope, receive, send)
        refusal = await self._pass(visit)
        if refusal is not None and visit.status is None:
            await self._refuse(visit, *refusal)
        _count(scope, visit)

    async def _pass(self, visit: "_Exchange") -> tuple[HTTPStatus, str] | None:
        try:
            visit.check_announced_size()
            async with asyncio.timeout(self._limit_seconds):
                await self._application(visit.scope, visit.receive, visit.send)
        except _TooLargeError as error:
            return HTTPStatus(error.status_code), error.detail
        except TimeoutError:
            if visit.body_is_open:
                return HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {self._limit_seconds:g} s"
            return HTTPStatus.SERVICE_UNAVAILABLE, f"no answer within {self._limit_seconds:g} s; ask again later"
        except Exception:
            log.exception("request_broke", path=visit.scope["path"])
            return HTTPStatus.INTERNAL_SERVER_ERROR, "an error of ours; the log of this moment has the details"
        return None

    async def _refuse(self, visit: "_Exchange", status: HTTPStatus, detail: str) -> None:
        response = problem(status, detail, instance=visit.scope["path"], headers={"Connection": "close"})
        await response(visit.scope, visit.receive, visit.send)


class _Exchange:
    """One request on its way: how much of its body came, and which status went out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._received = 0
        self.body_is_open = False
        self.status: int | None = None
        self.began = monotonic()

    def check_announced_size(self) -> None:
        length = dict(self.scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise _TooLargeError

    async def receive(self) -> Message:
        self.body_is_open = self.status is None
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self.body_is_open = bool(message.get("more_body"))
        if self._received > MAX_BODY_BYTES:
            raise _TooLargeError
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _route(scope: Scope) -> str:
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return "unknown"
    # FastAPI names a route as its own router does, without the prefix that it was included with.
    return f"{API_V1}{path}" if scope["path"].startswith(f"{API_V1}/") else path


def _count(scope: Scope, visit: _Exchange) -> None:
    # A path that no route has would be a label value of the caller's choice.
    route = _route(scope)
    method = scope["method"] if scope["method"] in _METHODS else "other"
    REQUESTS.labels(method if route != "unknown" else "any", route, str(visit.status)).inc()
    DURATION.labels(route).observe(monotonic() - visit.began)


REQUESTS = Counter(
    "predictive_scaling_api_requests_total",
    "Requests to the HTTP API, by method (other: none of HTTP's), route (unknown: no such path) and status.",
    ["method", "route", "status"],
)
DURATION = Histogram(
    "predictive_scaling_api_request_duration_seconds",
    "How long requests took, from their head to the end of their answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
