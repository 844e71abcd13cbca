"""An HTTP proxy in front of the AWS server of the tests that answers with faults instead of forwarding."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import ClientSession, web

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "date", "server"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A response of AWS. code: None closes the connection without a response."""

    code: str | None
    status: int = 400
    message: str = "injected"


@dataclass
class FaultyAWS:
    """Forwards requests to `upstream_url`. Counts them by action."""

    upstream_url: str
    url: str = ""
    seen: list[str] = field(default_factory=list[str])
    """The actions of all requests, such as DescribeAutoScalingGroups, in order; includes faults."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests wait for it before they are forwarded; set unless a test holds them back."""
    answered: int = 0
    """How many requests were forwarded and answered."""
    answers: dict[str, str] = field(default_factory=dict[str, str])
    """XML to respond with to all requests of an action, unless a fault is set."""
    _faults: list[tuple[Fault, int, Callable[[str], bool]]] = field(
        default_factory=list[tuple[Fault, int, Callable[[str], bool]]]
    )

    def fail(self, fault: Fault, times: int = 1_000_000, action: str = "") -> None:
        """Respond with a fault to the next `times` requests, of one action only if it is set."""
        self._faults.append((fault, times, lambda name: name == action or not action))

    def heal(self) -> None:
        """Forward all requests again."""
        self._faults.clear()
        self.released.set()

    def hold(self) -> None:
        """Hold back the answers to all requests until `heal`."""
        self.released.clear()

    def count(self, action: str) -> int:
        """Return the number of requests of an action."""
        return self.seen.count(action)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward one request, or fail."""
        body = await request.read()
        action = parse_qs(body.decode()).get("Action", [""])[0]
        self.seen.append(action)
        await self.released.wait()
        fault = self._next_fault(action)
        if fault is None and action in self.answers:
            return web.Response(text=self.answers[action], content_type="text/xml")
        if fault is None:
            return await self._forward(request, body)
        if fault.code is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        error = f"<Error><Type>Sender</Type><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
        text = f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
        return web.Response(status=fault.status, text=text, content_type="text/xml")

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        async with (
            ClientSession(auto_decompress=True) as session,
            session.request(
                request.method, f"{self.upstream_url}{request.path_qs}", data=body, headers=headers
            ) as response,
        ):
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}
            self.answered += 1
            return web.Response(status=response.status, body=await response.read(), headers=kept)

    def _next_fault(self, action: str) -> Fault | None:
        for position, (fault, times, matches) in enumerate(self._faults):
            if times > 0 and matches(action):
                self._faults[position] = (fault, times - 1, matches)
                return fault
        return None


def activities_response(*activities: Mapping[str, Any]) -> str:
    """The response of DescribeScalingActivities, newest activity first; times are datetimes."""

    def text(value: object) -> str:
        return escape(value.isoformat() if isinstance(value, datetime) else str(value))

    members = "".join(
        f"<member>{''.join(f'<{name}>{text(value)}</{name}>' for name, value in activity.items())}</member>"
        for activity in activities
    )
    result = f"<DescribeScalingActivitiesResult><Activities>{members}</Activities></DescribeScalingActivitiesResult>"
    namespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
    return f'<DescribeScalingActivitiesResponse xmlns="{namespace}">{result}</DescribeScalingActivitiesResponse>'


@asynccontextmanager
async def faulty_aws(upstream_url: str) -> AsyncGenerator[FaultyAWS]:
    """Run a proxy in front of an AWS server."""
    proxy = FaultyAWS(upstream_url)
    proxy.released.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        proxy.heal()
        await runner.cleanup()
