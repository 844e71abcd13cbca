"""Lists are read in pages, sent once, compressed, and are JSON whatever the data."""

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
from tests.support.api_services import NOW, a_decision, a_forecast, a_policy, a_tuning, an_event, answer

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
async def filled(services: Services) -> Services:
    await services.policies.record([a_policy(name, service_name="web", updated_at=NOW) for name in reversed(NAMES)])
    for name in NAMES:
        await services.predictions.record(a_forecast(name, service_name="web"))
        await services.decisions.intend(a_decision(name, policy=name, created_at=NOW - timedelta(minutes=5)))
    # Two events begin together, as do the first occurrences of many.
    await services.events.record(
        [an_event(name, start_time=NOW + timedelta(hours=1 + at // 2)) for at, name in enumerate(NAMES)]
    )
    return services


async def pages(client: httpx.AsyncClient, path: str, key: str, limit: int) -> Sequence[Any]:
    """All items, read page by page."""
    items: list[Any] = []
    cursor, separator = "", "&" if "?" in path else "?"
    while True:
        body = await answer(client, f"/api/v1/{path}{separator}limit={limit}{cursor}")
        assert len(body[key]) <= limit
        items += body[key]
        if body["next_cursor"] is None:
            return items
        assert len(body[key]) == limit
        cursor = f"&cursor={body['next_cursor']}"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("path", "key", "model"), LISTS)
@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_pages_put_together_are_the_list(
    client: httpx.AsyncClient, path: str, key: str, model: Any, limit: int
) -> None:
    whole = await answer(client, f"/api/v1/{path}")
    assert whole["next_cursor"] is None
    assert len(whole[key]) == len(NAMES)
    assert await pages(client, path, key, limit) == whole[key]
    # What is encoded by hand is what the document of the API says.
    assert json.loads(model.model_validate(whole).model_dump_json()) == whole


@pytest.mark.usefixtures("filled")
async def test_the_summary_is_over_all_policies_whatever_the_page(client: httpx.AsyncClient) -> None:
    page = await answer(client, "/api/v1/scaling/status?limit=2")
    assert (len(page["policies"]), page["summary"]["policies"], page["summary"]["auto"]) == (2, 7, 7)


async def test_a_list_without_a_limit_is_a_page_as_well(services: Services, client: httpx.AsyncClient) -> None:
    await services.policies.record([a_policy(f"policy-{number:03}") for number in range(120)])
    body = await answer(client, "/api/v1/scaling/status")
    assert len(body["policies"]) == 100
    assert body["summary"]["policies"] == 120
    rest = await answer(client, f"/api/v1/scaling/status?cursor={body['next_cursor']}")
    assert [each["policy"] for each in rest["policies"]] == [f"policy-{number:03}" for number in range(100, 120)]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("path", "key", "model"), LISTS)
async def test_what_a_client_has_already_is_not_sent_again(
    client: httpx.AsyncClient, path: str, key: str, model: Any
) -> None:
    del key, model
    first = await client.get(f"/api/v1/{path}")
    again = await client.get(f"/api/v1/{path}", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = await client.get(f"/api/v1/{path}", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize("change", ["edited", "added", "deleted", "edited in the same moment"])
async def test_a_changed_policy_is_seen_at_once(filled: Services, client: httpx.AsyncClient, change: str) -> None:
    before = await client.get("/api/v1/scaling/status")
    if change == "added":
        await filled.policies.record([a_policy("another")])
    elif change == "deleted":
        await filled.policies.forget_others([("shop", name) for name in NAMES[1:]])
    else:
        moment = NOW if change == "edited in the same moment" else NOW + timedelta(seconds=1)
        await filled.policies.record([a_policy(NAMES[0], service_name="web", floor=11, updated_at=moment)])
    for path in ("scaling/status", "policies"):
        after = await client.get(f"/api/v1/{path}", headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        policies = {each["policy"]: each["floor"] for each in after.json()["policies"]}
        expected = dict.fromkeys(NAMES, 9)
        changed = {"added": {**expected, "another": 9}, "deleted": dict.fromkeys(NAMES[1:], 9)}
        assert policies == changed.get(change, {**expected, NAMES[0]: 11})


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("br;q=1.0, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_a_long_list_is_compressed_for_clients_that_take_it(
    client: httpx.AsyncClient, accepted: str, is_compressed: bool
) -> None:
    plain = await client.get("/api/v1/policies", headers={"Accept-Encoding": "identity"})
    async with client.stream("GET", "/api/v1/policies", headers={"Accept-Encoding": accepted}) as response:
        raw = b"".join([part async for part in response.aiter_raw()])
    assert (response.headers.get("content-encoding") == "gzip") is is_compressed
    assert (gzip.decompress(raw) if is_compressed else raw) == plain.content
    assert response.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "bnVsbA", "WyJhIl0", "W10", "WzEsMl0", "WyJhXHUwMDAwIiwiYiJd", "é", "="]
)
@pytest.mark.parametrize(
    "path", ["scaling/status", "policies", "predictions/current", "predictions?service=a", "events"]
)
async def test_a_cursor_that_no_list_gave_is_refused(client: httpx.AsyncClient, path: str, cursor: str) -> None:
    response = await client.get(
        f"/api/v1/{path}", params={**httpx.QueryParams(path.partition("?")[2]), "cursor": cursor}
    )
    assert response.status_code == 422, response.text
    assert response.json()["reason"] == "InvalidCursor"


async def test_a_number_that_is_none_is_null(services: Services, client: httpx.AsyncClient) -> None:
    wrong = (math.nan, math.inf, -math.inf)
    for number, value in enumerate(wrong):
        name = f"policy-{number}"
        await services.events.record([an_event(name, multiplier=value, learned_multiplier=value)])
        await services.tunings.record(
            [a_tuning(name, hours_saved=value, recorded_share=value, points=[[value] * 6], alone=[value] * 6)]
        )
        body = await answer(client, f"/api/v1/policies/shop/{name}/frontier")
        assert (body["replica_hours_saved"], body["hpa_only"]["replica_hours"]) == (None, None)
    events = (await answer(client, "/api/v1/events"))["events"]
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
