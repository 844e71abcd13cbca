"""config/cluster-role.yaml and docs/rbac.md, generated from the rights of the processes."""

from collections.abc import Iterator

from predictive_scaling.cluster.rights import API, OPERATOR, RESTORE, RULES_BY_PROCESS, Rule


def cluster_role_file() -> str:
    """Return the text of config/cluster-role.yaml."""
    lines = [line for rule in OPERATOR for line in _manifest_lines(rule)]
    return "\n".join([_ROLE_HEAD.strip(), *lines]) + "\n"


def document() -> str:
    """Return the text of docs/rbac.md."""
    idle = ", ".join(f"`{name}`" for name, rules in RULES_BY_PROCESS.items() if not rules)
    parts = [
        _DOCUMENT_HEAD.strip(),
        "## Operator",
        *map(_section, OPERATOR),
        "## Job `restore`",
        "It uses the account of the operator, and in addition:",
        *map(_section, RESTORE),
        "## HTTP API",
        *map(_section, API),
        "## Processes without rights",
        f"{idle}: they send no request to the API server, and their pods mount no token.",
        _DOCUMENT_END.strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _manifest_lines(rule: Rule) -> Iterator[str]:
    yield f"  # {rule.purpose}."
    yield f"  - apiGroups: [{rule.group or _CORE}]"
    for key, values in (("resources", rule.resources), ("resourceNames", rule.names), ("verbs", rule.verbs)):
        if values:
            yield f"    {key}: [{', '.join(values)}]"


def _section(rule: Rule) -> str:
    resources = ", ".join(f"`{resource}`" for resource in rule.resources)
    names = f", only {', '.join(f'`{name}`' for name in rule.names)}" if rule.names else ""
    switch = f"; with `{rule.switch}`" if rule.switch else ""
    rows = [f"| `{verb}` | {reason} |" for verb, reason in rule.verbs.items()]
    where = f"{resources} of {f'`{rule.group}`' if rule.group else 'the core group'}{names}, in {rule.scope}{switch}."
    return "\n".join([f"### {rule.purpose}", "", where, "", "| verb | to |", "|---|---|", *rows])


_CORE = '""'
_ROLE_HEAD = """
# All rights that the operator uses in the cluster. docs/rbac.md has the reason for each verb; `make chart` writes both.
#   kubectl apply -f config/cluster-role.yaml
#   kubectl create clusterrolebinding predictive-scaling \\
#     --clusterrole=predictive-scaling --serviceaccount=NAMESPACE:NAME
# With PREDICTIVE_SCALING_NAMESPACES, a RoleBinding in each of these namespaces and in that of the Lease is enough.
# Leave out the rules of what you do not use; the log, or the status of the policy concerned, names a right that is
# missing. Ingest and training need no rights; for the HTTP API see api-roles.yaml.
# Custom resources that are scaled need a rule of their own, such as:
#   - apiGroups: [argoproj.io]
#     resources: [rollouts, rollouts/scale]
#     verbs: [get, patch]
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: predictive-scaling
rules:
"""
_DOCUMENT_HEAD = """
# Rights

Every right that a process has in the cluster, and what it cannot do without it. The Helm chart grants exactly these,
and those of the operator are also in [config/cluster-role.yaml](../config/cluster-role.yaml). `make chart` writes
this page; tests show on a real API server that every verb is used, that accounts have no other right, and that the
tests and `make demo` need no more.

With a list of `namespaces`, the chart creates Roles in these namespaces, no ClusterRole for the operator, and no
right in any other namespace. The operator then does not see kinds that are installed later, and scales no custom
resources whose replicas are in another field than `spec.replicas`: this needs `get` on `customresourcedefinitions`,
which is a right in the cluster.

Every account may also discover the served APIs and ask what it may do (`system:discovery`, `system:basic-user`), as
Kubernetes grants it. What happens without one of the rights is in [conditions](conditions.md#rights).
"""
_DOCUMENT_END = """
## Custom resources as targets

Each entry of `rbac.scalableKinds` grants `get` and `patch` on the kind and on its `scale`: `get` to read the object
and its replicas, `patch` to write them and to give the field up at the end. See
[workloads without an HPA](conditions.md#workloads-without-an-hpa).

## People

With `rbac.aggregateClusterRoles` the chart extends the ClusterRoles of Kubernetes: `view`, `edit` and `admin` may
`get`, `list` and `watch` all our kinds, `edit` and `admin` may write `scalingpolicies`, `businessevents` and
`scalingbacktests`, and `admin` may `activate` policies, which mode `Auto` can be made to require
([tenancy](tenancy.md)). Nobody but the operator writes `scalingdecisions` or a status. Callers of the HTTP API need the
ClusterRoles of [config/api-roles.yaml](../config/api-roles.yaml), see [access control](http-api.md).
"""
