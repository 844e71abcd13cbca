"""Traces of the real API process and of its requests, received over a real connection."""

from pathlib import Path

import pytest

from tests.support.api_process import api_running, log_events
from tests.support.trace_collector import trace_collector

pytestmark = pytest.mark.integration


async def test_the_api_sends_the_span_of_a_request_and_logs_its_id(migrated_database_url: str, tmp_path: Path) -> None:
    with trace_collector() as collector:
        async with api_running(migrated_database_url, tmp_path, **collector.environment()) as api:
            assert (await api.get("/api/v1/policies")).status_code == 200
            request = await collector.received("GET /api/v1/policies")
            assert await api.terminate() == 0
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource["service.name"] == "predictive-scaling-api"


async def test_the_api_ends_although_the_collector_does_not_answer(migrated_database_url: str, tmp_path: Path) -> None:
    with trace_collector() as collector:
        collector.answers.clear()
        async with api_running(migrated_database_url, tmp_path, **collector.environment()) as api:
            assert (await api.get("/api/v1/policies")).status_code == 200
            assert await api.terminate() == 0
    assert "api_stopped" in [event["event"] for event in log_events(api.log)]
