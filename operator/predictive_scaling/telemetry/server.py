"""The HTTP server of health and metrics, for processes without an API."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from predictive_scaling.errors import SettingsError
from predictive_scaling.listener import open_listener
from predictive_scaling.telemetry.checks import Check, examine
from predictive_scaling.telemetry.metrics import exposition

log = structlog.get_logger(__name__)


class TelemetryServer:
    """`/health`, `/health/live`, `/health/ready` and `/metrics`.

    checks: all checks, for /health. ready: checks that must pass before the process receives work. live: checks whose
    failure only a restart repairs, never a dependency. Degraded counts as passed.
    Use as `async with TelemetryServer(…) as server`; `server.port` is the actual port when 0 was requested.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        checks: Sequence[Check] = (),
        ready: Sequence[Check] = (),
        live: Sequence[Check] = (),
    ) -> None:
        self._host = host
        self._requested_port = port
        self._routes = {"/health": tuple(checks), "/health/ready": tuple(ready), "/health/live": tuple(live)}
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The listen port."""
        if self._runner is None or not self._runner.addresses:
            return self._requested_port
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Start listening. Raises SettingsError when the port is in use."""
        application = web.Application()
        application.router.add_get("/metrics", _metrics)
        for path in self._routes:
            application.router.add_get(path, self._health)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            listener = open_listener(self._host, self._requested_port, "health and metrics")
        except SettingsError:
            await self.stop()
            raise
        await web.SockSite(self._runner, listener).start()
        log.info("telemetry_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Close the port; safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _health(self, request: web.Request) -> web.Response:
        report = await examine(self._routes[request.path])
        return web.json_response(report.as_json(), status=report.http_status)


async def _metrics(request: web.Request) -> web.Response:
    # Collectors may be slow; a thread keeps them from delaying the event loop.
    body, content_type = await asyncio.to_thread(exposition, request.headers.get("Accept"))
    return web.Response(body=body, headers={"Content-Type": content_type})
