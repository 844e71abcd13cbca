"""The rights that the chart grants: those of config/cluster-role.yaml, with which the tests run the operator."""

import yaml

from tests.support.audit import Right, rights
from tests.support.chart_values import VALUE_SETS
from tests.support.helm import CHART, Helm, Object, named, of_kind, pod_templates

CLUSTER_ROLE = CHART.parents[1] / "config" / "cluster-role.yaml"
USER_ROLES = CHART.parents[1] / "config" / "tenancy" / "roles.yaml"
API_ROLES = CHART.parents[1] / "config" / "api-roles.yaml"


def granted(objects: list[Object]) -> dict[str, set[Right]]:
    """Return the rights of the operator by namespace, `*` for the cluster."""
    result: dict[str, set[Right]] = {}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "predictive-scaling-operator", "namespace": "scaling"}
        ]
        reference, namespace = binding["roleRef"], binding["metadata"].get("namespace", "*")
        (role,) = (
            body
            for body in of_kind(objects, reference["kind"])
            if (body["metadata"]["name"], body["metadata"].get("namespace", "*")) == (reference["name"], namespace)
        )
        result.setdefault(namespace, set()).update(rights(role["rules"]))
    return result


def used_rights() -> set[Right]:
    return rights(yaml.safe_load(CLUSTER_ROLE.read_text())["rules"])


async def test_the_operator_gets_exactly_the_rights_that_it_uses(helm: Helm) -> None:
    by_namespace = granted(await helm.template(VALUE_SETS["all rights"]))
    assert set().union(*by_namespace.values()) == used_rights()
    assert {
        namespace: {right[1] for right in granted} for namespace, granted in by_namespace.items() if namespace != "*"
    } == {
        "scaling": {"leases"},
        "kube-system": {"configmaps"},
    }


async def test_rights_of_features_that_are_off_are_not_granted(helm: Helm) -> None:
    resources = {right[:3] for granted_rights in granted(await helm.template({})).values() for right in granted_rights}
    for group, resource, verb in (
        ("autoscaling.x-k8s.io", "capacitybuffers", "create"),
        ("apps", "deployments", "create"),
        ("", "resourcequotas", "list"),
        ("", "configmaps", "get"),
    ):
        assert (group, resource, verb) not in resources
    without_keda = granted(await helm.template(VALUE_SETS["namespaced"]))
    assert "keda.sh" not in {right[0] for granted_rights in without_keda.values() for right in granted_rights}


async def test_namespaces_get_roles_and_the_cluster_none(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["namespaced"])
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    by_namespace = granted(objects)
    assert by_namespace.keys() == {"scaling", "shop", "search"}
    assert by_namespace["shop"] == by_namespace["search"]
    missing = used_rights() - by_namespace["shop"] - by_namespace["scaling"]
    assert {right[0] for right in missing} == {
        "apiextensions.k8s.io",
        "autoscaling.x-k8s.io",
        "keda.sh",
        "apps",
        "",
    }


async def test_no_rule_grants_secrets_or_everything(helm: Helm) -> None:
    for values in VALUE_SETS.values():
        for role in of_kind(await helm.template(values), "Role", "ClusterRole"):
            for group, resource, verb, _ in rights(role["rules"]):
                assert resource != "secrets"
                assert "*" not in (group, resource, verb)


async def test_custom_kinds_are_scaled_but_not_listed(helm: Helm) -> None:
    cluster_wide = granted(await helm.template(VALUE_SETS["custom kinds"]))["*"]
    assert {right[1:3] for right in cluster_wide if right[0] == "argoproj.io"} == {
        (resource, verb) for resource in ("rollouts", "rollouts/scale") for verb in ("get", "patch")
    }


async def test_the_api_may_check_its_callers_only_where_the_settings_say_so(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["access control"])
    name = "scaling-predictive-scaling-access-reviews"
    binding, role = named(objects, "ClusterRoleBinding", name), named(objects, "ClusterRole", name)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "predictive-scaling-api", "namespace": "scaling"}]
    (account_role, *_) = yaml.safe_load_all(API_ROLES.read_text())
    assert rights(role["rules"]) == rights(account_role["rules"])
    tokens = {name for name, template in pod_templates(objects) if template["spec"]["automountServiceAccountToken"]}
    assert tokens == {"operator", "api"}
    policy = named(objects, "NetworkPolicy", "predictive-scaling-api")
    assert {"protocol": "TCP", "port": 6443} in policy["spec"]["egress"][1]["ports"]
    for values in ({}, {"settings": {"apiAuthentication": "tokens"}}):
        names = {body["metadata"]["name"] for body in await helm.template(values)}
        assert name not in names


async def test_only_the_operator_has_an_account_with_rights_and_a_token(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["monitoring"])
    accounts = {name: template["spec"].get("serviceAccountName") for name, template in pod_templates(objects)}
    assert len(set(accounts.values())) == len(accounts) == 5
    tokens = {name for name, template in pod_templates(objects) if template["spec"]["automountServiceAccountToken"]}
    assert tokens == {"operator"}


async def test_users_get_rights_by_the_roles_of_kubernetes_and_decisions_are_read_only(helm: Helm) -> None:
    objects = await helm.template({})
    view = named(objects, "ClusterRole", "scaling-predictive-scaling-view")
    edit = named(objects, "ClusterRole", "scaling-predictive-scaling-edit")
    aggregation = "rbac.authorization.k8s.io/aggregate-to"
    assert {key for key in view["metadata"]["labels"] if key.startswith(aggregation)} == {
        f"{aggregation}-{name}" for name in ("view", "edit", "admin")
    }
    assert f"{aggregation}-view" not in edit["metadata"]["labels"]
    assert {verb for _, _, verb, _ in rights(view["rules"])} == {"get", "list", "watch"}
    assert "scalingdecisions" not in {resource for _, resource, _, _ in rights(edit["rules"])}


async def test_the_rights_of_users_are_those_of_the_roles_without_the_chart(helm: Helm) -> None:
    objects = await helm.template({})
    roles = list(yaml.safe_load_all(USER_ROLES.read_text()))
    assert [role["metadata"]["name"].rpartition("-")[2] for role in roles] == ["view", "edit", "activate"]
    for role in roles:
        rendered = named(objects, "ClusterRole", f"scaling-{role['metadata']['name']}")
        assert rights(rendered["rules"]) == rights(role["rules"])
        assert role["metadata"]["labels"].items() <= rendered["metadata"]["labels"].items()
