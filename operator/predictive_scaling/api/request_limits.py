"""Middleware of all routes: limits on size and time, problem details for unexpected errors, request metrics."""

import asyncio
from functools import lru_cache
from http import HTTPMethod, HTTPStatus

import structlog
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictive_scaling.api.problems import problem
from predictive_scaling.clock import monotonic

log = structlog.get_logger(__name__)

API_V1 = "/api/v1"
"""Path prefix of all routes except health, metrics and docs."""

EVENT_STREAM = "text/event-stream"
"""Media type of responses that last: they limit their time themselves."""

MAX_BODY_BYTES = 1 << 20
# HTTP allows any token as a method; as a label value it would let clients create any number of series.
_METHODS = frozenset(HTTPMethod)


class _TooLargeError(HTTPException):
    """The body exceeds the limit. An HTTPException, because FastAPI treats any other error as an invalid body."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")


class RequestLimits:
    """Returns 413 for a body above 1 MiB, 408 for a body that arrives too late, 503 for a response that is too slow."""

    def __init__(self, application: ASGIApp, limit_seconds: float) -> None:
        self._application = application
        self._limit_seconds = limit_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        rejection = await self._run(exchange)
        if rejection is not None and exchange.status is None:
            await self._reject(exchange, *rejection)
        _count(scope, exchange)

    async def _run(self, exchange: "_Exchange") -> tuple[HTTPStatus, str] | None:
        try:
            exchange.check_content_length()
            async with asyncio.timeout(self._limit_seconds) as exchange.limit:
                await self._application(exchange.scope, exchange.receive, exchange.send)
        except _TooLargeError as error:
            return HTTPStatus(error.status_code), error.detail
        except TimeoutError:
            if exchange.body_is_open:
                return HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {self._limit_seconds:g} s"
            return HTTPStatus.SERVICE_UNAVAILABLE, f"no response within {self._limit_seconds:g} s; retry later"
        except Exception:  # the client gets a response, and other requests go on
            log.exception("request_crashed", path=exchange.scope["path"])
            return HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log of the API has the details"
        return None

    async def _reject(self, exchange: "_Exchange", status: HTTPStatus, detail: str) -> None:
        response = problem(status, detail, instance=exchange.scope["path"], headers={"Connection": "close"})
        await response(exchange.scope, exchange.receive, exchange.send)


class _Exchange:
    """A request in progress: the size of the received body and the status of the response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._received = 0
        self.body_is_open = False
        self.status: int | None = None
        self.limit: asyncio.Timeout | None = None
        self.is_stream = False
        self.began = monotonic()

    def check_content_length(self) -> None:
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
            self.is_stream = any(
                name == b"content-type" and value.startswith(EVENT_STREAM.encode())
                for name, value in message["headers"]
            )
            if self.is_stream and self.limit is not None:
                self.limit.reschedule(None)
        await self._send(message)


def route_of(scope: Scope) -> str:
    """Return the template of the route, `unknown` without one: clients choose the path."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return "unknown"
    # FastAPI returns the path of the route without the prefix of the enclosing router.
    return f"{API_V1}{path}" if scope["path"].startswith(f"{API_V1}/") else path


def method_of(scope: Scope) -> str:
    """Return the method, `other` for one that is not standard."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _count(scope: Scope, exchange: _Exchange) -> None:
    # An unknown path must not become a label value, because clients choose it.
    route = route_of(scope)
    _requests(method_of(scope) if route != "unknown" else "any", route, exchange.status).inc()
    if not exchange.is_stream:
        _duration(route).observe(monotonic() - exchange.began)


@lru_cache(maxsize=1024)
def _requests(method: str, route: str, status: int | None) -> Counter:
    return REQUESTS.labels(method, route, str(status))


@lru_cache(maxsize=128)
def _duration(route: str) -> Histogram:
    return DURATION.labels(route)


REQUESTS = Counter(
    "predictive_scaling_api_requests_total",
    "Requests to the HTTP API, by method (other: not standard), route (unknown: not found) and status.",
    ["method", "route", "status"],
)
DURATION = Histogram(
    "predictive_scaling_api_request_duration_seconds",
    "Duration of requests, from the request head to the end of the response.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
