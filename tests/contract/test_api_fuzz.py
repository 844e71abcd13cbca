"""Any combination of parameters returns a result or a problem document, never a server error.

The parameters come from the OpenAPI document, so that new routes are covered without a change here.
"""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import cache
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from predictive_scaling.api.application import create_app
from predictive_scaling.api.services import Services
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_services import (
    NOW,
    a_decision,
    a_forecast,
    a_policy,
    a_shadow_hour,
    an_event,
    api_client,
    api_services,
)

UNUSUAL_TEXTS = [
    "",
    " ",
    "\x00",
    "\x7f",
    "\n",
    "\ud800",
    "é",
    "🛒",
    "%",
    "%00",
    "'",
    '"',
    "\\",
    "a" * 5000,
    "null",
    "true",
    "NaN",
    "[]",
]
NUMBERS = [
    "0",
    "-1",
    "1",
    "500",
    "501",
    "2147483648",
    "9223372036854775808",
    "1" * 400,
    "1e9",
    "1.5",
    "١",
    "0x10",
    "+1",
]
TIMES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "2026-11-27T08:00:00Z",
    "2026-11-27T08:00:00.123456789Z",
    "2026-02-30T00:00:00Z",
    "2026-11-27",
    "1764000000",
    "now",
    "1969-12-31T23:59:59Z",
    "2026-11-27T24:00:00Z",
    "2026-11-27T08:00:60Z",
    "-2026-11-27T08:00:00Z",
]
DURATIONS = ["24h", "0s", "1m", "400d", "401d", "999999999999999d", "1" * 39 + "d", "PT24H", "P1D", "-1h"]
CURSORS = [
    "bnVsbA",
    "W10",
    "WyJhIiwiYiJd",
    "WyIyMDI2LTExLTI3VDA4OjAwOjAwKzAwOjAwIiwiYSIsImIiXQ",
    "MjAyNi0xMS0yN1QwODowMDowMCswMDowMCBhMQ",
    "MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OSBh",
    "OTk5OS0xMi0zMVQyMzo1OTo1OS0yMzo1OSBh",
    "WyJcdWQ4MDAiLCJiIl0",
]

values = st.sampled_from(
    [*UNUSUAL_TEXTS, *NUMBERS, *TIMES, *DURATIONS, *CURSORS, "checkout", "shop", "failed"]
) | st.text(max_size=40)


@cache
def operations() -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return method, path and parameters of every GET route."""
    schema = create_app(_no_services()).openapi()
    return [
        (method, path, operation.get("parameters", []))
        for path, item in sorted(schema["paths"].items())
        for method, operation in item.items()
        if method == "get" and path.startswith("/api") and path != "/api/v1/changes"  # a stream does not end
    ]


def _no_services() -> Services:
    return Services(*cast("Any", (None, None, None, None)))  # no route is called


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]], dict[str, str]]:
    """A path, query parameters (including repeated and unknown names) and headers."""
    _, path, parameters = draw(st.sampled_from(operations()))
    for parameter in parameters:
        if parameter["in"] == "path":
            path = path.replace(
                f"{{{parameter['name']}}}", quote(draw(values).encode("utf-8", "surrogatepass"), safe="") or "%20"
            )
    names = [parameter["name"] for parameter in parameters if parameter["in"] == "query"]
    query = draw(st.lists(st.tuples(st.sampled_from([*names, "service", "unknown"]), values), max_size=4))
    required = [
        (parameter["name"], "checkout")
        for parameter in parameters
        if parameter["in"] == "query" and parameter.get("required")
    ]
    query += [pair for pair in required if draw(st.booleans()) and pair[0] not in dict(query)]
    headers = draw(
        st.dictionaries(
            st.sampled_from(["Accept-Encoding", "If-None-Match"]),
            st.sampled_from(["*", "gzip;q=x", ",", '"']),
            max_size=2,
        )
    )
    return path, query, headers


def encoded(query: list[tuple[str, str]]) -> bytes:
    pairs = (
        b"=".join(quote(part.encode("utf-8", "surrogatepass"), safe="").encode() for part in pair) for pair in query
    )
    return b"&".join(pairs)


def test_any_parameters_return_a_result_or_a_problem(migrated_database_url: str) -> None:
    async def start(stack: AsyncExitStack) -> httpx.AsyncClient:
        services = await stack.enter_async_context(api_services(migrated_database_url))
        await services.policies.record([a_policy("checkout"), a_policy("cart", floor=None, advice=None)])
        await services.shadow_hours.record([a_shadow_hour("checkout")])
        await services.predictions.record(a_forecast("checkout"))
        await ScalingDecisions(services.database).intend(a_decision())
        await services.events.record([an_event(start_time=NOW + timedelta(hours=hour)) for hour in range(3)])
        return await stack.enter_async_context(api_client(services))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        client = runner.run(start(stack))

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(requests())
        @example(("/api/v1/events", [("from", "9999-12-31T23:59:59Z")], {}))
        @example(("/api/v1/events", [("to", "0001-01-01T00:00:00Z")], {}))
        @example(("/api/v1/predictions", [("service", "checkout"), ("from", "9999-12-31T23:59:59Z")], {}))
        @example(("/api/v1/predictions", [("service", "checkout"), ("to", "0001-01-01T00:00:00+23:59")], {}))
        @example(("/api/v1/metrics/accuracy", [("window", "400d")], {}))
        def check(request: tuple[str, list[tuple[str, str]], dict[str, str]]) -> None:
            path, query, headers = request
            url = httpx.URL("http://api").copy_with(raw_path=path.encode() + b"?" + encoded(query))
            response = runner.run(client.get(url, headers=headers))
            assert response.status_code in (200, 304, 404, 422), f"{url}: {response.status_code} {response.text}"
            if response.content and "json" in response.headers["content-type"]:
                document = json.loads(response.content, parse_constant=lambda name: pytest.fail(f"{name} in {url}"))
                assert response.status_code == 200 or document["status"] == response.status_code

        try:
            check()
        finally:
            runner.run(stack.aclose())
