"""The rights of each process in the cluster, with the reason for every verb.

config/cluster-role.yaml and docs/rbac.md are generated from them; a test compares them with the Roles of the chart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_GROUP = "predictive-scaling.io"
_LIST = "read all objects when it starts, and every minute to find changes that the watch missed"
_WATCH = "act on a change at once"


class Scope(StrEnum):
    """Where a rule applies."""

    POLICIES = "the namespaces of policies"
    RELEASE = "the namespace of the release"
    SYSTEM = "kube-system"
    CLUSTER = "the cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Verbs on resources of an API group, for one purpose."""

    purpose: str
    group: str
    resources: tuple[str, ...]
    verbs: Mapping[str, str]
    """The reason for each verb: what the process cannot do without it."""
    names: tuple[str, ...] = ()
    """The only objects to which the rule applies; empty for all."""
    scope: Scope = Scope.POLICIES
    switch: str = ""
    """The values of the chart with which the rule exists; empty where it always does."""

    def to_manifest(self) -> dict[str, Any]:
        """Return the rule as a Role contains it."""
        rule = {"apiGroups": [self.group], "resources": [*self.resources], "verbs": [*self.verbs]}
        return rule | ({"resourceNames": [*self.names]} if self.names else {})


OPERATOR: tuple[Rule, ...] = (
    Rule(
        purpose="Policies",
        group=_GROUP,
        resources=("scalingpolicies",),
        verbs={
            "get": "check that a policy is still the one of the decision before its target is written",
            "list": _LIST,
            "watch": _WATCH,
            "patch": "set and remove the finalizer, which restores the target before a policy is gone",
        },
    ),
    Rule(
        purpose="Known events",
        group=_GROUP,
        resources=("businessevents",),
        verbs={
            "get": "read an event that the watch and the list show differently",
            "list": _LIST,
            "watch": _WATCH,
        },
    ),
    Rule(
        purpose="The record of each decision, of which the newest are kept",
        group=_GROUP,
        resources=("scalingdecisions",),
        verbs={
            "get": "read a decision that an earlier process began",
            "list": "find the unfinished decisions of an earlier process, and the old ones",
            "create": "record a decision before it is executed",
            "delete": "remove decisions beyond the number that is kept",
        },
    ),
    Rule(
        purpose="Backtests",
        group=_GROUP,
        resources=("scalingbacktests",),
        verbs={
            "get": "read the spec of a backtest, since the list contains metadata only",
            "list": "find new backtests, and the deleted ones",
            "delete": "remove a backtest after its ttlSecondsAfterFinished",
        },
    ),
    Rule(
        purpose="Statuses",
        group=_GROUP,
        resources=(
            "scalingpolicies/status",
            "businessevents/status",
            "scalingdecisions/status",
            "scalingbacktests/status",
        ),
        verbs={"patch": "show what the operator does, and why"},
    ),
    Rule(
        purpose="Leader election",
        group="coordination.k8s.io",
        resources=("leases",),
        verbs={
            "get": "read who leads",
            "create": "create the Lease in a new installation",
            "update": "become the leader, renew the Lease, and release it at the end",
        },
        scope=Scope.RELEASE,
    ),
    Rule(
        purpose="Events of policies",
        group="events.k8s.io",
        resources=("events",),
        verbs={"create": "report raises, conflicts and failures to `kubectl describe` and `kubectl events`"},
    ),
    Rule(
        purpose="Causes of failed raises, roll-backs, and starts that waited for a node",
        group="",
        resources=("pods", "events"),
        verbs={"list": "read why pods of a raised workload are not ready, and how long their start took"},
    ),
    Rule(
        purpose="HPAs as targets",
        group="autoscaling",
        resources=("horizontalpodautoscalers",),
        verbs={
            "get": "read an HPA that the watch does not show yet, or whose write was refused",
            "list": _LIST,
            "watch": _WATCH,
            "patch": "write minReplicas, and give the field up at the end",
        },
    ),
    Rule(
        purpose="Workloads of targets",
        group="apps",
        resources=("deployments", "statefulsets"),
        verbs={
            "get": "read a workload that the watch does not show yet, or whose write was refused",
            "list": _LIST,
            "watch": _WATCH,
            "patch": "give up the field of the replicas at the end; with node headroom also to size placeholders",
        },
    ),
    Rule(
        purpose="Workloads without an HPA",
        group="apps",
        resources=("deployments/scale", "statefulsets/scale"),
        verbs={"patch": "write the replicas"},
    ),
    Rule(
        purpose="KEDA's ScaledObjects as targets",
        group="keda.sh",
        resources=("scaledobjects",),
        verbs={
            "get": "read a ScaledObject that the watch does not show yet, or whose write was refused",
            "list": _LIST,
            "watch": _WATCH,
            "patch": "write minReplicaCount, and give the field up at the end",
        },
        switch="rbac.keda",
    ),
    Rule(
        purpose="Kinds of custom resources",
        group="apiextensions.k8s.io",
        resources=("customresourcedefinitions",),
        verbs={
            "get": "read which field of a custom resource has its replicas",
            "list": "find the kinds that exist when the operator starts",
            "watch": "find kinds that are installed later",
        },
        scope=Scope.CLUSTER,
        switch="without namespaces",
    ),
    Rule(
        purpose="Node headroom by CapacityBuffers",
        group="autoscaling.x-k8s.io",
        resources=("capacitybuffers",),
        verbs={
            "list": "compare the buffers with what policies need",
            "create": "reserve capacity for the next raise",
            "patch": "change the size of a buffer",
            "delete": "give up capacity that is no longer needed",
        },
        switch="nodeHeadroom.enabled",
    ),
    Rule(
        purpose="Node headroom by Deployments of placeholder pods",
        group="apps",
        resources=("deployments",),
        verbs={
            "create": "reserve capacity for the next raise",
            "delete": "give up capacity that is no longer needed",
        },
        switch="nodeHeadroom.enabled",
    ),
    Rule(
        purpose="ResourceQuotas, which placeholder pods may exhaust",
        group="",
        resources=("resourcequotas",),
        verbs={"list": "create no placeholder that would use the quota of the replicas"},
        switch="nodeHeadroom.enabled",
    ),
    Rule(
        purpose="The certificate authority of the aggregation layer",
        group="",
        resources=("configmaps",),
        names=("extension-apiserver-authentication",),
        verbs={"get": "accept requests for external metrics only from the API server"},
        scope=Scope.SYSTEM,
        switch="externalMetrics.enabled",
    ),
)
"""Of the operator; config/cluster-role.yaml contains all of them."""

RESTORE: tuple[Rule, ...] = (
    Rule(
        purpose="The operator's Deployment, which stops before the release is uninstalled",
        group="apps",
        resources=("deployments/scale",),
        names=("predictive-scaling-operator",),
        verbs={
            "get": "read how many operators run, to start as many again after a failure",
            "patch": "stop the operator, so that it does not write restored targets again",
        },
        scope=Scope.RELEASE,
        switch="restore.enabled",
    ),
)
"""Of the Job `restore`, in addition to those of the operator, whose account it uses."""

API: tuple[Rule, ...] = (
    Rule(
        purpose="Tokens of callers",
        group="authentication.k8s.io",
        resources=("tokenreviews",),
        verbs={"create": "learn who a caller is"},
        scope=Scope.CLUSTER,
        switch="settings.apiAuthentication: kubernetes",
    ),
    Rule(
        purpose="Rights of callers",
        group="authorization.k8s.io",
        resources=("subjectaccessreviews",),
        verbs={"create": "learn what a caller may see and do"},
        scope=Scope.CLUSTER,
        switch="settings.apiAuthentication: kubernetes",
    ),
)
"""Of the HTTP API."""

RULES_BY_PROCESS: Mapping[str, tuple[Rule, ...]] = {
    "operator": OPERATOR,
    "restore": RESTORE,
    "api": API,
    "ingest": (),
    "trainer": (),
    "migrate": (),
}
"""The rules of every process of the chart, which has no others."""

CLUSTER_ROLE_NAME = "predictive-scaling"


def cluster_role() -> dict[str, Any]:
    """Return the ClusterRole with all rules of the operator."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": CLUSTER_ROLE_NAME},
        "rules": [rule.to_manifest() for rule in OPERATOR],
    }
