"""Responses of lists that are kept for a moment: by what a caller sees, until a write, within bounds."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.types import Receive, Scope, Send

from predictive_scaling.api import recent_responses
from predictive_scaling.api.recent_responses import LIST_SECONDS, RecentResponses
from predictive_scaling.api.responses import conditional_response
from predictive_scaling.api.visible_namespaces import SCOPE_KEY, Visible
from tests.support.manual_seconds import ManualSeconds

LIST, OBJECT = "/api/v1/policies", "/api/v1/policies/shop/checkout"


@dataclass
class Counting:
    """An application whose responses count its calls; `status` sets their status."""

    calls: int = 0
    status: int = 200
    size: int = 0
    visible: Visible = field(default_factory=Visible)
    fails: bool = False
    began: asyncio.Event = field(default_factory=asyncio.Event)
    reads: asyncio.Event | None = None
    """Set when reads may end; None for at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.began.set()
        if self.reads is not None and scope["method"] == "GET":
            await self.reads.wait()
        if self.fails:
            raise RuntimeError("failed on purpose")
        body = json.dumps({"calls": self.calls, "query": scope["query_string"].decode(), "filler": "x" * self.size})
        response = conditional_response(Request(scope), body.encode(), "application/json")
        response.status_code = self.status if response.status_code == 200 else response.status_code
        await response(scope, receive, send)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, recent_responses)


def client_of(application: Counting, factor: float = 1.0) -> httpx.AsyncClient:
    recent = RecentResponses(application, factor)

    async def with_visibility(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY] = application.visible
        await recent(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app=with_visibility), base_url="http://api")


async def test_the_same_list_is_computed_once_within_a_moment(seconds: ManualSeconds) -> None:
    application = Counting()
    async with client_of(application) as client:
        assert [(await client.get(LIST)).json()["calls"] for _ in range(3)] == [1, 1, 1]
        assert (await client.get(f"{LIST}?limit=5")).json()["calls"] == 2
        assert (await client.get(OBJECT)).json()["calls"] == 3
        assert (await client.get(OBJECT)).json()["calls"] == 4, "one object is always read"
        seconds.now += LIST_SECONDS
        assert (await client.get(LIST)).json()["calls"] == 5


async def test_callers_that_see_different_namespaces_share_nothing(seconds: ManualSeconds) -> None:
    application = Counting()
    async with client_of(application) as client:
        assert (await client.get(LIST)).json()["calls"] == 1
        application.visible = Visible(("shop",))
        assert (await client.get(LIST)).json()["calls"] == 2
        application.visible = Visible(("bank",))
        assert (await client.get(LIST)).json()["calls"] == 3
        application.visible = Visible(("shop",))
        assert (await client.get(LIST)).json()["calls"] == 2


async def test_a_conditional_request_is_answered_304_from_a_kept_and_from_a_new_response(
    seconds: ManualSeconds,
) -> None:
    application = Counting()
    async with client_of(application) as client:
        first = await client.get(LIST)
        again = await client.get(LIST, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        application.calls = 0
        seconds.now += LIST_SECONDS
        computed = await client.get(LIST, headers={"If-None-Match": first.headers["etag"]})
        assert (computed.status_code, application.calls) == (304, 1)
        other = await client.get(LIST, headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.json()["calls"]) == (200, 1)


async def test_clients_with_and_without_gzip_get_what_they_accept(seconds: ManualSeconds) -> None:
    application = Counting(size=5000)
    async with client_of(application) as client:
        plain = await client.get(LIST, headers={"Accept-Encoding": "identity"})
        compressed = await client.get(LIST, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == compressed.headers["vary"] == "Accept-Encoding"
    assert compressed.json()["filler"] == plain.json()["filler"]


async def test_a_write_forgets_and_errors_are_not_kept(seconds: ManualSeconds) -> None:
    application = Counting()
    async with client_of(application) as client:
        await client.get(LIST)
        await client.delete("/api/v1/scaling/decisions/stuck")
        assert (await client.get(LIST)).json()["calls"] == 3
        application.status = 503
        seconds.now += LIST_SECONDS
        assert [(await client.get(LIST)).status_code for _ in range(2)] == [503, 503]
        assert application.calls == 5


async def test_a_response_that_was_computed_during_a_write_is_not_kept(seconds: ManualSeconds) -> None:
    application = Counting(reads=asyncio.Event())
    async with client_of(application) as client:
        reading = asyncio.create_task(client.get(LIST))
        await application.began.wait()
        await client.delete("/api/v1/scaling/decisions/stuck")
        assert application.reads is not None
        application.reads.set()
        assert (await reading).is_success
        assert json.loads((await client.get(LIST)).content)["calls"] > 2, "it may show what was before the write"


async def test_a_write_that_fails_forgets_as_well(seconds: ManualSeconds) -> None:
    application = Counting()
    async with client_of(application) as client:
        await client.get(LIST)
        application.fails = True
        with pytest.raises(RuntimeError, match="on purpose"):
            await client.delete("/api/v1/scaling/decisions/stuck")
        application.fails = False
        assert (await client.get(LIST)).json()["calls"] == 3


async def test_kept_responses_are_bounded_in_number_and_size(
    seconds: ManualSeconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_responses, "MAX_RESPONSES", 2)
    monkeypatch.setattr(recent_responses, "MAX_BYTES", 3000)
    application = Counting(size=1000)
    async with client_of(application) as client:
        for query in ("a", "b", "c", "b", "c", "a"):
            await client.get(f"{LIST}?search={query}", headers={"Accept-Encoding": "identity"})
        assert application.calls == 4
        application.size = 4000
        for _ in range(2):
            await client.get(f"{LIST}?search=large", headers={"Accept-Encoding": "identity"})
        assert application.calls == 6
        long = f"{LIST}?search={'x' * 3000}"
        assert [(await client.get(long)).json()["calls"] for _ in range(2)] == [7, 8]


async def test_nothing_is_kept_without_the_factor() -> None:
    async with client_of(Counting(), factor=0.0) as client:
        assert [(await client.get(LIST)).json()["calls"] for _ in range(2)] == [1, 2]
