import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from predictive_scaling.errors import SettingsError
from predictive_scaling.telemetry.checks import (
    Check,
    Degraded,
    Health,
    examine,
    models_check,
    redis_check,
)
from predictive_scaling.telemetry.kafka_check import kafka_check
from predictive_scaling.telemetry.server import TelemetryServer


async def fine() -> None:
    return


async def broken() -> None:
    raise ConnectionError("postgresql://app:hunter2@db:5432/x\nrefused")


async def hanging() -> None:
    await asyncio.Event().wait()


async def weak() -> None:
    raise Degraded("no trained model yet")


async def test_all_well_is_healthy_and_says_how_long_each_took() -> None:
    report = await examine([Check("database", fine)])
    assert report.status is Health.HEALTHY
    assert report.http_status == 200
    shown = report.as_json()
    assert shown["status"] == "healthy"
    assert set(report.checks["database"].as_json()) == {"status", "latency_seconds"}


async def test_a_required_part_that_fails_is_unhealthy_and_its_message_has_no_secret() -> None:
    report = await examine([Check("database", broken), Check("kafka", fine)])
    assert report.status is Health.UNHEALTHY
    assert report.http_status == 503
    assert report.checks["database"].message == "postgresql://app:…@db:5432/x refused"
    assert report.checks["kafka"].status is Health.HEALTHY


async def test_what_can_be_missed_only_degrades() -> None:
    report = await examine([Check("database", fine), Check("redis", broken, required=False)])
    assert report.status is Health.DEGRADED
    assert report.http_status == 200


async def test_a_probe_may_say_itself_that_it_is_only_degraded() -> None:
    report = await examine([Check("models", weak)])
    assert report.status is Health.DEGRADED
    assert report.checks["models"].message == "no trained model yet"


async def test_a_hanging_part_is_given_up_at_its_limit_and_the_others_still_answer() -> None:
    async with asyncio.timeout(5):
        report = await examine([Check("database", hanging, limit_seconds=0.05), Check("kafka", fine)])
    assert report.checks["database"].message == "no response within 0.05 s"
    assert report.checks["database"].latency_seconds >= 0.05
    assert report.checks["kafka"].status is Health.HEALTHY


async def test_no_redis_is_a_choice_and_no_model_degrades() -> None:
    report = await examine([redis_check(None), models_check(lambda: 0)])
    assert report.checks["redis"].status is Health.HEALTHY
    assert report.checks["models"].status is Health.DEGRADED
    assert (await examine([models_check(lambda: 2)])).status is Health.HEALTHY


async def test_a_kafka_that_is_away_degrades_with_librdkafkas_reason() -> None:
    report = await examine([kafka_check("127.0.0.1:1", "metrics.raw")])
    found = report.checks["kafka"]
    assert report.status is Health.DEGRADED
    assert "127.0.0.1:1" in (found.message or "")
    assert found.latency_seconds < 2.5


@pytest.fixture
async def server() -> AsyncIterator[TelemetryServer]:
    checks = [Check("database", fine), Check("kafka", weak)]
    async with TelemetryServer("127.0.0.1", 0, checks=checks, ready=[Check("schema", broken)]) as running:
        yield running


async def test_the_server_shows_health_readiness_liveness_and_metrics(server: TelemetryServer) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        async with session.get("/health") as response:
            assert response.status == 200
            assert (await response.json())["checks"]["kafka"]["status"] == "degraded"
        async with session.get("/health/ready") as response:
            assert response.status == 503
        async with session.get("/health/live") as response:
            assert await response.json() == {"status": "healthy", "checks": {}}
        async with session.get("/metrics") as response:
            text = await response.text()
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            assert "predictive_scaling_build_info{" in text
            assert "process_resident_memory_bytes" in text


async def test_a_taken_port_is_an_error_of_settings_that_names_it(server: TelemetryServer) -> None:
    with pytest.raises(SettingsError, match=f"port {server.port} for health and metrics: Address already in use"):
        await TelemetryServer("127.0.0.1", server.port).start()
