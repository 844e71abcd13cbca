"""What a caller may not see is left out of every list of the HTTP API, over a real PostgreSQL."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from predictive_scaling.api.access_control import AccessPolicy
from predictive_scaling.api.access_rules import RULES, RuleKind
from predictive_scaling.api.cache import ResponseCache
from predictive_scaling.api.services import Services
from predictive_scaling.api.stored_models import Models, RejectedModel
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.storage.backtests import BacktestRow
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from tests.fixtures.api import MODELS
from tests.support.api_access import ADMIN, STRANGER, TENANT, InMemoryAuthority, policy_of
from tests.support.api_services import (
    NOW,
    a_decision,
    a_forecast,
    a_performance,
    a_policy,
    a_shadow_hour,
    a_tuning,
    an_event,
    api_client,
)

pytestmark = pytest.mark.integration

# The stream of changes is no document: test_api_changes.py has its visibility.
STREAM = "/api/v1/changes"
LISTS = sorted(path for (_, path), rule in RULES.items() if rule.kind is RuleKind.LIST and path != STREAM)
OBJECTS = sorted(path for (_, path), rule in RULES.items() if rule.kind is RuleKind.OBJECT)
SERVICE_PATH = "/api/v1/predictions"


class SharedCache(ResponseCache):
    """A cache in memory that, unlike Redis under load, always responds."""

    def __init__(self) -> None:
        self.responses: dict[str, bytes] = {}

    async def get(self, query: str) -> bytes | None:
        return self.responses.get(query)

    async def put(self, query: str, response: bytes, ttl_seconds: float) -> None:
        self.responses[query] = response


@pytest.fixture
async def populated(services: Services) -> Services:
    """Namespace shop has `checkout`, bank has `vault`; both have a policy of the service `shared`."""
    for namespace, name in (("shop", "checkout"), ("bank", "vault")):
        shared = f"{name}-shared"
        await services.policies.record(
            [
                a_policy(name, namespace=namespace, limited=namespace == "bank"),
                a_policy(shared, namespace=namespace, service_name="shared"),
            ]
        )
        await services.predictions.record(a_forecast(name, namespace=namespace))
        await services.predictions.record(a_forecast(shared, namespace=namespace, service_name="shared"))
        status = "succeeded" if namespace == "shop" else "failed"
        names = {"namespace": namespace, "policy": name, "service_name": name, "target": f"Deployment/{name}"}
        await ScalingDecisions(services.database).intend(a_decision(f"d-{name}", status=status, **names))
        await ScalingDecisions(services.database).intend(
            a_decision(f"s-{name}", status="verifying", finished_at=None, **names)
        )
        await services.events.record([an_event(f"sale-{name}", namespace=namespace, policies=[name])])
        await services.performances.record(
            [
                a_performance(name, namespace=namespace),
                a_performance(shared, namespace=namespace, service_name="shared", samples=100),
            ]
        )
        row = BacktestRow(f"u-{name}", namespace, f"b-{name}", name, NOW, "Pending", None, {})
        await services.backtests.record([row], [f"u-{name}", "u-checkout"])
        await services.tunings.record([a_tuning(name, namespace=namespace)])
        await services.shadow_hours.record([a_shadow_hour(name, namespace=namespace)])
    (model,) = MODELS.models
    models = Models(
        models=[model, model.model_copy(update={"service_name": "vault", "folder": "vault/1"})],
        rejected=[RejectedModel(file="vault/x", reason="size 7")],
    )
    return replace(services, stored_models=lambda: models)


@pytest.fixture
def access() -> AccessPolicy:
    return policy_of(InMemoryAuthority())


async def read(client: httpx.AsyncClient, path: str, token: str, **query: str) -> Any:
    """Return the document at a path, as a caller sees it."""
    query |= {"service": "shared"} if path == SERVICE_PATH else {}
    response = await client.get(path, params=query, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_leaves_out_what_the_caller_may_not_see(
    populated: Services, access: AccessPolicy, path: str
) -> None:
    async with api_client(populated, access) as client:
        # The admin comes first, so that a response cached for it would show.
        full = json.dumps(await read(client, path, ADMIN))
        shown = json.dumps(await read(client, path, TENANT))
        assert json.dumps(await read(client, path, ADMIN)) == full
        assert json.dumps(await read(client, path, TENANT, namespace="shop")) == shown
        bank = json.dumps(await read(client, path, ADMIN, namespace="bank"))
        headers = {"Authorization": f"Bearer {TENANT}"}
        refused = await client.get(path, params={"namespace": "bank", "service": "shared"}, headers=headers)
        stranger = await client.get(path, headers={"Authorization": f"Bearer {STRANGER}"})
    assert "checkout" in shown
    assert "vault" in full
    assert "vault" not in shown
    assert "bank" not in shown
    assert "checkout" not in bank
    assert "vault" in bank
    assert refused.status_code == 403
    assert "in namespace bank" in refused.json()["detail"]
    assert stranger.status_code == 403
    assert "nor in any single namespace that has records" in stranger.json()["detail"]


@pytest.mark.parametrize("path", OBJECTS)
async def test_an_object_of_another_namespace_is_refused_whether_or_not_it_exists(
    populated: Services, access: AccessPolicy, path: str
) -> None:
    prefix = "b-" if "backtests" in path else ""
    async with api_client(populated, access, TENANT) as client:
        own = await client.get(path.format(namespace="shop", name=f"{prefix}checkout"))
        foreign = [await client.get(path.format(namespace="bank", name=name)) for name in (f"{prefix}vault", "none")]
    if path.endswith("backtests/{namespace}/{name}/report"):
        assert "has no report" in own.json()["detail"]
    else:
        assert own.status_code == 200
    assert [response.status_code for response in foreign] == [403, 403]


OWNERS = NamespacePatterns({"shop": ["check*"], "bank": ["vault", "sh_red", "shared\\"], "*": ["free"]})
"""Neither namespace may read `shared` any longer: patterns are no patterns of SQL."""


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/predictions",
        "/api/v1/predictions/current",
        "/api/v1/metrics/accuracy",
        "/api/v1/metrics/quality",
        "/api/v1/models",
    ],
)
async def test_forecasts_of_a_service_that_a_namespace_may_not_read_are_left_out(
    populated: Services, path: str
) -> None:
    (model,) = MODELS.models
    models = Models(models=[model, model.model_copy(update={"service_name": "shared"})], rejected=[])
    served = replace(populated, stored_models=lambda: models, cache=SharedCache())
    query = {} if path == SERVICE_PATH else {"namespace": "shop"}
    async with api_client(served, policy_of(InMemoryAuthority())) as client:
        before = json.dumps(await read(client, path, TENANT, **query))
    async with api_client(served, policy_of(InMemoryAuthority(), services=OWNERS)) as client:
        full = json.dumps(await read(client, path, ADMIN))
        shown = json.dumps(await read(client, path, TENANT, **query))
    assert '"shared"' in before
    assert '"shared"' in full
    assert '"shared"' not in shown
    assert path == SERVICE_PATH or '"checkout"' in shown


async def test_the_summary_counts_visible_policies_and_decisions_only(
    populated: Services, access: AccessPolicy
) -> None:
    async with api_client(populated, access) as client:
        full = (await read(client, "/api/v1/scaling/status", ADMIN))["summary"]
        shown = (await read(client, "/api/v1/scaling/status", TENANT))["summary"]
    assert (full["policies"], full["limited"], full["stuck_decisions"], full["success_rate_24h"]) == (4, 1, 2, 0.5)
    assert (shown["policies"], shown["limited"], shown["stuck_decisions"], shown["success_rate_24h"]) == (2, 0, 1, 1.0)


async def test_cursors_and_page_sizes_show_nothing_of_other_namespaces(
    populated: Services, access: AccessPolicy
) -> None:
    async with api_client(populated, access) as client:
        first = await read(client, "/api/v1/policies", TENANT, limit="1")
        second = await read(client, "/api/v1/policies", TENANT, limit="1", cursor=first["next_cursor"])
        foreign = (await read(client, "/api/v1/policies", ADMIN, limit="1"))["next_cursor"]
        after_foreign = await read(client, "/api/v1/policies", TENANT, limit="10", cursor=foreign)
    assert [policy["policy"] for page in (first, second) for policy in page["policies"]] == [
        "checkout",
        "checkout-shared",
    ]
    assert second["next_cursor"] is None
    assert {policy["namespace"] for policy in after_foreign["policies"]} == {"shop"}


async def test_the_accuracy_of_a_shared_service_covers_visible_policies(
    populated: Services, access: AccessPolicy
) -> None:
    async with api_client(populated, access) as client:
        full = (await read(client, "/api/v1/metrics/accuracy", ADMIN))["accuracy"]
        shown = (await read(client, "/api/v1/metrics/accuracy", TENANT))["accuracy"]
        models = await read(client, "/api/v1/models", TENANT)
    assert [service["service_name"] for service in full["services"]] == ["checkout", "shared", "vault"]
    assert [service["service_name"] for service in shown["services"]] == ["checkout", "shared"]
    assert (full["samples"], shown["samples"]) == (400, 200)
    assert ([model["service_name"] for model in models["models"]], models["rejected"]) == (["checkout"], [])


async def test_callers_share_no_response_of_the_cache_of_all_processes(
    populated: Services, access: AccessPolicy
) -> None:
    cache = SharedCache()
    async with api_client(replace(populated, cache=cache), access) as client:
        full = await read(client, "/api/v1/predictions/current", ADMIN)
        shown = await read(client, "/api/v1/predictions/current", TENANT)
        assert await read(client, "/api/v1/predictions/current", ADMIN) == full
    assert len(cache.responses) == 2
    assert {forecast["namespace"] for forecast in shown["predictions"]} == {"shop"}
    assert {forecast["namespace"] for forecast in full["predictions"]} == {"shop", "bank"}


async def test_a_caller_of_several_namespaces_sees_all_of_them_and_new_ones_later(populated: Services) -> None:
    authority = InMemoryAuthority(frozenset({"shop", "bank", "late", "empty"}))
    async with api_client(populated, policy_of(authority)) as client:
        decisions = (await read(client, "/api/v1/scaling/decisions", TENANT))["decisions"]
        assert {decision["namespace"] for decision in decisions} == {"shop", "bank"}
        assert await read(client, "/api/v1/policies", TENANT, namespace="empty") == {
            "policies": [],
            "next_cursor": None,
        }
    assert await populated.namespaces.all() == ["bank", "shop"]
    await populated.events.record([an_event("sale", namespace="late", start_time=NOW + timedelta(hours=2))])
    assert await populated.namespaces.all() == ["bank", "late", "shop"]
    async with api_client(populated, policy_of(authority)) as client:
        events = (await read(client, "/api/v1/events", TENANT))["events"]
    assert {event["namespace"] for event in events} == {"shop", "bank", "late"}


async def test_an_empty_installation_shows_an_empty_list_to_any_caller(
    services: Services, access: AccessPolicy
) -> None:
    async with api_client(services, access) as client:
        for token in (TENANT, STRANGER):
            assert await read(client, "/api/v1/policies", token) == {"policies": [], "next_cursor": None}


async def test_a_caller_of_too_many_namespaces_names_one(
    populated: Services, access: AccessPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictive_scaling.api.access_control.MAX_CHECKED_NAMESPACES", 1)
    async with api_client(populated, access, TENANT) as client:
        response = await client.get("/api/v1/policies")
        assert response.status_code == 403
        assert response.json()["detail"].endswith("name one with ?namespace=NAMESPACE")
        assert (await client.get("/api/v1/policies?namespace=shop")).status_code == 200
