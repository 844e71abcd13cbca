"""Serves an application over HTTP until a signal stops it."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import Counter
from uvicorn.protocols.http.h11_impl import H11Protocol

from predictive_scaling.access.serving_certificate import Server, ServingCertificate
from predictive_scaling.listener import open_listener

log = structlog.get_logger(__name__)

HTTP_API = Server(
    "api",
    "the HTTP API",
    "PREDICTIVE_SCALING_API",
    Counter(
        "predictive_scaling_api_certificate_reloads_total",
        "Changes of the serving certificate by result: loaded, or refused because certificate and key do not match.",
        ["result"],
    ),
)
HEAD_LIMIT_SECONDS = 10.0
"""Time limit for the head of a request."""

_GRACE_SECONDS = 20
_MAX_CONNECTIONS = 1000
_REQUEST_TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n"
    b'{"type":"about:blank","title":"Request Timeout","status":408,"detail":"the request did not arrive in time"}'
)


class HeadTimeoutProtocol(H11Protocol):
    """Closes connections whose request head arrives too slowly; uvicorn itself has no such limit."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] (uvicorn narrows it likewise)
        super().connection_made(transport)
        self._update_head_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        super().connection_lost(exc)

    def _update_head_timer(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._cancel_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_LIMIT_SECONDS, self._time_out)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out(self) -> None:
        self._head_timer = None
        # Between two requests the keep-alive limit applies instead.
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.write(_REQUEST_TIMEOUT)
            self.transport.close()


class _Server(uvicorn.Server):
    """Calls `on_stop` before it waits for open requests."""

    def __init__(self, configuration: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(configuration)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


async def serve(
    application: FastAPI,
    host: str,
    port: int,
    certificate: ServingCertificate | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish open requests (at most 20 s) and return.

    certificate: None for HTTP without encryption. Its files are read again when they change. on_stop: ends responses
    that would not end by themselves.

    Raises SettingsError when the port cannot be used.
    """
    configuration = uvicorn.Config(
        application,
        http=HeadTimeoutProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_context_factory=None if certificate is None else _context_factory(certificate),
    )
    with open_listener(host, port, "the HTTP API") as listener:
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises the signal again after it has stopped; without a handler that would kill the process.
            signal.signal(number, _ignore_signal)
        log.info("api_listening", host=host, port=listener.getsockname()[1], tls=certificate is not None)
        async with nullcontext() if certificate is None else certificate.reloading():
            await _Server(configuration, on_stop).serve(sockets=[listener])
    log.info("api_stopped")


def _context_factory(certificate: ServingCertificate) -> Callable[[uvicorn.Config, object], ssl.SSLContext]:
    return lambda _configuration, _default: certificate.context


def _ignore_signal(_number: int, _frame: Any) -> None:
    """Ignore the signal that uvicorn raises again."""
