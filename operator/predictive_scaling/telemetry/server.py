"""Health and metrics over HTTP, for the processes that serve nothing else."""

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

    checks: all parts, for people. ready: what must be well before work may be sent here. live: what, when it fails,
    only a restart mends: never a dependency. A degraded part counts as well.
    Use as `async with TelemetryServer(…) as server`; `server.port` is the real port when 0 was asked for.
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
        self._asked_port = port
        self._routes = {"/health": tuple(checks), "/health/ready": tuple(ready), "/health/live": tuple(live)}
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._runner is None or not self._runner.addresses:
            return self._asked_port
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Raises SettingsError when the port is taken."""
        application = web.Application()
        application.router.add_get("/metrics", _metrics)
        for path in self._routes:
            application.router.add_get(path, self._health)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            listener = open_listener(self._host, self._asked_port, "health and metrics")
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
    # A scrape may run collectors that take a moment; the loop has a tick to keep.
    body, content_type = await asyncio.to_thread(exposition, request.headers.get("Accept"))
    return web.Response(body=body, headers={"Content-Type": content_type})
