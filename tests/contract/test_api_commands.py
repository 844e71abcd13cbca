"""What the HTTP API asks of the operator, over a real PostgreSQL."""

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
    answer,
    api_client,
)

pytestmark = pytest.mark.integration


async def an_operator_answers(services: Services, kind: str, answer: dict[str, Any]) -> None:
    """Take one command and answer it. It ends by itself: on Python 3.11 a cancellation inside psycopg may get lost."""
    async for _ in services.commands.listen():
        command = await services.commands.claim([kind], services.clock.now())
        if command is not None:
            await services.commands.answer(command.id, answer, services.clock.now())
            return


async def test_the_operators_answer_to_clearing_is_shown(services: Services) -> None:
    async with api_client(replace(services, command_limit_seconds=10.0)) as client, asyncio.TaskGroup() as group:
        group.create_task(an_operator_answers(services, "clear_stuck_decisions", {"cleared": 2}))
        cleared = await client.delete("/api/v1/scaling/decisions/stuck")
    assert (cleared.status_code, cleared.json()) == (200, {"cleared": 2})


async def test_the_operators_answer_to_reloading_is_shown(services: Services) -> None:
    outcome: dict[str, Any] = {"reloaded": ["checkout"], "rejected": [{"file": "x", "reason": "y"}]}
    async with api_client(replace(services, command_limit_seconds=10.0)) as client, asyncio.TaskGroup() as group:
        group.create_task(an_operator_answers(services, "reload_models", outcome))
        reloaded = await client.post("/api/v1/models/reload")
    assert (reloaded.status_code, reloaded.json()) == (200, outcome)


async def test_without_an_operator_a_command_is_accepted_with_a_place_to_look(
    services: Services, client: httpx.AsyncClient
) -> None:
    response = await client.delete("/api/v1/scaling/decisions/stuck")
    assert response.status_code == 202
    place = response.headers["location"]
    assert response.json()["location"] == place
    assert "no operator leads" in response.json()["message"]
    asked = await answer(client, place)
    assert (asked["kind"], asked["status"], asked["answer"]) == ("clear_stuck_decisions", "asked", None)
    assert set(asked) == {"id", "kind", "status", "created_at", "answered_at", "answer"}
    await services.commands.answer(asked["id"], {"cleared": 0}, NOW)
    assert (await answer(client, place))["answer"] == {"cleared": 0}


async def test_without_an_operator_nobody_waits_for_the_whole_limit(services: Services) -> None:
    async with api_client(replace(services, command_limit_seconds=3600.0)) as client, asyncio.timeout(30):
        response = await client.post("/api/v1/models/reload")
    assert (response.status_code, "no operator leads" in response.json()["message"]) == (202, True)


async def test_an_operator_that_listens_is_waited_for(services: Services) -> None:
    listens, ends = asyncio.Event(), asyncio.Event()

    async def listen_and_say_nothing() -> None:
        async for _ in services.commands.listen():
            listens.set()
            await ends.wait()
            return

    async with asyncio.TaskGroup() as group:
        group.create_task(listen_and_say_nothing())
        await listens.wait()
        assert await services.commands.is_heard()
        async with api_client(services) as client:
            response = await client.post("/api/v1/models/reload")
        ends.set()
    assert (response.status_code, response.json()["message"]) == (202, "the operator has not responded yet")
    assert not await services.commands.is_heard(), "its connection is closed"


@pytest.mark.parametrize(
    ("result", "detail"),
    [
        ({"error": "disk full"}, "failed to execute reload_models: disk full"),
        ({"something": "else"}, "has the format of another release"),
    ],
)
async def test_an_operator_that_failed_is_a_problem_and_not_an_empty_answer(
    services: Services, result: dict[str, Any], detail: str
) -> None:
    async with api_client(replace(services, command_limit_seconds=10.0)) as client, asyncio.TaskGroup() as group:
        group.create_task(an_operator_answers(services, "reload_models", result))
        response = await client.post("/api/v1/models/reload", json={})
    assert (response.status_code, detail in response.json()["detail"]) == (502, True)
