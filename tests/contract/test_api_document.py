"""Schemathesis over the OpenAPI document of a real API process: what it promises is what is served.

It requests each operation with valid and with invalid data, in the order of its links as well, and checks statuses,
headers, media types, schemas, methods and tokens.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.api.commands import CLEAR_STUCK, RELOAD_MODELS
from predictive_scaling.api.services import Services
from predictive_scaling.clock import WallClock
from predictive_scaling.storage.backtests import BacktestRow
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_process import ApiProcess, api_running
from tests.support.api_services import (
    a_decision,
    a_forecast,
    a_performance,
    a_policy,
    a_shadow_hour,
    a_tuning,
    an_event,
    api_services,
)
from tests.support.eventually import exit_code

pytestmark = pytest.mark.integration

CONFIGURATION = Path(__file__).parents[1] / "data" / "schemathesis" / "schemathesis.toml"
TOKEN = "schemathesis-" + "0123456789" * 3
RESULTS = {CLEAR_STUCK: {"cleared": 0}, RELOAD_MODELS: {"reloaded": ["checkout"], "rejected": []}}
HOUR = timedelta(hours=1)


async def fill(services: Services) -> None:
    """Record what the examples of the document name, so that requests for objects find some."""
    now = services.clock.now()
    since = now.replace(minute=0, second=0, microsecond=0) - HOUR
    await services.policies.record([a_policy(updated_at=now), a_policy("cart", floor=None, advice=None)])
    await services.predictions.record(a_forecast(created_at=now))
    await ScalingDecisions(services.database).intend(a_decision(created_at=now, status="failed", cause="Quota"))
    await services.performances.record([a_performance(until=now)])
    await services.tunings.record([a_tuning()])
    await services.shadow_hours.record([a_shadow_hour(since=since, until=since + timedelta(minutes=50))])
    await services.events.record([an_event(start_time=now + hour * HOUR, end_time=now + 9 * HOUR) for hour in range(3)])
    backtest = BacktestRow("uid", "shop", "checkout", "checkout", now, "Succeeded", "hash", {"phase": "Succeeded"})
    await services.backtests.record([backtest], ["uid"])
    await services.backtest_results.record("hash", {}, "<!doctype html><title>checkout</title>", now)


@asynccontextmanager
async def answering(services: Services) -> AsyncGenerator[None]:
    """Answer commands as an operator does, while the block runs."""

    async def answer() -> None:
        async for _ in services.commands.listen():
            while (command := await services.commands.claim(list(RESULTS), services.clock.now())) is not None:
                await services.commands.answer(command.id, RESULTS[command.kind], services.clock.now())

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def api_of(url: str, folder: Path) -> AsyncGenerator[ApiProcess]:
    """Run the API with tokens, over a database with an object of each kind."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN},tester,write,*\n")
    settings = {"AUTHENTICATION": "tokens", "TOKENS_FILE": str(tokens), "REQUESTS_PER_SECOND": "1000000"}
    async with api_services(url, clock=WallClock()) as services:
        await fill(services)
        prefixed = {f"PREDICTIVE_SCALING_API_{name}": value for name, value in settings.items()}
        async with answering(services), api_running(url, folder, **prefixed) as api:
            yield api


async def schemathesis(url: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run it over the document at `url`, and return its exit code and output."""
    output = folder / "schemathesis.log"
    program = (sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIGURATION, "run", f"{url}/openapi.json")
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(*program, "--checks", "all", "--header", f"Authorization: Bearer {TOKEN}", *arguments),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=file,
            stderr=file,
        )
    try:
        code = await exit_code(process, 900)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return code, output.read_text()


async def test_the_api_serves_what_its_document_promises(migrated_database_url: str, tmp_path: Path) -> None:
    async with api_of(migrated_database_url, tmp_path) as api:
        code, output = await schemathesis(api.url, tmp_path)
    assert code == 0, output
