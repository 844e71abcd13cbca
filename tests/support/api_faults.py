"""An HTTP proxy in front of a real API server that answers slowly, wrongly or not at all where a test says so."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "transfer-encoding"})


@dataclass
class Fault:
    """What happens to requests whose method and path contain these texts."""

    method: str
    path: str
    status: int | None = None
    """The status of the answer, without the request reaching the API server; None to forward it. 200: a login page."""
    delay_seconds: float = 0.0
    times: int = 10**9
    """How many requests it concerns."""
    is_lost: bool = False
    """The request reaches the API server; its answer does not come back."""
    released: asyncio.Event | None = None
    """The request waits for this event before it is forwarded."""
    hits: int = 0

    def concerns(self, method: str, path: str) -> bool:
        return self.hits < self.times and self.method == method and self.path in path


@dataclass
class ApiFaults:
    """The proxy. Watches are forwarded line by line, and stall without closing while `watches_stall`."""

    kubeconfig: Path
    """Leads to the proxy."""
    faults: list[Fault] = field(default_factory=list[Fault])
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    watches: int = 0
    """Watches that were opened."""

    def add(self, fault: Fault) -> Fault:
        """Apply a fault to the requests that follow."""
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """End all faults."""
        for fault in self.faults:
            if fault.released is not None:
                fault.released.set()
        self.faults.clear()
        self.flowing.set()

    def stall_watches(self) -> None:
        """Hold back everything that open watches deliver, with their connections open."""
        self.flowing.clear()

    def fault_for(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.concerns(request.method, request.path_qs):
                fault.hits += 1
                return fault
        return None


def _configuration(kubeconfig: Path) -> dict[str, Any]:
    return yaml.safe_load(kubeconfig.read_text())


@asynccontextmanager
async def faulty_api(kubeconfig: Path, folder: Path) -> AsyncGenerator[ApiFaults]:
    """Run the proxy on loopback; its kubeconfig is in `folder`."""
    content = _configuration(kubeconfig)
    upstream = content["clusters"][0]["cluster"]
    authority = base64.b64decode(upstream["certificate-authority-data"]).decode()
    trust = ssl.create_default_context(cadata=authority)
    server, content["clusters"][0]["cluster"] = upstream["server"], {}
    faults = ApiFaults(folder / "faulty-kubeconfig")
    faults.flowing.set()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            return await _forward(faults, session, server, trust, request)

        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        content["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        faults.kubeconfig.touch(mode=0o600)
        faults.kubeconfig.write_text(yaml.safe_dump(content))
        try:
            yield faults
        finally:
            faults.clear()
            await runner.cleanup()


async def _forward(
    faults: ApiFaults, session: aiohttp.ClientSession, server: str, trust: ssl.SSLContext, request: web.Request
) -> web.StreamResponse:
    fault = faults.fault_for(request)
    if fault is not None:
        await asyncio.sleep(fault.delay_seconds)
        if fault.released is not None:
            await fault.released.wait()
        if fault.status is not None:
            return _failure(fault.status)
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    async with session.request(
        request.method, f"{server}{request.path_qs}", headers=headers, data=await request.read() or None, ssl=trust
    ) as response:
        if fault is not None and fault.is_lost:
            await response.read()
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=502)
        kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}
        if request.query.get("watch") not in ("true", "1"):
            return web.Response(status=response.status, headers=kept, body=await response.read())
        faults.watches += 1
        streamed = web.StreamResponse(status=response.status, headers=kept)
        await streamed.prepare(request)
        async for chunk in response.content.iter_any():
            await faults.flowing.wait()
            await streamed.write(chunk)
        return streamed


def _failure(status: int) -> web.Response:
    if status == 200:
        return web.Response(text="<html>Log in</html>", content_type="text/html")
    reason = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[status]
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": f"made by the test: {reason}",
        "code": status,
    }
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.Response(status=status, headers=headers, text=json.dumps(body), content_type="application/json")
