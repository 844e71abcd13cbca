"""Access control of the HTTP API by a real API server and real tokens, and its TLS as a process."""

import asyncio
import os
import shutil
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from predictive_scaling.access import expiring_cache
from predictive_scaling.access.kubernetes_reviews import (
    NEGATIVE_SECONDS,
    POSITIVE_SECONDS,
    SubjectAccessReviews,
    TokenReviews,
)
from predictive_scaling.access.permission import Caller, Permission
from predictive_scaling.access.token_buckets import TokenBuckets
from predictive_scaling.api.access_control import AccessPolicy, Authority
from predictive_scaling.api.services import Services
from predictive_scaling.cluster.client import connected
from predictive_scaling.cluster.rights import API
from predictive_scaling.errors import AccessUnavailableError
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.api_process import api_running, log_events
from tests.support.api_services import a_policy, a_tuning, api_client
from tests.support.audit import AuditLog, rights
from tests.support.eventually import eventually, exit_code
from tests.support.manual_seconds import ManualSeconds
from tests.support.proxy import Proxy, proxied

pytestmark = pytest.mark.integration

ROLES = Path(__file__).parents[2] / "config" / "api-roles.yaml"
AUDIENCE = "predictive-scaling"
READER, WRITER = "predictive-scaling-api-reader", "predictive-scaling-api-writer"


@dataclass
class Installation:
    """The API with the rights of config/api-roles.yaml, connected to the API server through a proxy."""

    cluster: Kubernetes
    namespace: str
    services: Services
    access: AccessPolicy
    proxy: Proxy

    async def account(self, name: str) -> None:
        await self.cluster.kubectl("create", "serviceaccount", name, "-n", self.namespace)

    async def token(self, name: str, audience: str = AUDIENCE) -> str:
        arguments = ("create", "token", name, "-n", self.namespace, f"--audience={audience}")
        return (await self.cluster.kubectl(*arguments)).strip()

    async def bind(self, role: str, account: str) -> None:
        """Grant a role in the namespace to an account."""
        subject = f"--serviceaccount={self.namespace}:{account}"
        await self.cluster.kubectl(
            "create", "rolebinding", account, f"--clusterrole={role}", subject, "-n", self.namespace
        )

    def client(self, token: str) -> httpx.AsyncClient:
        return api_client(self.services, self.access, token)


@pytest.fixture
async def installation(cluster: Kubernetes, namespace: str, services: Services) -> AsyncGenerator[Installation]:
    await cluster.apply(list(yaml.safe_load_all(ROLES.read_text())), "api-roles")
    await cluster.kubectl("create", "serviceaccount", "api", "-n", namespace)
    binding = f"{namespace}-api"
    await cluster.kubectl(
        "create",
        "clusterrolebinding",
        binding,
        "--clusterrole=predictive-scaling-api",
        f"--serviceaccount={namespace}:api",
    )
    kubeconfig = await cluster.kubeconfig_of(namespace, "api")
    port = urlsplit(cluster.server).port or 0
    await services.policies.record([a_policy(namespace=namespace), a_policy("vault", namespace="bank")])
    await services.tunings.record([a_tuning(namespace=namespace), a_tuning("vault", namespace="bank")])
    async with proxied(port) as proxy:
        behind_proxy = kubeconfig.with_name(f"{kubeconfig.name}-proxied")
        behind_proxy.write_text(kubeconfig.read_text().replace(f":{port}", f":{proxy.port}"))
        async with connected(behind_proxy) as client:
            authority = Authority(TokenReviews(client, AUDIENCE), SubjectAccessReviews(client))
            access = AccessPolicy(authority, limits=TokenBuckets(1000.0))
            # The API server authorizes from a cache that the binding of the role reaches a moment later.
            await eventually(lambda: can_review(authority))
            yield Installation(cluster, namespace, services, access, proxy)
    await cluster.kubectl("delete", "clusterrolebinding", binding)


async def can_review(authority: Authority) -> bool:
    """Whether the account of the API has its role."""
    try:
        await authority.authenticator.authenticate("no-token")
        await authority.authorizer.allows(Caller("nobody"), Permission("get", "scalingpolicies", "none"))
    except AccessUnavailableError:
        return False
    return True


async def statuses(client: httpx.AsyncClient, *requests: tuple[str, str]) -> list[int]:
    return [(await client.request(method, path)).status_code for method, path in requests]


async def test_accounts_have_the_rights_of_their_roles_and_no_others(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = ManualSeconds(monkeypatch, expiring_cache)
    namespace = installation.namespace
    await installation.account("dashboard")
    await installation.bind(READER, "dashboard")

    async def list_policies() -> httpx.Response:
        # The API server authorizes from a cache that a binding reaches a moment later; ours caches refusals.
        seconds.now += NEGATIVE_SECONDS
        return await client.get("/api/v1/policies")

    async with installation.client(await installation.token("dashboard")) as client:
        shown = await eventually(list_policies, lambda response: response.status_code == 200)
        assert {policy["namespace"] for policy in shown.json()["policies"]} == {namespace}
        own, foreign = (f"/api/v1/policies/{name}/frontier" for name in (f"{namespace}/checkout", "bank/vault"))
        assert await statuses(client, ("GET", own), ("GET", foreign)) == [200, 403]
        assert (await client.get(foreign)).json()["detail"] == (
            f"system:serviceaccount:{namespace}:dashboard may not get scalingpolicies.predictive-scaling.io vault in "
            "namespace bank"
        )
        writes = ("DELETE", "/api/v1/scaling/decisions/stuck"), ("POST", "/api/v1/models/reload")
        assert await statuses(client, *writes, ("GET", "/api/v1/commands/1")) == [403, 403, 403]

    await installation.account("automation")
    subject = f"--serviceaccount={namespace}:automation"
    await installation.cluster.kubectl(
        "create", "clusterrolebinding", f"{namespace}-automation", f"--clusterrole={WRITER}", subject
    )

    async def clear_stuck() -> int:
        seconds.now += NEGATIVE_SECONDS
        return (await client.delete("/api/v1/scaling/decisions/stuck")).status_code

    async with installation.client(await installation.token("automation")) as client:
        assert await eventually(clear_stuck, lambda status: status != 403) == 202
        assert await statuses(client, ("POST", "/api/v1/models/reload"), ("GET", "/api/v1/commands/1")) == [202, 200]
        policies = (await client.get("/api/v1/policies")).json()["policies"]
        assert {policy["namespace"] for policy in policies} == {namespace, "bank"}
    await installation.cluster.kubectl("delete", "clusterrolebinding", f"{namespace}-automation")
    log = AuditLog(installation.cluster.audit_log)
    assert log.used_rights(f"system:serviceaccount:{namespace}:api") == rights([rule.to_manifest() for rule in API])


async def test_tokens_for_another_audience_and_of_deleted_accounts_are_refused(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = ManualSeconds(monkeypatch, expiring_cache)
    await installation.account("visitor")
    for token in (await installation.token("visitor", "https://kubernetes.default.svc"), "not-a-token"):
        async with installation.client(token) as client:
            response = await client.get("/api/v1/policies")
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["www-authenticate"]
    async with installation.client(await installation.token("visitor")) as client:
        assert (await client.get("/api/v1/policies")).status_code == 403
        await installation.cluster.kubectl("delete", "serviceaccount", "visitor", "-n", installation.namespace)

        async def status() -> int:
            # Ours expires at once; what remains is the API server's own cache of tokens, of ten seconds.
            seconds.now += POSITIVE_SECONDS
            return (await client.get("/api/v1/policies")).status_code

        assert await eventually(status, lambda status: status == 401, seconds=60.0 - POSITIVE_SECONDS) == 401


async def test_without_the_api_server_the_api_is_closed_and_open_again_afterwards(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = ManualSeconds(monkeypatch, expiring_cache)
    await installation.account("dashboard")
    await installation.bind(READER, "dashboard")
    path = f"/api/v1/policies?namespace={installation.namespace}"

    async def response() -> httpx.Response:
        seconds.now += NEGATIVE_SECONDS
        return await client.get(path)

    async with installation.client(await installation.token("dashboard")) as client:
        await eventually(response, lambda response: response.status_code == 200)
        installation.proxy.cut()
        assert (await client.get(path)).status_code == 200, "what was checked a moment ago stays allowed"
        seconds.now += POSITIVE_SECONDS
        closed = await client.get(path)
        assert (closed.status_code, closed.json()["reason"]) == (503, "AccessCheckUnavailable")
        assert "retry-after" in closed.headers
        async with installation.client("another-token") as other:
            assert (await other.get(path)).status_code == 503
            assert (await other.get("/health/live")).status_code == 200
        installation.proxy.restore()
        assert (await client.get(path)).status_code == 200


async def test_an_account_without_the_role_of_the_api_checks_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = ManualSeconds(monkeypatch, expiring_cache)
    await installation.cluster.kubectl("delete", "clusterrolebinding", f"{installation.namespace}-api")

    async def response() -> httpx.Response:
        seconds.now += NEGATIVE_SECONDS
        return await client.get("/api/v1/policies")

    async with installation.client("some-token") as client:
        closed = await eventually(response, lambda response: response.status_code == 503)
    assert "the account of the HTTP API needs config/api-roles.yaml" in closed.json()["detail"]
    subject = f"--serviceaccount={installation.namespace}:api"
    await installation.cluster.kubectl(
        "create", "clusterrolebinding", f"{installation.namespace}-api", "--clusterrole=predictive-scaling-api", subject
    )


async def test_the_process_serves_tls_with_static_tokens_and_takes_a_new_certificate(
    cluster: Kubernetes, migrated_database_url: str, tmp_path: Path
) -> None:
    certificate, key, tokens = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "tokens"
    install(cluster, "first", certificate, key)
    tokens.write_text(f"{'a' * 32},alice,read,*\n")
    settings = {
        "PREDICTIVE_SCALING_API_AUTHENTICATION": "tokens",
        "PREDICTIVE_SCALING_API_TOKENS_FILE": str(tokens),
        "PREDICTIVE_SCALING_API_CERTIFICATE": str(certificate),
        "PREDICTIVE_SCALING_API_KEY": str(key),
    }
    trust = ssl.create_default_context(cafile=cluster.ca_file)
    async with api_running(migrated_database_url, tmp_path, **settings) as api:
        url = f"https://127.0.0.1:{api.port}"
        headers = {"Authorization": f"Bearer {'a' * 32}"}
        async with httpx.AsyncClient(
            verify=trust, base_url=url, headers=headers, trust_env=False, timeout=120
        ) as client:
            response = await client.get("/api/v1/policies")
            assert response.status_code == 200
            assert response.headers["strict-transport-security"] == "max-age=31536000"
            assert (await client.delete("/api/v1/scaling/decisions/stuck")).status_code == 403
            assert (await client.get("/api/v1/policies", headers={"Authorization": "Bearer b"})).status_code == 401
            first = ssl.get_server_certificate(("127.0.0.1", api.port))
            key.write_text("no key")
            await eventually(lambda: has_logged(api.log, "api_certificate_refused"))
            assert ssl.get_server_certificate(("127.0.0.1", api.port)) == first
            async with requesting(f"{url}/health", trust) as served:
                await served.more()
                install(cluster, "second", certificate, key)
                await eventually(lambda: has_logged(api.log, "api_certificate_reloaded"))
                await served.more()
            assert ssl.get_server_certificate(("127.0.0.1", api.port)) != first
            assert (await client.get("/health")).status_code == 200, "the open connection stays usable"
        assert await check(url, tmp_path, cluster.ca_file, tokens="a" * 32) == 1
        assert await check(url, tmp_path, cluster.ca_file, tokens="b" * 32) == 78
        assert "a" * 32 not in api.log.read_text()
        assert await api.terminate() == 0


@dataclass
class Served:
    """Requests that were answered, each on a connection of its own."""

    count: int = 0

    async def more(self) -> None:
        """Wait until five more requests were answered."""
        expected = self.count + 5

        async def reached() -> bool:
            return self.count >= expected

        await eventually(reached)

    async def request(self, url: str, trust: ssl.SSLContext) -> None:
        """Send requests until one fails."""
        while True:
            async with httpx.AsyncClient(verify=trust, trust_env=False, timeout=60) as client:
                response = await client.get(url)
            assert response.status_code == 200
            self.count += 1


@asynccontextmanager
async def requesting(url: str, trust: ssl.SSLContext) -> AsyncGenerator[Served]:
    """Send requests in the background. Raises the error of the request that failed, if any did."""
    served = Served()
    task = asyncio.create_task(served.request(url, trust))
    try:
        yield served
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def install(cluster: Kubernetes, name: str, certificate: Path, key: Path) -> None:
    issued = cluster.serving_certificate(f"api-{name}", "default")
    shutil.copy(issued.key, key)
    shutil.copy(issued.certificate, certificate)


async def has_logged(log: Path, event: str) -> bool:
    return any(entry["event"] == event for entry in log_events(log))


async def check(url: str, folder: Path, authority: Path, *, tokens: str) -> int:
    """Run `check` with a token; return its exit code."""
    file = folder / "token"
    file.write_text(tokens + "\n")
    arguments = ("check", "--api-url", url, "--ingest-url", "http://127.0.0.1:1", "--token-file", str(file))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "predictive_scaling", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        # The client loads the authorities when it is imported, which a forked program does before it has this variable.
        env={**os.environ, "SSL_CERT_FILE": str(authority)},
    )
    return await exit_code(process)
