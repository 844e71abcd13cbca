"""Commands from the HTTP API to the operator, over a real PostgreSQL."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from predictive_scaling.api.services import (
    Services,
)
from tests.support.api_services import (
    NOW,
    api_client,
    get_json,
)
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


async def answer_one_command(services: Services, kind: str, result: dict[str, Any]) -> None:
    """Answer one command and return: on Python 3.11 a cancellation inside psycopg may be lost."""
    async for _ in services.commands.listen():
        command = await services.commands.claim([kind], services.clock.now())
        if command is not None:
            await services.commands.answer(command.id, result, services.clock.now())
            return


async def test_clearing_stuck_decisions_returns_the_operators_answer(services: Services) -> None:
    async with api_client(replace(services, command_limit_seconds=240.0)) as client, asyncio.TaskGroup() as group:
        group.create_task(answer_one_command(services, "clear_stuck_decisions", {"cleared": 2}))
        response = await client.delete("/api/v1/scaling/decisions/stuck")
    assert (response.status_code, response.json()) == (200, {"cleared": 2})


async def test_reloading_models_returns_the_operators_answer(services: Services) -> None:
    result: dict[str, Any] = {"reloaded": ["checkout"], "rejected": [{"file": "x", "reason": "y"}]}
    async with api_client(replace(services, command_limit_seconds=240.0)) as client, asyncio.TaskGroup() as group:
        group.create_task(answer_one_command(services, "reload_models", result))
        response = await client.post("/api/v1/models/reload")
    assert (response.status_code, response.json()) == (200, result)


async def test_without_a_leader_a_command_is_accepted_with_its_location(
    services: Services, client: httpx.AsyncClient
) -> None:
    response = await client.delete("/api/v1/scaling/decisions/stuck")
    assert response.status_code == 202
    location = response.headers["location"]
    assert response.json()["location"] == location
    assert "no operator leads" in response.json()["message"]
    command = await get_json(client, location)
    assert (command["kind"], command["status"], command["answer"]) == ("clear_stuck_decisions", "asked", None)
    assert set(command) == {"id", "kind", "status", "created_at", "answered_at", "answer"}
    await services.commands.answer(command["id"], {"cleared": 0}, NOW)
    assert (await get_json(client, location))["answer"] == {"cleared": 0}


async def test_without_a_leader_the_api_does_not_wait_for_the_time_limit(services: Services) -> None:
    async with api_client(replace(services, command_limit_seconds=3600.0)) as client, asyncio.timeout(600):
        response = await client.post("/api/v1/models/reload")
    assert (response.status_code, "no operator leads" in response.json()["message"]) == (202, True)


async def test_the_api_waits_for_a_listening_operator(services: Services) -> None:
    is_listening, is_finished = asyncio.Event(), asyncio.Event()

    async def listen_without_an_answer() -> None:
        async for _ in services.commands.listen():
            is_listening.set()
            await is_finished.wait()
            return

    async with asyncio.TaskGroup() as group:
        group.create_task(listen_without_an_answer())
        await is_listening.wait()
        assert await services.commands.has_listener()
        async with api_client(services) as client:
            response = await client.post("/api/v1/models/reload")
        is_finished.set()
    assert (response.status_code, response.json()["message"]) == (202, "the operator has not responded yet")
    # The server notices that its connection is closed a moment later.
    await eventually(services.commands.has_listener, lambda has_listener: not has_listener)


@pytest.mark.parametrize(
    ("result", "detail"),
    [
        ({"error": "disk full"}, "failed to execute reload_models: disk full"),
        ({"something": "else"}, "has the format of another release"),
    ],
)
async def test_a_failed_command_is_a_problem_document(services: Services, result: dict[str, Any], detail: str) -> None:
    async with api_client(replace(services, command_limit_seconds=240.0)) as client, asyncio.TaskGroup() as group:
        group.create_task(answer_one_command(services, "reload_models", result))
        response = await client.post("/api/v1/models/reload", json={})
    assert (response.status_code, detail in response.json()["detail"]) == (502, True)
