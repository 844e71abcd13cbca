"""The span of an API request, below that of its client. Probes, scrapes and streams have none."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictive_scaling.api.request_limits import API_V1, method_of, route_of
from predictive_scaling.api.request_records import RequestRecord
from predictive_scaling.telemetry.tracing import is_recording, span

_UNTRACED = ("/health", "/metrics", f"{API_V1}/changes")
_ROUTELESS = "unknown"


class RequestTraces:
    """Records method, route, status and request id of each request; never its query, headers or body."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_recording() or scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._application(scope, receive, send)
            return
        status = 0

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = method_of(scope)
        with span(method, caller=Headers(scope=scope)) as request:
            await self._application(scope, receive, send_noting_status)
            route = route_of(scope)
            if route != _ROUTELESS:
                request.rename(f"{method} {route}")
                request.annotate({"http.route": route})
            request.annotate(
                {
                    "http.request.method": method,
                    "http.response.status_code": status,
                    "predictive_scaling.request_id": RequestRecord.of(scope).request_id,
                }
            )
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                request.fail(str(status))
