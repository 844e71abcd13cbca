"""Server-sent events that name what changed; the client reads the new values from the other routes."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from predictive_scaling.api.access_control import client_address
from predictive_scaling.api.change_feed import ChangeFeed, Listener
from predictive_scaling.api.fields import NamespaceQuery
from predictive_scaling.api.problems import problem
from predictive_scaling.api.request_limits import EVENT_STREAM
from predictive_scaling.api.request_records import RequestRecord
from predictive_scaling.api.responses import encode
from predictive_scaling.api.visible_namespaces import Visible, VisibleNamespaces
from predictive_scaling.clock import monotonic

router = APIRouter(tags=["changes"])

STREAM_SECONDS = 45.0
"""Duration of a stream. Its token and its rights are checked again when the client connects again."""

KEEP_ALIVE_SECONDS = 15.0
SEND_SECONDS = 10.0
"""Time limit for a client that does not read."""

_RETRY_SECONDS = 1
# Of one event: OpenAPI 3.1 has no schema of a stream.
_EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["ready", "changed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "retry": {"type": "integer", "description": "Milliseconds until the client connects again."},
    },
}
_FULL_RETRY_SECONDS = 30


class EventStream(Response):
    """Sends the notices of a listener until the client leaves, does not read, or the stream has lasted long enough."""

    media_type = EVENT_STREAM

    def __init__(self, feed: ChangeFeed, client: str, visible: Visible) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed, self._client, self._visible = feed, client, visible

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._feed.refusal(self._client)
        if refusal is not None:
            headers = {"Retry-After": str(_FULL_RETRY_SECONDS)}
            status = HTTPStatus.SERVICE_UNAVAILABLE
            refused = problem(status, refusal, instance=scope["path"], reason="TooManyStreams", headers=headers)
            await refused(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with self._feed.listening(self._client, self._visible) as listener:
            disconnect = asyncio.create_task(_wait_for_disconnect(receive, listener))
            try:
                await self._send_notices(listener, send)
            except TimeoutError:
                return  # the client does not read; the server closes the connection of an unfinished response
            finally:
                disconnect.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _send_notices(self, listener: Listener, send: Send) -> None:
        ends_at = monotonic() + STREAM_SECONDS
        await _send(send, f"retry: {_RETRY_SECONDS * 1000}\n\n".encode())
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                await self._feed.ready()
        except TimeoutError:
            return  # the database does not respond; the client connects again
        await _send(send, b"event: ready\ndata: {}\n\n")
        while not listener.is_closed and (left_seconds := ends_at - monotonic()) > 0:
            notice = await listener.next(min(KEEP_ALIVE_SECONDS, left_seconds))
            if notice is not None:
                await _send(send, b"event: changed\ndata: " + encode(notice.as_json()) + b"\n\n")
            elif not listener.is_closed:
                await _send(send, b": keep-alive\n\n")


@router.get(
    "/changes",
    response_class=Response,
    responses={200: {"content": {EVENT_STREAM: {"schema": _EVENT_SCHEMA}}}},
)
async def stream_changes(
    query: Annotated[NamespaceQuery, Query()], request: Request, visible: VisibleNamespaces
) -> Response:
    """Stream an event `changed` within seconds of changes in the database, for 45 s; then connect again.

    The event `ready` comes first: changes after it are reported. The data of `changed` has the lists `policies`,
    `decisions` (the names of their policies) and `events` of `namespace/name`, as far as they changed; null instead of
    more than 100 names.
    """
    client = RequestRecord.of(request.scope).caller or client_address(request.scope)
    return EventStream(request.app.state.changes, client, visible.within(query.namespace))


async def _send(send: Send, chunk: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _wait_for_disconnect(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.close()
