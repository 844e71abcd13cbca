"""Records of the workloads that run the replicas: Deployments, StatefulSets and custom resources with /scale."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from predictive_scaling.cluster.field_ownership import (
    REPLICAS,
    FieldPath,
    MinimumField,
    field_ownership,
    value_at,
)
from predictive_scaling.cluster.object_metadata import ObjectMetadata

_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}
# Conditions of a Deployment whose pods cannot be created.
_FAILURE_CONDITIONS = frozenset({"ReplicaFailure"})
_WATCHED: Final = frozenset({"Deployment", "StatefulSet"})
_DEFAULT_REPLICAS = 1


@dataclass(frozen=True, slots=True)
class WorkloadReference:
    """The scaleTargetRef of an HPA, or the workload of a policy."""

    api_version: str
    kind: str
    name: str

    @property
    def group(self) -> str:
        """Its API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def is_watched(self) -> bool:
        """Whether the operator watches objects of this kind."""
        return self.group == "apps" and self.kind in _WATCHED

    def path(self, namespace: str) -> str:
        """Return its path in the API server. The plural of other kinds is guessed."""
        plural = _PLURALS.get(self.kind, f"{self.kind.lower()}s")
        root = "/apis" if "/" in self.api_version else "/api"
        return f"{root}/{self.api_version}/namespaces/{namespace}/{plural}/{self.name}"


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """The numbers of replicas of a workload, and who sets them."""

    desired: int
    """spec.replicas; 1 where it is not set, as the controllers of workloads assume."""
    existing: int
    ready: int
    failure: str | None
    """Why replicas cannot be created, from the workload's own conditions; None if they can."""
    uid: str = ""
    resource_version: int = 0
    managers: tuple[str, ...] = ()
    """Field managers that state spec.replicas, newest write first."""
    foreign_write: str | None = None
    """The newest write of spec.replicas by another manager, in a text that differs for each write."""
    given_up: bool = False
    """spec.replicas is a default: the manager that set it last removed the field from the manifest."""
    selector: str | None = None
    """The label selector of its pods, as a query of the API server; None if it states none."""
    template: str = ""
    """A digest of its pod template, which differs for each release; empty if it has none."""

    @classmethod
    def parse(cls, body: Mapping[str, Any], replicas: FieldPath = REPLICAS) -> "WorkloadRecord":
        """Return the record of a workload of the API server. replicas: path of the field with its replicas."""
        status, metadata, spec = _mapping(body.get("status")), ObjectMetadata.of(body), _mapping(body.get("spec"))
        ownership = field_ownership(body, MinimumField(replicas[-1], _DEFAULT_REPLICAS, replicas[:-1]))
        return cls(
            desired=_count(value_at(body, replicas), _DEFAULT_REPLICAS),
            existing=_count(status.get("replicas"), 0),
            ready=_count(status.get("readyReplicas"), 0),
            failure=_failure(status.get("conditions")),
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            managers=ownership.managers,
            foreign_write=ownership.foreign_write,
            given_up=ownership.is_given_up,
            selector=_selector(spec.get("selector")),
            template=_digest(spec.get("template")),
        )


def _failure(conditions: Any) -> str | None:
    for condition in _mappings(conditions):
        if condition.get("type") in _FAILURE_CONDITIONS and condition.get("status") == "True":
            return f"{condition.get('reason', 'ReplicaFailure')}: {condition.get('message', '')}".strip()
    return None


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list | tuple) else ()


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _selector(selector: Any) -> str | None:
    """A label selector as a query, such as `app=checkout,tier in (web)`; None if it is absent or invalid."""
    if not isinstance(selector, Mapping):
        return None
    terms = [f"{key}={value}" for key, value in _mapping(selector.get("matchLabels")).items()]
    for expression in _mappings(selector.get("matchExpressions")):
        term = _term(_mapping(expression))
        if term is None:
            return None
        terms.append(term)
    return ",".join(terms) or None


def _term(expression: Mapping[str, Any]) -> str | None:
    key, values = expression.get("key"), ",".join(map(str, expression.get("values") or ()))
    match expression.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "Exists":
            return f"{key}"
        case "DoesNotExist":
            return f"!{key}"
        case _:
            return None


def _digest(template: Any) -> str:
    if not isinstance(template, Mapping):
        return ""
    content = json.dumps(template, sort_keys=True, default=_plain)
    return hashlib.blake2s(content.encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """A view of a watched object as the dictionary or list that it shows."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Iterable) else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
