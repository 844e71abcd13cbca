"""Lists of the HTTP API: pages, entity tags, compression, and valid JSON for any data."""

import gzip
import json
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from predictive_scaling.api.decisions import Decisions
from predictive_scaling.api.events import Events
from predictive_scaling.api.policies import PolicyList
from predictive_scaling.api.predictions import CurrentPredictions, PredictionsOfSpan
from predictive_scaling.api.responses import VersionedResponses
from predictive_scaling.api.services import Services
from predictive_scaling.api.status import ScalingStatus
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.support.api_services import NOW, a_decision, a_forecast, a_policy, a_tuning, an_event, get_json

NAMES = [f"policy-{number:02}" for number in range(7)]
LISTS = [
    ("scaling/status", "policies", ScalingStatus),
    ("policies", "policies", PolicyList),
    ("policies?service=web", "policies", PolicyList),
    ("predictions/current", "predictions", CurrentPredictions),
    ("predictions/current?service=web", "predictions", CurrentPredictions),
    ("predictions?service=web", "predictions", PredictionsOfSpan),
    ("events", "events", Events),
    ("scaling/decisions", "decisions", Decisions),
]


@pytest.fixture
async def populated(services: Services) -> Services:
    await services.policies.record([a_policy(name, service_name="web", updated_at=NOW) for name in reversed(NAMES)])
    for name in NAMES:
        await services.predictions.record(a_forecast(name, service_name="web"))
        await ScalingDecisions(services.database).intend(
            a_decision(name, policy=name, created_at=NOW - timedelta(minutes=5))
        )
    # Each pair of events has the same start.
    await services.events.record(
        [an_event(name, start_time=NOW + timedelta(hours=1 + index // 2)) for index, name in enumerate(NAMES)]
    )
    return services


async def pages(client: httpx.AsyncClient, path: str, key: str, limit: int) -> Sequence[Any]:
    """Return all items, read page by page."""
    items: list[Any] = []
    cursor, separator = "", "&" if "?" in path else "?"
    while True:
        body = await get_json(client, f"/api/v1/{path}{separator}limit={limit}{cursor}")
        assert 0 < len(body[key]) <= limit, "no page is empty"
        items += body[key]
        if body["next_cursor"] is None:
            return items
        assert len(body[key]) == limit
        cursor = f"&cursor={body['next_cursor']}"


@pytest.mark.usefixtures("populated")
@pytest.mark.parametrize(("path", "key", "model"), LISTS)
@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_the_pages_together_are_the_list(
    client: httpx.AsyncClient, path: str, key: str, model: Any, limit: int
) -> None:
    full_list = await get_json(client, f"/api/v1/{path}")
    assert full_list["next_cursor"] is None
    assert len(full_list[key]) == len(NAMES)
    assert await pages(client, path, key, limit) == full_list[key]
    # The hand-written encoding matches the response model.
    assert json.loads(model.model_validate(full_list).model_dump_json()) == full_list


@pytest.mark.usefixtures("populated")
async def test_the_summary_covers_all_policies_on_every_page(client: httpx.AsyncClient) -> None:
    page = await get_json(client, "/api/v1/scaling/status?limit=2")
    assert (len(page["policies"]), page["summary"]["policies"], page["summary"]["auto"]) == (2, 7, 7)


async def test_a_list_without_a_limit_has_a_page_of_100(services: Services, client: httpx.AsyncClient) -> None:
    await services.policies.record([a_policy(f"policy-{number:03}") for number in range(120)])
    body = await get_json(client, "/api/v1/scaling/status")
    assert len(body["policies"]) == 100
    assert body["summary"]["policies"] == 120
    rest = await get_json(client, f"/api/v1/scaling/status?cursor={body['next_cursor']}")
    assert [policy["policy"] for policy in rest["policies"]] == [f"policy-{number:03}" for number in range(100, 120)]


@pytest.mark.usefixtures("populated")
@pytest.mark.parametrize(("path", "key", "model"), LISTS)
async def test_a_matching_entity_tag_is_answered_304(
    client: httpx.AsyncClient, path: str, key: str, model: Any
) -> None:
    del key, model
    first = await client.get(f"/api/v1/{path}")
    matching = await client.get(f"/api/v1/{path}", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (matching.status_code, matching.content, matching.headers["etag"]) == (304, b"", first.headers["etag"])
    other = await client.get(f"/api/v1/{path}", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize("change", ["edited", "added", "deleted", "edited in the same moment"])
async def test_a_changed_policy_is_visible_at_once(populated: Services, client: httpx.AsyncClient, change: str) -> None:
    before = await client.get("/api/v1/scaling/status")
    if change == "added":
        await populated.policies.record([a_policy("another")])
    elif change == "deleted":
        await populated.policies.forget_others([("shop", name) for name in NAMES[1:]])
    else:
        updated_at = NOW if change == "edited in the same moment" else NOW + timedelta(seconds=1)
        await populated.policies.record([a_policy(NAMES[0], service_name="web", floor=11, updated_at=updated_at)])
    for path in ("scaling/status", "policies"):
        after = await client.get(f"/api/v1/{path}", headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        policies = {policy["policy"]: policy["floor"] for policy in after.json()["policies"]}
        expected = dict.fromkeys(NAMES, 9)
        expected_after = {"added": {**expected, "another": 9}, "deleted": dict.fromkeys(NAMES[1:], 9)}
        assert policies == expected_after.get(change, {**expected, NAMES[0]: 11})


@pytest.mark.usefixtures("populated")
@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("br;q=1.0, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_a_long_list_is_compressed_if_the_client_accepts_gzip(
    client: httpx.AsyncClient, accepted: str, is_compressed: bool
) -> None:
    plain = await client.get("/api/v1/policies", headers={"Accept-Encoding": "identity"})
    async with client.stream("GET", "/api/v1/policies", headers={"Accept-Encoding": accepted}) as response:
        raw = b"".join([part async for part in response.aiter_raw()])
    assert (response.headers.get("content-encoding") == "gzip") is is_compressed
    assert (gzip.decompress(raw) if is_compressed else raw) == plain.content
    assert response.headers["vary"] == "Accept-Encoding"


async def test_pages_of_data_quality_end_with_the_last_series(services: Services, client: httpx.AsyncClient) -> None:
    await services.policies.record([a_policy(name) for name in ("a", "b", "c", "d")])
    for limit in (1, 2, 3, 4):
        listed = await pages(client, "metrics/quality", "series", limit)
        assert [series["service_name"] for series in listed] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "bnVsbA", "WyJhIl0", "W10", "WzEsMl0", "WyJhXHUwMDAwIiwiYiJd", "é", "="]
)
@pytest.mark.parametrize(
    "path", ["scaling/status", "policies", "predictions/current", "predictions?service=a", "events"]
)
async def test_an_invalid_cursor_is_refused(client: httpx.AsyncClient, path: str, cursor: str) -> None:
    response = await client.get(
        f"/api/v1/{path}", params={**httpx.QueryParams(path.partition("?")[2]), "cursor": cursor}
    )
    assert response.status_code == 422, response.text
    assert response.json()["reason"] == "InvalidCursor"


async def test_nan_and_infinity_are_null(services: Services, client: httpx.AsyncClient) -> None:
    not_finite = (math.nan, math.inf, -math.inf)
    for number, value in enumerate(not_finite):
        name = f"policy-{number}"
        await services.events.record([an_event(name, multiplier=value, learned_multiplier=value)])
        await services.tunings.record(
            [a_tuning(name, hours_saved=value, recorded_share=value, points=[[value] * 6], alone=[value] * 6)]
        )
        body = await get_json(client, f"/api/v1/policies/shop/{name}/frontier")
        assert (body["replica_hours_saved"], body["hpa_only"]["replica_hours"]) == (None, None)
    events = (await get_json(client, "/api/v1/events"))["events"]
    assert [(event["multiplier"], event["learned_multiplier"]) for event in events] == [(None, None)] * 3


async def test_cached_responses_are_bounded_in_number_and_size() -> None:
    cache = VersionedResponses()

    async def large() -> bytes:
        return b"x" * (5 << 20)

    async def small() -> bytes:
        return b"x"

    for number in range(20):
        await cache.get(f"large {number}", "1", large)
    assert cache.cached_bytes <= 32 << 20
    for number in range(1000):
        await cache.get(f"small {number}", "1", small)
    assert len(cache) == 256
