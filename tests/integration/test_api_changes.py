"""The stream of changes over real processes: several replicas, slow clients, an outage, SIGTERM."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from predictive_scaling.api import changes
from predictive_scaling.api.change_feed import MAX_LISTENERS_OF_CLIENT, ChangeFeed
from predictive_scaling.api.changes import EventStream
from predictive_scaling.api.visible_namespaces import Visible
from predictive_scaling.clock import WallClock
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.change_markers import ChangeTable
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_process import api_running, log_events
from tests.support.api_services import a_decision, a_policy, an_event
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration

PATH = "/api/v1/changes"
PATIENT = 120.0


@dataclass
class Stream:
    """An open stream, read event by event."""

    response: httpx.Response
    lines: Any

    async def next(self) -> tuple[str, Any]:
        """Return name and data of the next event; an empty name at the end."""
        name = ""
        async with asyncio.timeout(PATIENT):
            async for line in self.lines:
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    return name, json.loads(value)
        return "", None


@asynccontextmanager
async def stream_of(url: str) -> AsyncGenerator[Stream]:
    """Open a stream; it is ready on entry."""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENT) as client,
        client.stream("GET", f"{url}{PATH}") as response,
    ):
        assert response.status_code == 200
        stream = Stream(response, response.aiter_lines())
        assert await stream.next() == ("ready", {})
        yield stream


async def test_every_replica_reports_changes_and_stops_with_open_streams(
    migrated_database_url: str, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    now = WallClock().now()
    async with (
        Database(migrated_database_url) as database,
        api_running(migrated_database_url, folders[0]) as one,
        api_running(migrated_database_url, folders[1]) as two,
        stream_of(one.url) as of_one,
        stream_of(two.url) as of_two,
    ):
        assert of_one.response.headers["content-type"].startswith("text/event-stream")
        assert of_one.response.headers["x-accel-buffering"] == "no"
        decisions, policies = ScalingDecisions(database), Policies(database)
        steps = [
            (policies.record([a_policy()]), {"policies": ["shop/checkout"]}),
            (policies.record([a_policy(floor=10)]), {"policies": ["shop/checkout"]}),
            (decisions.intend(a_decision(status="pending", created_at=now)), {"decisions": ["shop/checkout"]}),
            (decisions.transition("a1", DecisionPhase.EXECUTING, now), {"decisions": ["shop/checkout"]}),
            (decisions.transition("a1", DecisionPhase.SUCCEEDED, now), {"decisions": ["shop/checkout"]}),
            (BusinessEvents(database).record([an_event(end_time=now)]), {"events": ["shop/flash-sale"]}),
            (policies.forget_others([]), {"policies": ["shop/checkout"]}),
        ]
        for change, expected in steps:
            await change
            assert await of_one.next() == ("changed", expected)
            assert await of_two.next() == ("changed", expected)
        # A stream is no slow request, and it does not delay the end of the process.
        assert await one.terminate() == 0
        assert await of_one.next() == ("", None)
        assert log_events(one.log)[-1]["event"] == "api_stopped"
        assert "Cancel" not in one.log.read_text()
        assert (await two.get("/metrics")).text.count("predictive_scaling_api_streams 1.0") == 1


async def test_streams_of_a_client_are_limited_and_survive_an_outage(
    migrated_database_url: str, postgres: PostgreSQL, tmp_path: Path
) -> None:
    async with api_running(migrated_database_url, tmp_path) as api, stream_of(api.url) as stream:
        others = [asyncio.create_task(hold(api.url)) for _ in range(MAX_LISTENERS_OF_CLIENT - 1)]
        full = f"api_streams {MAX_LISTENERS_OF_CLIENT}.0"
        await eventually(lambda: api.get("/metrics"), lambda response: full in response.text)
        refused = await api.get(PATH)
        assert refused.status_code == 503
        assert (refused.json()["reason"], refused.headers["retry-after"]) == ("TooManyStreams", "30")
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # A client that leaves makes room.
        await eventually(lambda: api.get("/metrics"), lambda response: "api_streams 1.0" in response.text)
        await postgres.stop()
        await postgres.start()
        async with Database(migrated_database_url) as database:
            await Policies(database).record([a_policy()])
        assert await stream.next() == ("changed", {"policies": ["shop/checkout"]})


async def test_a_stream_ends_for_a_new_check_of_its_token_and_for_a_client_that_does_not_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "STREAM_SECONDS", 0.2)
    monkeypatch.setattr(changes, "SEND_SECONDS", 0.2)
    stream = EventStream(ChangeFeed(ChangeTable(database), WallClock()), "client", Visible())
    scope = {"type": "http", "method": "GET", "path": PATH}
    sent: list[dict[str, Any]] = []

    async def connected() -> dict[str, Any]:
        await asyncio.sleep(PATIENT)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def send_blocked(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(PATIENT)

    async with asyncio.timeout(PATIENT):
        await stream(scope, connected, send)
        assert sent[-1] == {"type": "http.response.body", "body": b""}
        await stream(scope, connected, send_blocked)


async def hold(url: str) -> None:
    """Keep a stream open until cancelled."""
    async with stream_of(url):
        await asyncio.sleep(3600)
