"""The HTTP API as a process: start, outage and recovery, cache, slow clients, `check`, SIGTERM."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from redis.asyncio import Redis
from uvicorn.server import ServerState

from predictive_scaling.api import serving
from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.clock import ReplayClock, WallClock, monotonic
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.redis import Redis as RedisServer
from predictive_scaling.storage import redis_circuit
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.sample_arrivals import HourArrivals, SampleArrivals
from predictive_scaling.storage.samples import Sample, Samples, series_of
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_process import api_running, log_events, start_process
from tests.support.api_services import (
    NOW,
    UNREACHABLE_DATABASE,
    a_decision,
    a_forecast,
    a_performance,
    a_policy,
    api_client,
    api_services,
)
from tests.support.eventually import eventually, exit_code

pytestmark = pytest.mark.integration


async def test_the_process_serves_and_exits_with_0_after_sigterm(migrated_database_url: str, tmp_path: Path) -> None:
    async with api_running(migrated_database_url, tmp_path) as api:

        async def statuses() -> dict[str, str]:
            health = (await api.get("/health")).json()
            return {name: check["status"] for name, check in health["checks"].items()} | {"": health["status"]}

        # A check may exceed its time limit on a starved machine.
        expected = {"database": "healthy", "redis": "healthy", "kafka": "degraded", "models": "degraded"}
        expected["sources"] = "healthy"
        await eventually(statuses, lambda shown: shown == expected | {"": "degraded"})
        await eventually(lambda: api.get("/health/ready"), lambda response: response.is_success)
        assert (await api.get("/api/v1/scaling/status")).json()["summary"]["policies"] == 0
        assert await api.terminate() == 0
        assert log_events(api.log)[-1]["event"] == "api_stopped"


async def test_without_kafka_and_redis_only_the_model_is_missing(migrated_database_url: str, tmp_path: Path) -> None:
    async with api_running(migrated_database_url, tmp_path, KAFKA_BOOTSTRAP_SERVERS="") as api:
        checks = (await api.get("/health")).json()["checks"]
        assert checks.keys() == {"database", "redis", "models", "sources"}


async def test_a_database_outage_is_a_503_within_seconds_and_recovers(
    migrated_database_url: str, postgres: PostgreSQL, tmp_path: Path
) -> None:
    async with api_running(migrated_database_url, tmp_path) as api:
        assert (await api.get("/api/v1/scaling/decisions")).status_code == 200
        await postgres.stop()
        try:
            # A list is kept for a moment.
            await eventually(lambda: api.get("/api/v1/scaling/decisions"), lambda response: response.is_server_error)
            for _ in range(3):
                started_at = monotonic()
                response = await api.get("/api/v1/scaling/decisions")
                assert (response.status_code, response.json()["reason"]) == (503, "DatabaseUnavailable")
                assert monotonic() - started_at < 30
            assert (await api.get("/health")).status_code == 503
            assert (await api.get("/health/ready")).status_code == 503
            assert (await api.get("/health/live")).status_code == 200
        finally:
            await postgres.start()
        recovered = await eventually(lambda: api.get("/api/v1/scaling/decisions"), lambda response: response.is_success)
        assert recovered.json()["decisions"] == []
        await eventually(lambda: api.get("/health/ready"), lambda response: response.is_success)


async def test_the_api_starts_without_its_database_and_is_unhealthy(tmp_path: Path) -> None:
    async with api_running(UNREACHABLE_DATABASE, tmp_path) as api:
        health = await api.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
        assert health.json()["checks"]["database"]["message"].startswith("PostgreSQL at 127.0.0.1:1/nothing")
        assert (await api.get("/health/ready")).status_code == 503
        assert "database_unreachable_at_start" in [event["event"] for event in log_events(api.log)]
        assert "hunter2" not in api.log.read_text() + health.text
        assert await api.terminate() == 0


async def test_the_api_exits_without_the_schema_and_names_the_migrate_command(
    database_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "api.log"
    process = start_process("api", "--port", "0", log=log, settings={"DATABASE_URL": database_url})
    assert await exit_code(process) == 78
    assert "run `predictive-scaling migrate`" in log.read_text().splitlines()[-1]


async def test_check_distinguishes_attention_from_unreachable(migrated_database_url: str, tmp_path: Path) -> None:
    now = WallClock().now()
    async with api_running(migrated_database_url, tmp_path) as api, Database(migrated_database_url) as database:
        await Policies(database).record([a_policy()])
        await ModelPerformances(database).record([a_performance(until=now - timedelta(hours=1))])
        code, report = await run_check(api.url, tmp_path)
        # Without Kafka and a model the API is degraded, which needs attention.
        assert (code, report["health"]) == (1, "degraded")
        assert {line.partition(" ")[0] for line in report["attention"]} == {"kafka", "models"}
        assert report["policies"][0]["calls"] == []
        assert report["mape"] == pytest.approx(0.12)
        (unknown,) = report["data_quality"]
        assert (unknown["service_name"], unknown["missing_ratio"]) == ("checkout", None)

        minutes = [now - timedelta(minutes=minute) for minute in range(60) if not 10 <= minute < 40]
        samples = [Sample(at, "checkout", unknown["metric_name"], series_of({}), 5.0, {}) for at in minutes]
        await Samples(database).record(samples)
        hour = now.replace(minute=0, second=0, microsecond=0)
        arrivals = HourArrivals("checkout", unknown["metric_name"], hour, 100, 40, -75.0)
        await SampleArrivals(database).add([arrivals])
        _, report = await run_check(api.url, tmp_path)
        problems = [line.partition(": ")[2] for line in report["attention"] if "of service checkout" in line]
        assert [problem.split(" ", 1)[1] for problem in problems] == [
            "of the minutes of the last 24 h are missing.",
            "of the samples came more than 5 minutes after their time.",
            "clock of a sender is 75 s ahead.",
        ]

        await ScalingDecisions(database).intend(
            a_decision(status="verifying", finished_at=None, deadline_at=now - timedelta(minutes=5))
        )
        stalled = {"type": "Stalled", "status": "True", "reason": "InvalidTimezone", "message": "Europe/Pari is none."}
        await Policies(database).record([a_policy(conditions=[stalled])])
        code, report = await run_check(api.url, tmp_path)
        assert code == 1
        assert "shop/checkout: Stalled=True: Europe/Pari is none." in report["attention"]
        assert report["stuck_decisions"] == 1
        await api.terminate()
        code, report = await run_check(api.url, tmp_path)
        assert (code, report["reachable"]) == (69, False)


async def test_check_reports_an_unhealthy_api_as_text(tmp_path: Path) -> None:
    async with api_running(UNREACHABLE_DATABASE, tmp_path) as api:
        log = tmp_path / "check.log"
        process = start_process("check", "--api-url", api.url, "--ingest-url", UNUSED_URL, log=log, settings={})
        assert await exit_code(process) == 2
        text = log.read_text()
        assert "Health: unhealthy" in text
        assert "The state of the policies is unknown" in text


async def test_a_request_head_that_arrives_too_slowly_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_LIMIT_SECONDS", 0.2)
    async with server_with_head_timeout() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        response = await reader.read()
        writer.close()
    assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_an_idle_connection_between_two_requests_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_LIMIT_SECONDS", 1.0)
    async with server_with_head_timeout() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for pause_seconds in (1.5, 0.0):  # longer than the limit of a head, shorter than that of an idle connection
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"ok"
            await asyncio.sleep(pause_seconds)
        writer.close()


async def test_responses_are_the_same_with_a_full_frozen_or_flushed_redis(
    migrated_database_url: str, redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis, clock = Redis.from_url(redis_url), ReplayClock(NOW, monotonic(), rate=1)
    async with redis, api_services(migrated_database_url, clock=clock, cache=ResponseCache(redis)) as services:
        await services.predictions.record(a_forecast())
        async with api_client(services) as client:
            first = (await client.get("/api/v1/predictions/current")).text
            assert await redis.exists("predictive-scaling:responses:all/predictions/current?service=")
            # The cached response does not contain the forecast that was recorded meanwhile.
            await services.predictions.record(a_forecast("cart"))
            assert (await client.get("/api/v1/predictions/current")).text == first
            await redis.flushall()
            both_policies = (await client.get("/api/v1/predictions/current")).text
            assert '"cart"' in both_policies
            await redis.config_set("maxmemory", "1")
            full = (await client.get("/api/v1/predictions/current?service=checkout")).json()
            await redis.config_set("maxmemory", "0")
            assert [prediction["policy"] for prediction in full["predictions"]] == ["checkout"]
    frozen = Redis.from_url(redis_url)
    async with frozen, api_services(migrated_database_url, clock=clock, cache=ResponseCache(frozen)) as services:
        await frozen.ping()
        await frozen.flushall()
        monkeypatch.setattr(redis_circuit, "TIMEOUT_SECONDS", 0.05)
        os.kill(redis_server.server.pid, signal.SIGSTOP)
        try:
            async with api_client(services) as client:
                # It responds while Redis does not.
                assert (await client.get("/api/v1/predictions/current")).text == both_policies
        finally:
            os.kill(redis_server.server.pid, signal.SIGCONT)


UNUSED_URL = "http://127.0.0.1:1"


async def run_check(api_url: str, folder: Path) -> tuple[int, dict[str, Any]]:
    """Run `check`; return its exit code and its report."""
    log = folder / "check.json"
    process = start_process(
        "check", "--api-url", api_url, "--ingest-url", UNUSED_URL, "--output", "json", log=log, settings={}
    )
    code = await exit_code(process)
    return code, json.loads(log.read_text())


@asynccontextmanager
async def server_with_head_timeout() -> AsyncGenerator[int]:
    """Serve an application that responds "ok" with the API's server; yields the port."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    configuration = uvicorn.Config(
        application, http=serving.HeadTimeoutProtocol, lifespan="off", log_config=None, timeout_keep_alive=600
    )
    configuration.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: serving.HeadTimeoutProtocol(configuration, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]
