"""The rights of the chart's accounts on a real API server, with their tokens: those of docs/rbac.md and no others."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.cluster.client import ObjectRefusedError, connected
from predictive_scaling.cluster.rights import OPERATOR, RULES_BY_PROCESS, Scope
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.audit import Right, rights
from tests.support.chart_values import VALUE_SETS
from tests.support.eventually import eventually
from tests.support.helm import CHART, RELEASE, Helm, Object, merged

pytestmark = pytest.mark.e2e

ROLES = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
ACCOUNTS = ("operator", "api", "ingest", "trainer")
NOBODY = "nobody"
"""An account without Roles."""
FEATURES = {
    "trainer": {"enabled": True},
    "models": {"existingClaim": "models"},
    "settings": {"apiAuthentication": "kubernetes"},
    **VALUE_SETS["all rights"],
}
"""Every feature that needs a right of its own."""


@dataclass(frozen=True)
class Installation:
    """The accounts and Roles of a release in a namespace of its own."""

    cluster: Kubernetes
    namespace: str
    _kubeconfigs: dict[str, Path] = field(default_factory=dict[str, Path])

    async def kubeconfig(self, account: str) -> Path:
        """Return the kubeconfig of the account of a process, or of `nobody`."""
        if account not in self._kubeconfigs:
            name = account if account == NOBODY else f"{RELEASE}-{account}"
            self._kubeconfigs[account] = await self.cluster.kubeconfig_of(self.namespace, name)
        return self._kubeconfigs[account]

    async def rights(self, account: str, namespace: str) -> set[Right]:
        """Return the rights of an account in a namespace, without those that every account has."""
        own, common = [await self._review(name, namespace) for name in (account, NOBODY)]
        assert _paths(own) == _paths(common)
        return rights(own["resourceRules"]) - rights(common["resourceRules"])

    async def _review(self, account: str, namespace: str) -> dict[str, Any]:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
        async with connected(await self.kubeconfig(account)) as client:
            path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
            return (await client.create(path, body | {"spec": {"namespace": namespace}}))["status"]


def _paths(review: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the verbs and paths that are no resources."""
    rules = review["nonResourceRules"]
    return {(verb, path) for rule in rules for verb in rule["verbs"] for path in rule["nonResourceURLs"]}


Install = Callable[[dict[str, Any]], Awaitable[Installation]]


@pytest.fixture
async def install(cluster: Kubernetes, namespace: str, helm: Helm) -> AsyncGenerator[Install]:
    """Applies the accounts and Roles that Helm renders where it is connected to the API server."""
    applied: list[Object] = []

    async def apply(values: dict[str, Any]) -> Installation:
        connected_helm = Helm(helm.program, helm.folder, cluster.kubeconfig)
        # Objects of the same names may exist, since only accounts and Roles are applied.
        command = ("template", RELEASE, CHART, "--namespace", namespace, "--dry-run=server", "--take-ownership")
        rendered = await connected_helm(*command, values=merged(values))
        objects = [body for body in yaml.load_all(rendered, Loader=yaml.CSafeLoader) if body]
        applied.extend(body for body in objects if body["kind"] in ROLES)
        accounts = [body for body in objects if body["kind"] == "ServiceAccount"]
        await cluster.apply([*accounts, *applied], f"accounts-{namespace}")
        await cluster.kubectl("create", "serviceaccount", NOBODY, "-n", namespace)
        return Installation(cluster, namespace)

    yield apply
    for body in applied:
        place = ("-n", body["metadata"].get("namespace", "default"))
        await cluster.kubectl("delete", body["kind"].lower(), body["metadata"]["name"], *place)


def documented(account: str, *scopes: Scope) -> set[Right]:
    """Return the rights of docs/rbac.md; the Job `restore` uses the account of the operator."""
    rules = [*RULES_BY_PROCESS[account], *(RULES_BY_PROCESS["restore"] if account == "operator" else ())]
    return rights([rule.to_manifest() for rule in rules if rule.scope in scopes])


async def test_every_account_has_the_documented_rights_and_no_others(install: Install, namespace: str) -> None:
    installation = await install(FEATURES)

    async def differences() -> dict[str, set[Right]]:
        """Return what is granted and not documented, and the reverse; the API server reads Roles from a cache."""
        result: dict[str, set[Right]] = {}
        for place, scope in ((namespace, Scope.RELEASE), ("kube-system", Scope.SYSTEM), ("default", Scope.CLUSTER)):
            for account in ACCOUNTS:
                expected = documented(account, Scope.POLICIES, Scope.CLUSTER, scope)
                difference = expected ^ await installation.rights(account, place)
                result |= {f"{account} in {place}": difference} if difference else {}
        return result

    assert await eventually(differences, lambda found: not found, seconds=60) == {}


async def test_an_operator_of_some_namespaces_reaches_no_others(
    install: Install, cluster: Kubernetes, namespace: str
) -> None:
    watched, other = f"{namespace}-watched", f"{namespace}-other"
    for name in (watched, other):
        await cluster.kubectl("create", "namespace", name)
    installation = await install({"namespaces": [watched], "nodeHeadroom": {"enabled": True}})
    kubeconfig = await installation.kubeconfig("operator")
    expected = {
        watched: documented("operator", Scope.POLICIES),
        namespace: documented("operator", Scope.RELEASE),
        other: set[Right](),
        "kube-system": set[Right](),
    }

    async def granted() -> dict[str, set[Right]]:
        return {place: await installation.rights("operator", place) for place in expected}

    await eventually(granted, expected.__eq__, seconds=60)

    listed = [rule for rule in OPERATOR if "list" in rule.verbs and rule.group != "apiextensions.k8s.io"]
    async with connected(kubeconfig) as operator:
        for rule in listed:
            root = f"/apis/{rule.group}/v1" if rule.group else "/api/v1"
            for resource in rule.resources:
                for path in (f"{root}/namespaces/{other}/{resource}", f"{root}/{resource}"):
                    with pytest.raises(ObjectRefusedError, match="is forbidden"):
                        await operator.items(path)
        policies = "/apis/predictive-scaling.io/v1alpha1/namespaces/{}/scalingpolicies"
        assert await operator.items(policies.format(watched)) == []
        with pytest.raises(ObjectRefusedError, match="is forbidden"):
            await operator.merge(f"{policies.format(other)}/checkout", {"metadata": {"labels": {"a": "b"}}})
