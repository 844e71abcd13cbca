"""Problem responses of the API. There is no database: a route that needs one responds with status 503."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from predictive_scaling.api.application import create_app
from predictive_scaling.api.request_limits import REQUESTS, RequestLimits
from predictive_scaling.api.services import Services
from tests.support.api_services import UNREACHABLE_DATABASE, api_client, api_services
from tests.support.virtual_time import in_virtual_time

STATUSES = (
    "'pending', 'executing', 'verifying', 'succeeded', 'failed', 'rolled_back', 'recommended', 'superseded' or "
    "'cancelled'"
)


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with api_services(UNREACHABLE_DATABASE) as services:
        yield services


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with api_client(services) as client:
        yield client


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert {"type", "title", "status", "detail"} <= set(body)
    return body


@pytest.mark.parametrize(
    ("path", "parameter", "message"),
    [
        ("scaling/decisions?limit=0", "limit", "input should be greater than or equal to 1; given '0'"),
        ("scaling/decisions?limit=1000000000", "limit", "input should be less than or equal to 500"),
        ("scaling/decisions?limit=ten", "limit", "input should be a valid integer"),
        ("scaling/decisions?status=foo", "status", STATUSES),
        ("scaling/decisions?status=Failed", "status", STATUSES),
        ("scaling/decisions?staus=failed", "staus", "is not a known parameter"),
        ("scaling/decisions?service=", "service", "at least 1 character"),
        ("scaling/decisions?service=a%00b", "service", "control characters are not allowed"),
        (f"scaling/decisions?service={'a' * 300}", "service", "at most 253 characters"),
        (f"scaling/decisions?cursor={'a' * 600}", "cursor", "at most 512 characters"),
        ("scaling/status?verbose=1", "verbose", "is not a known parameter"),
        ("predictions", "service", "is required"),
        ("predictions?service=a&from=2026-11-27T08:00:00", "from", "write an RFC 3339 time with its offset"),
        ("predictions?service=a&from=yesterday", "from", "write an RFC 3339 time with its offset"),
        (
            "predictions?service=a&from=2026-11-27T08:00:00Z&to=2026-11-27T08:00:00Z",
            "query",
            "to must be after from, by 7 days at most",
        ),
        (
            "predictions?service=a&from=2026-01-01T00:00:00Z&to=2026-11-27T08:00:00Z",
            "query",
            "to must be after from, by 7 days at most",
        ),
        ("metrics/accuracy?window=yesterday", "window", "is not a duration; write it as 90s, 15m or 1h30m"),
        ("metrics/accuracy?window=1s", "window", "must be between 1m and 400d"),
        ("metrics/accuracy?window=9999999d", "window", "must be between 1m and 400d"),
        ("metrics/accuracy?window=99999999999999999d", "window", "longer than the longest supported duration"),
        ("events?from=20261127T080000Z", "from", "write an RFC 3339 time with its offset"),
        ("events?from=2026-02-30T00:00:00Z", "from", "write an RFC 3339 time with its offset"),
        ("events?from=2026-11-27", "from", "write an RFC 3339 time with its offset"),
        ("events?from=9999-12-31T23:59:59Z", "from", "the time must be between the years 1970 and 2199"),
        ("events?to=0001-01-01T00:00:00Z", "to", "the time must be between the years 1970 and 2199"),
        ("events?to=0001-01-01T00:00:00%2B14:00", "to", "the time must be between the years 1970 and 2199"),
        ("predictions?service=a&from=9999-12-31T23:59:59-12:00", "from", "between the years 1970 and 2199"),
        ("predictions?service=a&to=0001-01-01T00:00:00Z", "to", "between the years 1970 and 2199"),
        ("commands/0", "id", "greater than or equal to 1"),
        ("commands/99999999999999999999", "id", "less than or equal to 9223372036854775807"),
        ("commands/latest", "id", "valid integer"),
    ],
)
async def test_an_invalid_parameter_is_named_with_the_allowed_values(
    client: httpx.AsyncClient, path: str, parameter: str, message: str
) -> None:
    body = assert_problem(await client.get(f"/api/v1/{path}"), 422)
    assert body["reason"] == "InvalidParameter"
    (error,) = body["errors"]
    assert error["parameter"] == parameter
    assert message in error["message"]
    assert body["detail"].startswith(f"{parameter}: ")


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "%FF%FE",
        "bm90IGEgdGltZQ",
        "MjAyNi0xMS0yN1QwODowMDowMCBhMQ",
        "2026-11-27T08:00:00Z",
        "'; drop table x",
    ],
)
async def test_an_invalid_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    body = assert_problem(await client.get("/api/v1/scaling/decisions", params={"cursor": cursor}), 422)
    assert body["reason"] == "InvalidCursor"
    assert body["detail"].startswith("cursor: ")


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/api/v1/scaling/decisions/", "/api/v2/events"])
async def test_an_unknown_path_is_a_problem_that_names_it(client: httpx.AsyncClient, path: str) -> None:
    body = assert_problem(await client.get(path), 404)
    assert body["detail"].startswith(f"{path} does not exist")
    assert body["instance"] == path


async def test_a_body_that_is_no_text_is_an_invalid_parameter(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    body = assert_problem(await client.post("/api/v1/models/reload", content=b"\xff", headers=headers), 422)
    assert body["errors"] == [{"parameter": "body", "location": "body", "message": "is not JSON in UTF-8"}]


@pytest.mark.parametrize("query", ["service=checkout", "namespace=shop"])
async def test_a_parameter_of_a_command_is_refused_rather_than_ignored(client: httpx.AsyncClient, query: str) -> None:
    for method, path in (("DELETE", "scaling/decisions/stuck"), ("POST", "models/reload"), ("GET", "commands/1")):
        body = assert_problem(await client.request(method, f"/api/v1/{path}?{query}"), 422)
        assert body["errors"][0]["message"].startswith("is not a known parameter")


async def test_an_unsupported_method_is_a_problem_with_the_allowed_methods(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/v1/scaling/decisions")
    body = assert_problem(response, 405)
    assert response.headers["allow"] == "GET"
    assert "POST" in body["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "scaling/decisions",
        "scaling/status",
        "predictions/current",
        "predictions?service=a",
        "metrics/accuracy",
        "events",
        "policies",
        "commands/1",
    ],
)
async def test_without_a_database_every_route_responds_with_503_quickly_and_without_secrets(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(f"/api/v1/{path}")
    body = assert_problem(response, 503)
    assert body["reason"] == "DatabaseUnavailable"
    assert int(response.headers["retry-after"]) > 0
    assert "hunter2" not in response.text


async def test_a_reload_has_no_path_or_url_parameter(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/v1/models/reload", json={"path": "/etc/passwd", "url": "http://evil"})
    body = assert_problem(response, 422)
    assert {error["parameter"] for error in body["errors"]} == {"path", "url"}
    assert all(error["message"].startswith("is not a known parameter") for error in body["errors"])


@pytest.mark.parametrize("content", [b"not json", b"[]", b'"x"', b"\xff\xfe"])
async def test_a_malformed_body_is_a_problem(client: httpx.AsyncClient, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(await client.post("/api/v1/models/reload", content=content, headers=headers), 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_a_body_with_another_content_type_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    headers = {"Content-Type": kind}
    body = assert_problem(await client.post("/api/v1/models/reload", content=b"{}", headers=headers), 415)
    assert "send application/json or no body" in body["detail"]


async def test_a_large_body_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    content = b'{"a": "' + b"a" * (1 << 20) + b'"}'
    assert_problem(await client.post("/api/v1/models/reload", content=content, headers=headers), 413)


async def test_a_large_body_of_unknown_length_is_refused_while_it_is_received(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield b"a" * 65536

    headers = {"Content-Type": "application/json"}
    response = await client.post("/api/v1/models/reload", content=endless(), headers=headers)
    assert_problem(response, 413)
    assert sent < 3 << 20


async def test_a_body_that_never_ends_times_out(services: Services) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with api_client(replace(services, request_limit_seconds=0.1)) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post("/api/v1/models/reload", content=trickle(), headers=headers)
    body = assert_problem(response, 408)
    assert "within 0.1 s" in body["detail"]


@in_virtual_time
async def test_an_unexpected_error_is_a_problem_without_its_text() -> None:
    application = FastAPI()
    application.add_middleware(RequestLimits, limit_seconds=0.1)

    @application.get("/broken")
    async def broken() -> None:  # pyright: ignore[reportUnusedFunction] (a route)
        raise RuntimeError("secret")

    @application.get("/slow")
    async def slow() -> None:  # pyright: ignore[reportUnusedFunction] (a route)
        await asyncio.Event().wait()

    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        body = assert_problem(await client.get("/broken"), 500)
        assert "secret" not in str(body)
        body = assert_problem(await client.get("/slow"), 503)
        assert "within 0.1 s" in body["detail"]


async def test_openapi_describes_every_route_field_and_problem(services: Services) -> None:
    schema = create_app(services).openapi()
    for path, item in schema["paths"].items():
        for operation in item.values():
            assert operation["description"].endswith((".", "answered.")), path
            if path.startswith("/api/"):
                problem = operation["responses"]["503"]["content"]
                assert list(problem) == ["application/problem+json"], path
    assert "detail" in schema["components"]["schemas"]["Problem"]["properties"]
    limit = next(
        parameter
        for parameter in schema["paths"]["/api/v1/scaling/decisions"]["get"]["parameters"]
        if parameter["name"] == "limit"
    )
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 500)


async def test_the_docs_page_loads_nothing_from_other_hosts(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs")
    assert response.status_code == 200
    text = response.text
    assert "/api/v1/scaling/decisions" in text
    assert "next_cursor" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Predictive scaling"


async def test_metrics_count_requests_by_route_and_never_by_path(client: httpx.AsyncClient) -> None:
    await client.get("/api/v1/secret-path-of-a-caller")
    await client.get("/api/v1/commands/77")
    await client.request("INVENTED", "/nothing")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    text = response.text
    assert 'predictive_scaling_api_requests_total{method="GET",route="/api/v1/commands/{id}",status="503"}' in text
    assert 'predictive_scaling_api_requests_total{method="any",route="unknown",status="404"}' in text
    assert "secret-path" not in text
    assert "INVENTED" not in text
    assert "prediction_latency_seconds_bucket" in text
    assert "process_cpu_seconds_total" in text


async def test_unknown_http_methods_share_one_metric_series(client: httpx.AsyncClient) -> None:
    for number in range(20):
        await client.request(f"INVENTED{number}", "/api/v1/scaling/status")
    methods = {sample.labels.get("method") for metric in REQUESTS.collect() for sample in metric.samples}
    assert "other" in methods
    assert not any(str(method).startswith("INVENTED") for method in methods)
