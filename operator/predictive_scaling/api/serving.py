"""Serves an application over HTTP until a signal asks to stop."""

import asyncio
import signal
from typing import Any

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from predictive_scaling.listener import open_listener

log = structlog.get_logger(__name__)

HEAD_LIMIT_SECONDS = 10.0
"""The head of a request has to arrive within this."""

_GRACE_SECONDS = 20
_MAX_CONNECTIONS = 1000
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n"
    b'{"type":"about:blank","title":"Request Timeout","status":408,"detail":"the request did not arrive in time"}'
)


class ImpatientProtocol(H11Protocol):
    """Gives a connection up whose request trickles in: uvicorn itself waits for a head as long as it takes."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] (uvicorn narrows it likewise)
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_LIMIT_SECONDS, self._give_up)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        # Between two requests the keep-alive limit counts, not this one.
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.write(_TOO_SLOW)
            self.transport.close()


async def serve(application: FastAPI, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is open (20 s at most) and return.

    Raises SettingsError when the port cannot be had.
    """
    configuration = uvicorn.Config(
        application,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with open_listener(host, port, "the HTTP API") as listener:
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises the signal again once it has stopped; without this the process would die of it.
            signal.signal(number, _already_stopped)
        log.info("api_listening", host=host, port=listener.getsockname()[1])
        await uvicorn.Server(configuration).serve(sockets=[listener])
    log.info("api_stopped")


def _already_stopped(_number: int, _frame: Any) -> None:
    """The signal that ended serving, a second time."""
