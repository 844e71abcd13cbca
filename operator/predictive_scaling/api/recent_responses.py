"""Responses of lists, kept in memory for a moment: dashboards, scripts and web pages ask for the same ones."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictive_scaling.api.access_rules import RuleKind, match_rule
from predictive_scaling.api.request_limits import API_V1, EVENT_STREAM
from predictive_scaling.api.responses import accepts_gzip, matches
from predictive_scaling.api.visible_namespaces import SCOPE_KEY, Visible
from predictive_scaling.clock import monotonic

LIST_SECONDS, FORECAST_SECONDS = 0.25, 1.0
"""Real time for which a response is kept. Forecasts change every minute."""

MAX_RESPONSES, MAX_BYTES, MAX_QUERY_LENGTH = 4096, 32 << 20, 2048

_FORECASTS = f"{API_V1}/predictions/current"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

Key = tuple[str, bytes, str, bool]
"""Path, query, what the caller may see, and whether the response may be compressed."""


@dataclass(slots=True)
class _Kept:
    expires_at: float
    route: Any
    """Of the router, for the metrics of the request."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    tag: str = ""
    body: bytearray = field(default_factory=bytearray)
    is_complete: bool = False


class RecentResponses:
    """Answers a list that was answered within the last moment, and what matches the client's ETag with 304.

    Callers that see different namespaces share nothing. Any write through this process forgets all responses.
    factor: on the time for which they are kept; 0 keeps nothing.
    """

    def __init__(self, application: ASGIApp, factor: float) -> None:
        self._application, self._factor = application, factor
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._writes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self._key(scope)
        if key is None:
            try:
                await self._application(scope, receive, send)
            finally:
                if scope["type"] == "http" and scope["method"] not in _READS:
                    self._forget()
            return
        kept = self._kept.get(key)
        if kept is not None and monotonic() < kept.expires_at:
            RECENT.labels("kept").inc()
            scope["route"] = kept.route
            await _send(kept, _header(scope, b"if-none-match"), send)
            return
        RECENT.labels("computed").inc()
        await self._compute(key, scope, receive, send)

    def _key(self, scope: Scope) -> Key | None:
        """Return the key of a list; None for other requests."""
        if not self._factor or scope["type"] != "http" or scope["method"] != "GET":
            return None
        match = match_rule("GET", scope["path"])
        visible: Visible | None = scope.get(SCOPE_KEY)
        if match is None or match.rule.kind is not RuleKind.LIST or visible is None:
            return None
        query: bytes = scope["query_string"]
        if len(query) > MAX_QUERY_LENGTH:
            return None
        return scope["path"], query, visible.key, accepts_gzip(_header(scope, b"accept-encoding"))

    async def _compute(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        asked, writes = _header(scope, b"if-none-match"), self._writes
        response = _Kept(0.0, None)
        keeps = True

        async def collect(message: Message) -> None:
            nonlocal keeps
            if message["type"] == "http.response.start":
                response.headers = tuple(message["headers"])
                keeps = message["status"] == 200 and not _is_stream(response.headers)
            if not keeps:
                await send(message)
            elif message["type"] == "http.response.body":
                response.body += message.get("body", b"")
                response.is_complete = not message.get("more_body", False)

        # The tag is compared here, so that the response of a conditional request can be kept as well.
        headers = [header for header in scope["headers"] if header[0] != b"if-none-match"]
        inner = {**scope, "headers": headers}
        await self._application(inner, receive, collect)
        scope["route"] = inner.get("route")
        if keeps and response.is_complete:
            response.route = inner.get("route")
            response.tag = next((value.decode() for name, value in response.headers if name == b"etag"), "")
            if writes == self._writes:
                self._keep(key, response)
            await _send(response, asked, send)

    def _keep(self, key: Key, response: _Kept) -> None:
        seconds = FORECAST_SECONDS if key[0] == _FORECASTS else LIST_SECONDS
        response.expires_at = monotonic() + seconds * self._factor
        previous = self._kept.pop(key, None)
        self._bytes += len(response.body) - (0 if previous is None else len(previous.body))
        self._kept[key] = response
        while self._kept and (len(self._kept) > MAX_RESPONSES or self._bytes > MAX_BYTES):
            self._bytes -= len(self._kept.popitem(last=False)[1].body)

    def _forget(self) -> None:
        """Drop all responses; those that are being computed may be from before the write, and are not kept."""
        self._writes += 1
        self._kept.clear()
        self._bytes = 0


async def _send(response: _Kept, asked: str, send: Send) -> None:
    headers = list(response.headers)
    if asked and response.tag and matches(asked, response.tag):
        headers = [header for header in headers if header[0] in (b"etag", b"cache-control", b"vary")]
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(response.body)})


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for header, value in scope["headers"] if header == name), "")


def _is_stream(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    return any(name == b"content-type" and value.startswith(EVENT_STREAM.encode()) for name, value in headers)


RECENT = Counter(
    "predictive_scaling_api_list_responses_total",
    "Responses to lists: kept (of the same request a moment before) or computed.",
    ["result"],
)
for _result in ("kept", "computed"):
    RECENT.labels(_result)
