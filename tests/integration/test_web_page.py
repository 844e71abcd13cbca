"""The web page in a real browser; skipped where Chromium is not installed."""

import json
import math
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.clock import WallClock, monotonic
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.samples import Sample, Samples, series_of
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.storage.tunings import Tunings
from tests.support.api_process import ApiProcess, api_running
from tests.support.api_services import a_decision, a_forecast, a_performance, a_policy, a_tuning, an_event
from tests.support.browser import CHROMIUM, Page, browser_page
from tests.support.eventually import eventually

pytestmark = [pytest.mark.integration, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

MINUTE = timedelta(minutes=1)
POLICIES = 1000
SCREENSHOTS = os.environ.get("WEB_PAGE_SCREENSHOTS")
"""A folder for screenshots; docs/images/web-page.png is one of them."""
TOKEN = "a-token-of-the-test-" + "0123456789" * 3
SHADOW: dict[str, Any] = {
    "since": "2026-11-20T08:00:00Z",
    "until": "2026-11-27T08:00:00Z",
    "coveredHours": "166",
    "decisions": 41,
    "minutesShort": "38",
    "minutesShortAvoided": "31",
    "replicaHours": "1512",
    "replicaHoursAdded": "61",
    "largest": [{"time": "2026-11-26T18:00:00Z", "minutesShortAvoided": "9", "replicaHoursAdded": "2"}],
}


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    """A thousand policies; shop/checkout has demand, forecasts, replicas, decisions, an event and a frontier."""
    now = WallClock().now()
    async with Database(migrated_database_url) as database:
        names = [f"policy-{number:04}" for number in range(POLICIES - 1)]
        recorded = now - timedelta(hours=7)
        await Policies(database).record([a_policy(name, namespace="web", updated_at=recorded) for name in names])
        await fill_checkout(database, now)
        yield database


async def fill_checkout(database: Database, now: datetime) -> None:
    def demand(minute: int) -> float:
        return 420.0 + 260 * math.sin(minute / 95) + 14 * math.sin(minute * 2.3) + 9 * math.sin(minute * 1.1)

    def point(origin: int, ahead: int) -> Prediction:
        (first, *_), value = a_forecast(created_at=now + origin * MINUTE), demand(origin + ahead)
        spread = 40 + ahead / 2
        quantiles = {"p10": value - spread, "p50": value, "p80": value + spread / 2, "p90": value + spread}
        return replace(first, target_time=now + (origin + ahead) * MINUTE, p95=value + 1.3 * spread, **quantiles)

    labels: dict[str, str] = {}
    await Samples(database).record(
        [
            Sample(now + minute * MINUTE, "checkout", "requests_per_second", series_of(labels), demand(minute), labels)
            for minute in range(-400, 0)
        ]
    )
    for origin in range(-390, 1, 5):
        await Predictions(database).record([point(origin, ahead) for ahead in range(0, 65, 5)])
    for minute in range(-400, 1, 10):
        floor = max(2, int(demand(minute + 15) / 60) + 1)
        ready = floor if minute % 40 else floor - 1
        numbers: dict[str, Any] = {"floor": floor, "current_replicas": floor, "ready_replicas": ready}
        await Policies(database).record(
            [
                a_policy(
                    mode="Recommend", updated_at=now + minute * MINUTE, shadow=SHADOW, last_decision_at=now, **numbers
                )
            ]
        )
    for number, (status, reason) in enumerate([("succeeded", "ForecastRose"), ("failed", "ForecastRose")] * 3):
        created_at = now - number * 37 * MINUTE
        await ScalingDecisions(database).intend(
            a_decision(f"d{number}", created_at=created_at, status=status, reason=reason)
        )
    await BusinessEvents(database).record([an_event(start_time=now + 25 * MINUTE, end_time=now + 120 * MINUTE)])
    await ModelPerformances(database).record([a_performance(until=now - timedelta(hours=1))])
    await Tunings(database).record([a_tuning(tuned_at=now)])


@pytest.fixture
async def api(database: Database, migrated_database_url: str, tmp_path: Path) -> AsyncIterator[ApiProcess]:
    del database
    async with api_running(migrated_database_url, tmp_path) as api:
        yield api


async def save(page: Page, name: str) -> None:
    if SCREENSHOTS is not None:
        await page.screenshot(Path(SCREENSHOTS) / name)


async def test_a_thousand_policies_cost_few_requests_and_changes_arrive(api: ApiProcess, database: Database) -> None:
    async with browser_page() as page:
        began = monotonic()
        await page.open(f"{api.url}/")
        await page.shows("web/policy-0040", "#policies")
        sizes = await page.evaluate(
            "performance.getEntriesByType('resource')"
            ".map((entry) => [entry.name, entry.transferSize, entry.responseEnd])"
        )
        print(f"\nopened after {max(end for *_, end in sizes):.0f} ms, {monotonic() - began:.2f} s with the check")
        # What makes it fast on any machine: few and small requests, and few rows.
        assert len(sizes) < 20
        assert sum(size for _, size, _ in sizes) < 100_000
        assert await page.evaluate("document.querySelectorAll('#policies tbody tr').length") == 50
        assert "1,000" in await page.text(".tiles")
        assert "flash-sale" in await page.text("#events")
        assert "The forecast for 08:03 needs 9 replicas." in await page.text("#decisions")
        await page.shows("Live", "#connection")
        await save(page, "policies.png")

        # The next page, a search, and a change that arrives without a request of the user.
        await page.evaluate("document.querySelectorAll('#policies .buttons button')[1].click()")
        await page.shows("51 to 100", "#policies")
        await page.evaluate(
            "const field = document.getElementById('search'); field.value = 'SHOP/'; "
            "field.dispatchEvent(new Event('input'))"
        )
        await page.shows("1 to 1", "#policies")
        await page.evaluate("document.querySelector('#policies tbody a').focus()")
        await Policies(database).record([a_policy(floor=33, updated_at=WallClock().now())])
        await page.shows("33", "#policies tbody")
        # An update keeps the focus.
        assert await page.evaluate("document.activeElement.textContent") == "shop/checkout"
        await page.press("Enter")
        await page.shows("Over time", "#timeline")
        assert page.problems == []


async def test_a_policy_is_drawn_and_readable_without_seeing_it(api: ApiProcess) -> None:
    async with browser_page(1280, 1000) as page:
        await page.open(f"{api.url}/#/policies/shop/checkout")
        await page.shows("band p10 to p95", "#timeline .readout")
        for line in ("value", "p50", "floor", "current_replicas", "ready_replicas"):
            assert len(await page.evaluate(f"document.querySelector('path.line.{line}').getAttribute('d')")) > 50, line
        assert len(await page.evaluate("document.querySelector('#timeline path.band').getAttribute('d')")) > 500
        assert await page.evaluate("document.querySelectorAll('#timeline rect.event').length") == 2
        await page.shows("in use", "#frontier")
        assert await page.evaluate("document.querySelectorAll('#frontier circle').length") == 4
        assert await page.evaluate("document.querySelectorAll('#frontier circle.dot-in-use').length") == 1
        assert "9 replicas were ready after 52 s." in await page.text("#decisions")
        assert "31" in await page.text("#shadow")
        await page.shows("10 %", "#accuracy")
        description = await page.evaluate("document.querySelector('#timeline svg desc').textContent")
        assert description.startswith("Demand is ")
        assert "The forecast reaches " in description
        # The charts have their numbers as tables, and a cursor for the keyboard that reads a time out.
        await page.evaluate("document.querySelector('#timeline summary').click()")
        assert await page.evaluate("document.querySelectorAll('#timeline details[open] tbody tr').length") > 30
        await page.evaluate("document.querySelector('#timeline details').open = false")
        await page.evaluate("document.querySelector('#timeline input[type=range]').focus()")
        before = await page.text("#timeline .readout")
        for _ in range(5):
            await page.press("ArrowLeft")
        after = await page.text("#timeline .readout")
        assert after != before
        assert await page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == after
        await page.resize(1280, 1500)
        await save(page, "policy-light.png")
        await page.prefer(prefers_color_scheme="dark")
        await save(page, "policy-dark.png")
        await page.resize(390, 900)
        await save(page, "policy-narrow.png")
        # Nothing but tables is wider than a telephone.
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.problems == []


async def test_the_page_works_with_the_keyboard_and_is_named(api: ApiProcess) -> None:
    async with browser_page() as page:
        await page.prefer(prefers_reduced_motion="reduce")
        await page.open(f"{api.url}/")
        await page.shows("web/policy-0040", "#policies")
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "skip"
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "content"
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "search"
        await page.shows("Live", "#connection")
        assert await page.evaluate("getComputedStyle(document.querySelector('.dot')).animationName") == "none"
        tree = await page.call("Accessibility.getFullAXTree")
        nodes = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node.get("ignored")
        ]
        roles = {role for role, _ in nodes}
        assert {"banner", "main", "navigation", "search", "table", "columnheader", "rowheader", "status"} <= roles
        unnamed = [
            role
            for role, name in nodes
            if role in ("button", "link", "searchbox", "combobox", "table", "region") and not name
        ]
        assert unnamed == []


async def test_a_token_is_asked_for_kept_in_the_tab_and_sent_in_the_header_only(
    database: Database, migrated_database_url: str, tmp_path: Path
) -> None:
    del database
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN},viewer,read,*\n")
    tokens.chmod(0o600)
    settings = {
        "PREDICTIVE_SCALING_API_AUTHENTICATION": "tokens",
        "PREDICTIVE_SCALING_API_TOKENS_FILE": str(tokens),
    }
    async with api_running(migrated_database_url, tmp_path, **settings) as api, browser_page() as page:
        await page.open(f"{api.url}/")
        await page.shows("the request has no token", "dialog[open]")
        assert "web/policy" not in await page.text("body")

        async def sign_in(token: str) -> None:
            await page.evaluate(f"document.getElementById('token').value = {json.dumps(token)}")
            await page.evaluate("document.querySelector('dialog button[value=use]').click()")

        await sign_in("another-token")
        await page.shows("the token is not valid", "dialog[open]")
        await sign_in(TOKEN)
        await page.shows("web/policy-0040", "#policies")
        await page.shows("Live", "#connection")
        assert TOKEN not in await page.evaluate("location.href + document.cookie + JSON.stringify({...localStorage})")
        assert TOKEN in await page.evaluate("JSON.stringify({...sessionStorage})")
        requested = await page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(url.startswith(api.url) for url in requested), "the page works offline"
        assert not any(TOKEN in url for url in requested)
        await page.evaluate("document.getElementById('sign-in').click()")
        await page.evaluate("document.querySelector('dialog button[value=forget]').click()")
        await page.shows("the request has no token", "dialog[open]")
        assert await page.evaluate("sessionStorage.length") == 0
        assert TOKEN not in api.log.read_text()


async def test_a_lost_connection_is_shown_and_ends(api: ApiProcess, migrated_database_url: str, tmp_path: Path) -> None:
    async with browser_page() as page:
        await page.open(f"{api.url}/")
        await page.shows("Live", "#connection")
        assert await api.terminate() == 0
        await page.shows("shown data may be old", "#connection")
        assert "web/policy-0040" in await page.text("#policies")
        folder = tmp_path / "again"
        folder.mkdir()
        async with api_running(migrated_database_url, folder, api.port):
            await page.shows("Live", "#connection")

            async def problems() -> str:
                return await page.text("#problems")

            await eventually(problems, lambda text: text == "")
