"""Every server of the package responds without delay on a kept-alive connection."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing

import aiohttp
import pytest
from fastapi import FastAPI

from predictive_scaling.api.serving import serve
from predictive_scaling.errors import SettingsError
from predictive_scaling.listener import open_listener
from predictive_scaling.telemetry.server import TelemetryServer
from tests.support.eventually import eventually


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The server side of each accepted connection."""
    sockets: list[socket.socket] = []
    accept = socket.socket.accept

    def recording_accept(listener: socket.socket) -> tuple[socket.socket, object]:
        connection, address = accept(listener)
        sockets.append(connection)
        return connection, address

    monkeypatch.setattr(socket.socket, "accept", recording_accept)
    return sockets


@pytest.fixture
def signals_restored() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def sends_at_once(connection: socket.socket) -> bool:
    return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


@pytest.mark.usefixtures("signals_restored")
async def test_the_http_api_sends_at_once(accepted: list[socket.socket]) -> None:
    with closing(open_listener("127.0.0.1", 0, "a test")) as listener:
        port = listener.getsockname()[1]
    application = FastAPI()
    application.add_api_route("/ping", lambda: {"ping": "pong"})
    serving = asyncio.create_task(serve(application, "127.0.0.1", port))
    async with aiohttp.ClientSession() as session:

        async def responds() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/ping") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(responds)
        assert [sends_at_once(connection) for connection in accepted] == [True] * len(accepted) != []
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


async def test_health_and_metrics_are_sent_at_once(accepted: list[socket.socket]) -> None:
    async with TelemetryServer("127.0.0.1", 0) as server, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{server.port}/health/live") as response:
            assert response.status == 200
        assert [sends_at_once(connection) for connection in accepted] == [True]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::", "::1"])
def test_connections_of_a_listener_send_at_once_on_every_kind_of_address(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        listener = open_listener(host, 0, "a test")
    except SettingsError as error:
        pytest.skip(str(error))
    with closing(listener), closing(socket.create_connection(listener.getsockname()[:2])):
        listener.setblocking(True)
        connection, _ = listener.accept()
        with closing(connection):
            assert sends_at_once(connection)


@pytest.mark.parametrize("host", ["no such host", "256.0.0.1", "a" * 300])
def test_an_unusable_address_is_reported_with_its_purpose(host: str) -> None:
    with pytest.raises(SettingsError, match=f"cannot listen on {host} port 0 for the HTTP API: "):
        open_listener(host, 0, "the HTTP API")


def test_a_port_in_use_is_named() -> None:
    with closing(open_listener("127.0.0.1", 0, "a test")) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1 port {port} for health: Address already"):
            open_listener("127.0.0.1", port, "health")


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(SettingsError, match="port 99999 for a test"):
        open_listener("127.0.0.1", 99999, "a test")
