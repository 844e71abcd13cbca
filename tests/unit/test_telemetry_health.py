"""Health reports: checks, their limits, and the server of the telemetry endpoints."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

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
from tests.support.virtual_time import in_virtual_time


async def pass_check() -> None:
    return


async def fail_check() -> None:
    raise ConnectionError("postgresql://app:hunter2@db:5432/x\nrefused")


async def hang() -> None:
    await asyncio.Event().wait()


async def degrade() -> None:
    raise Degraded("no trained model yet")


async def test_passing_checks_are_healthy_and_have_a_latency() -> None:
    report = await examine([Check("database", pass_check)])
    assert report.status is Health.HEALTHY
    assert report.http_status == 200
    body = report.as_json()
    assert body["status"] == "healthy"
    assert set(report.checks["database"].as_json()) == {"status", "latency_seconds"}


async def test_a_failing_required_check_is_unhealthy_and_its_message_has_no_secret() -> None:
    report = await examine([Check("database", fail_check), Check("kafka", pass_check)])
    assert report.status is Health.UNHEALTHY
    assert report.http_status == 503
    assert report.checks["database"].message == "postgresql://app:…@db:5432/x refused"
    assert report.checks["kafka"].status is Health.HEALTHY


async def test_a_failing_optional_check_degrades() -> None:
    report = await examine([Check("database", pass_check), Check("redis", fail_check, required=False)])
    assert report.status is Health.DEGRADED
    assert report.http_status == 200


async def test_a_check_may_report_itself_as_degraded() -> None:
    report = await examine([Check("models", degrade)])
    assert report.status is Health.DEGRADED
    assert report.checks["models"].message == "no trained model yet"


@in_virtual_time
async def test_a_hanging_check_times_out_and_the_others_still_report() -> None:
    report = await examine([Check("database", hang, limit_seconds=0.05), Check("kafka", pass_check)])
    assert report.checks["database"].message == "no response within 0.05 s"
    assert report.checks["database"].latency_seconds == pytest.approx(0.05)
    assert report.checks["kafka"].status is Health.HEALTHY


async def test_a_missing_redis_is_healthy_and_a_missing_model_degrades() -> None:
    report = await examine([redis_check(None), models_check(lambda: 0)])
    assert report.checks["redis"].status is Health.HEALTHY
    assert report.checks["models"].status is Health.DEGRADED
    assert (await examine([models_check(lambda: 2)])).status is Health.HEALTHY


async def test_an_unavailable_kafka_degrades_with_the_reason_of_librdkafka() -> None:
    check = kafka_check("127.0.0.1:1", "metrics.raw")
    # The reason comes after the client's own limit; on a busy machine that may be later than the limit of the check.
    report = await examine([replace(check, limit_seconds=240.0)])
    result = report.checks["kafka"]
    assert report.status is Health.DEGRADED
    assert "127.0.0.1:1" in (result.message or "")
    assert check.limit_seconds == 2.0


@pytest.fixture
async def server() -> AsyncIterator[TelemetryServer]:
    checks = [Check("database", pass_check), Check("kafka", degrade)]
    async with TelemetryServer("127.0.0.1", 0, checks=checks, ready=[Check("schema", fail_check)]) as running:
        yield running


async def test_the_server_has_health_readiness_liveness_and_metrics(server: TelemetryServer) -> None:
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


async def test_a_port_in_use_is_a_settings_error_that_names_it(server: TelemetryServer) -> None:
    with pytest.raises(SettingsError, match=f"port {server.port} for health and metrics: Address already in use"):
        await TelemetryServer("127.0.0.1", server.port).start()
