"""Access control of the HTTP API: no route without a rule, and what each caller may do. No database is reachable."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Scope
from structlog.typing import EventDict

from predictive_scaling.access import token_buckets
from predictive_scaling.access.bearer_token import MAX_TOKEN_LENGTH
from predictive_scaling.access.permission import Permission
from predictive_scaling.access.token_buckets import TokenBuckets
from predictive_scaling.api import access_control
from predictive_scaling.api.access_control import AccessPolicy, client_address
from predictive_scaling.api.access_rules import BACKTESTS, POLICIES, RULES, RuleKind, role_path
from predictive_scaling.api.application import create_app
from predictive_scaling.api.services import Services
from tests.support.api_access import ADMIN, STRANGER, TENANT, InMemoryAuthority, policy_of
from tests.support.api_services import UNREACHABLE_DATABASE, api_client, api_services
from tests.support.manual_seconds import ManualSeconds

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "config" / "api-roles.yaml"
FRONTIER = "/api/v1/policies/{}/checkout/frontier"
RELOAD, STUCK = "/api/v1/models/reload", "/api/v1/scaling/decisions/stuck"
PROTECTED = [(method, path) for (method, path), rule in RULES.items() if rule.kind is not RuleKind.OPEN]


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with api_services(UNREACHABLE_DATABASE) as services:
        yield services


@pytest.fixture
def authority() -> InMemoryAuthority:
    return InMemoryAuthority()


def routes(application: FastAPI) -> set[tuple[str, str]]:
    """Return method and path of all routes, also of those that are not in the schema."""
    contexts = cast("Iterable[Any]", iter_route_contexts(application.router.routes))
    return {(method, context.path) for context in contexts for method in context.methods if method != "HEAD"}


def test_every_route_has_an_access_rule_and_every_rule_a_route(services: Services) -> None:
    assert routes(create_app(services)) == set(RULES)


async def test_a_route_without_a_rule_does_not_exist_for_callers(
    services: Services, authority: InMemoryAuthority
) -> None:
    application = create_app(services, policy_of(authority))

    @application.get("/api/v1/forgotten")
    async def forgotten() -> str:  # pyright: ignore[reportUnusedFunction] (a route)
        return "secret"

    assert ("GET", "/api/v1/forgotten") in routes(application) - set(RULES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=application), base_url="http://api") as client:
        assert (await client.get("/api/v1/forgotten")).status_code == 401
        response = await client.get("/api/v1/forgotten", headers={"Authorization": f"Bearer {ADMIN}"})
    assert response.status_code == 404
    assert "secret" not in response.text


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_a_request_without_a_token_is_refused_with_a_challenge(
    services: Services, authority: InMemoryAuthority, method: str, path: str
) -> None:
    async with api_client(services, policy_of(authority, public_telemetry=False)) as client:
        response = await client.request(method, path.replace("{id}", "1"))
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == 'Bearer realm="predictive-scaling"'
    assert authority.authenticated == []


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_a_caller_without_rights_reaches_no_route(
    services: Services, authority: InMemoryAuthority, method: str, path: str
) -> None:
    async with api_client(services, policy_of(authority, public_telemetry=False), STRANGER) as client:
        is_list = RULES[method, path].kind is RuleKind.LIST
        response = await client.request(method, path.replace("{id}", "1") + ("?namespace=shop" if is_list else ""))
    assert response.status_code == 403
    assert response.json()["detail"].startswith(f"stranger may not {RULES[method, path].verb} ")
    assert response.json()["reason"] == "Forbidden"


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", FRONTIER.format("shop"), Permission("get", POLICIES, "shop", "checkout")),
        ("GET", "/api/v1/backtests/shop/june/report", Permission("get", BACKTESTS, "shop", "june")),
        ("GET", "/api/v1/policies?namespace=shop", Permission("list", POLICIES, "shop")),
        ("GET", "/api/v1/policies", Permission("list", POLICIES)),
        ("DELETE", STUCK, Permission("update", POLICIES)),
        ("POST", RELOAD, Permission("post", path="/predictive-scaling/models/reload")),
        ("GET", "/api/v1/commands/7", Permission("get", path="/predictive-scaling/commands")),
    ],
)
async def test_a_request_needs_the_permission_of_its_rule(
    services: Services, authority: InMemoryAuthority, method: str, path: str, permission: Permission
) -> None:
    async with api_client(services, policy_of(authority), ADMIN) as client:
        # The route is reached: it finds no database.
        assert (await client.request(method, path)).json()["reason"] == "DatabaseUnavailable"
    assert authority.checked == [("admin", permission)]


async def test_a_refusal_names_verb_resource_and_namespace(services: Services, authority: InMemoryAuthority) -> None:
    async with api_client(services, policy_of(authority), TENANT) as client:
        refused = await client.get(FRONTIER.format("bank"))
        assert refused.json()["detail"] == (
            "tenant may not get scalingpolicies.predictive-scaling.io checkout in namespace bank"
        )
        assert (await client.get(FRONTIER.format("shop"))).json()["reason"] == "DatabaseUnavailable"
        assert (await client.delete(STUCK)).json()["detail"] == (
            "tenant may not update scalingpolicies.predictive-scaling.io in all namespaces"
        )
        reload = (await client.post(RELOAD)).json()["detail"]
        assert reload == "tenant may not post the path /predictive-scaling/models/reload"


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Basic YTpi")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", f"Bearer {ADMIN} x")],
        [("Authorization", "Bearer tökèn".encode())],
        [("Authorization", "Bearer \xff\xfe".encode("latin-1"))],
        [("Authorization", "Bearer " + "a" * (MAX_TOKEN_LENGTH + 1))],
        [("Authorization", f"Bearer {ADMIN}"), ("Authorization", f"Bearer {ADMIN}")],
    ],
)
async def test_a_malformed_or_oversized_token_is_refused_before_any_review(
    services: Services, authority: InMemoryAuthority, headers: list[tuple[str, str | bytes]]
) -> None:
    encoded = [(name.encode(), text if isinstance(text, bytes) else text.encode()) for name, text in headers]
    async with api_client(services, policy_of(authority)) as client:
        response = await client.get("/api/v1/policies", headers=encoded)
    assert response.status_code == 401
    assert 'error="invalid_request"' in response.headers["www-authenticate"]
    assert ADMIN not in response.text
    assert authority.authenticated == []


async def test_an_unknown_token_is_refused(services: Services, authority: InMemoryAuthority) -> None:
    async with api_client(services, policy_of(authority), "unknown-token") as client:
        response = await client.get("/api/v1/policies")
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert "unknown-token" not in response.text


async def test_an_unreachable_authority_closes_the_api(services: Services, authority: InMemoryAuthority) -> None:
    authority.is_reachable = False
    async with api_client(services, policy_of(authority), ADMIN) as client:
        response = await client.get("/api/v1/policies")
        assert (await client.get("/health/live")).status_code == 200
    assert (response.status_code, response.json()["reason"]) == (503, "AccessCheckUnavailable")
    assert response.headers["retry-after"] == "5"


async def test_names_of_any_length_are_refused_before_any_review(
    services: Services, authority: InMemoryAuthority
) -> None:
    async with api_client(services, policy_of(authority), ADMIN) as client:
        for path in (FRONTIER.format("a" * 254), f"/api/v1/policies?namespace={'a' * 254}"):
            assert (await client.get(path)).status_code == 422
    assert authority.checked == []


async def test_unknown_paths_and_methods_are_known_to_authenticated_callers_only(
    services: Services, authority: InMemoryAuthority
) -> None:
    async with api_client(services, policy_of(authority)) as client:
        assert (await client.get("/nothing")).status_code == 401
        headers = {"Authorization": f"Bearer {STRANGER}"}
        assert (await client.get("/nothing", headers=headers)).status_code == 404
        response = await client.get(STUCK, headers=headers)
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE")


@pytest.mark.parametrize("path", ["/health", "/metrics"])
async def test_telemetry_is_open_unless_the_settings_say_otherwise(
    services: Services, authority: InMemoryAuthority, path: str
) -> None:
    async with api_client(services, policy_of(authority)) as client:
        assert (await client.get(path)).status_code == 200
    async with api_client(services, policy_of(authority, public_telemetry=False)) as client:
        assert (await client.get(path)).status_code == 401
        headers = {"Authorization": f"Bearer {ADMIN}"}
        assert (await client.get(path, headers=headers)).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200
    assert authority.checked == [("admin", Permission("get", path=path))]


async def test_a_client_above_its_rate_waits_as_long_as_the_response_says(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def address(scope: Scope) -> str:
        return dict(scope["headers"])[b"x-test"].decode()

    monkeypatch.setattr(access_control, "client_address", address)
    ManualSeconds(monkeypatch, token_buckets)
    async with api_client(services, AccessPolicy(limits=TokenBuckets(0.2))) as client:
        statuses = [
            (await client.get("/api/v1/nothing", headers={"X-Test": name})).status_code for name in ("a", "a", "a", "b")
        ]
        limited = await client.get("/api/v1/nothing", headers={"X-Test": "a"})
        assert (await client.get("/health/live", headers={"X-Test": "a"})).status_code == 200
    assert statuses == [404, 404, 429, 404]
    assert limited.json()["reason"] == "TooManyRequests"
    assert limited.headers["retry-after"] == "5"


async def test_tokens_that_are_tried_are_limited_by_address(
    services: Services, authority: InMemoryAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    ManualSeconds(monkeypatch, token_buckets)
    async with api_client(services, policy_of(authority, rate=0.3)) as client:
        statuses = [
            (await client.get("/api/v1/policies", headers={"Authorization": f"Bearer guess{number}"})).status_code
            for number in range(5)
        ]
    assert statuses == [401, 401, 401, 429, 429]
    assert len(authority.authenticated) == 3


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_its_address_or_its_ipv6_network(host: str, client: str) -> None:
    assert client_address({"client": (host, 1)}) == client
    assert client_address({"client": None}) == "unknown"


@pytest.mark.parametrize(
    ("token", "status", "user", "result"),
    [
        (ADMIN, 503, "admin", "Service Unavailable"),
        (TENANT, 403, "tenant", "Forbidden"),
        (None, 401, None, "Unauthorized"),
    ],
)
async def test_each_write_is_audited_with_who_what_and_result(
    services: Services,
    authority: InMemoryAuthority,
    logs: list[EventDict],
    token: str | None,
    status: int,
    user: str | None,
    result: str,
) -> None:
    async with api_client(services, policy_of(authority), token) as client:
        response = await client.delete(STUCK, headers={"X-Request-Id": "trace-17"})
        await client.get("/api/v1/policies")
    assert response.headers["x-request-id"] == "trace-17"
    (entry,) = [entry for entry in logs if entry["event"] == "write_audited"]
    assert entry == {
        "event": "write_audited",
        "log_level": "info",
        "user": user,
        "client": "127.0.0.1",
        "verb": "update",
        "object": "update scalingpolicies.predictive-scaling.io in all namespaces",
        "status": status,
        "result": result,
        "request_id": "trace-17",
    }


async def test_a_request_id_that_could_forge_a_log_line_is_replaced(services: Services) -> None:
    async with api_client(services) as client:
        response = await client.get("/health/live", headers={"X-Request-Id": "a b\x09{}" + "c" * 200})
        other = await client.get("/health/live")
    assert response.headers["x-request-id"].isalnum()
    assert response.headers["x-request-id"] != other.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/docs", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "),
        ("/health/live", "default-src 'none'; frame-ancestors 'none'"),
        ("/api/v1/policies", "default-src 'none'; frame-ancestors 'none'"),
        ("/nothing", "default-src 'none'; frame-ancestors 'none'"),
    ],
)
async def test_every_response_has_security_headers(services: Services, path: str, policy: str) -> None:
    async with api_client(services) as client:
        headers = (await client.get(path)).headers
    assert headers["content-security-policy"].startswith(policy)
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "strict-transport-security" not in headers


def test_the_documented_rules_are_those_of_the_code() -> None:
    suffixes = {
        RuleKind.OPEN: "open",
        RuleKind.TELEMETRY: "`{}`, unless open",
        RuleKind.PATH: "`{}`",
        RuleKind.OBJECT: "`{}` by name",
        RuleKind.LIST: "`{}` of visible namespaces",
        RuleKind.CLUSTER: "`{}` of all namespaces",
    }
    rows: list[str] = []
    for (method, path), rule in RULES.items():
        verb = f"`{rule.verb}`" if rule.verb else "–"
        rows.append(f"| `{method} {path}` | {verb} | {suffixes[rule.kind].format(rule.resource or role_path(path))} |")
    documented = [line for line in (ROOT / "docs" / "http-api.md").read_text().splitlines() if " /" in line[:12]]
    assert [line for line in documented if line.startswith("| `")] == rows


@pytest.mark.parametrize(("role", "is_writer"), [("reader", False), ("writer", True)])
def test_the_roles_of_callers_grant_exactly_what_the_rules_need(role: str, is_writer: bool) -> None:
    roles = {role["metadata"]["name"]: role for role in yaml.safe_load_all(ROLES.read_text())}
    granted = {
        (verb, target)
        for rule in roles[f"predictive-scaling-api-{role}"]["rules"]
        for verb in rule["verbs"]
        for target in rule.get("resources") or rule["nonResourceURLs"]
    }
    needed = {
        (rule.verb, rule.resource or role_path(path))
        for (method, path), rule in RULES.items()
        if rule.kind is not RuleKind.OPEN and (method == "GET" or is_writer)
    }
    # No route gets a single event or decision; `get` is granted so that `kubectl get NAME` works as well.
    assert needed <= granted
    assert {verb for verb, _ in granted - needed} <= {"get"}
