"""Records of the workloads that run the replicas: Deployments, StatefulSets and custom resources with /scale."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from predictive_scaling.cluster.field_ownership import REPLICAS, MinimumField, field_ownership
from predictive_scaling.cluster.object_fields import FieldPath, as_mapping, mappings_in, value_at
from predictive_scaling.cluster.object_metadata import ObjectMetadata

_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}
# Conditions of a Deployment whose pods cannot be created.
_FAILURE_CONDITIONS = frozenset({"ReplicaFailure"})
_WATCHED: Final = frozenset({"Deployment", "StatefulSet"})
_DEFAULT_REPLICAS = 1
_LABEL_NAME = re.compile(r"([\w.-]+/)?[\w.-]+", re.ASCII)
_LABEL_VALUE = re.compile(r"[\w.-]*", re.ASCII)


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
        status, metadata, spec = as_mapping(body.get("status")), ObjectMetadata.of(body), as_mapping(body.get("spec"))
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
    for condition in mappings_in(conditions):
        if condition.get("type") in _FAILURE_CONDITIONS and condition.get("status") == "True":
            return f"{condition.get('reason', 'ReplicaFailure')}: {condition.get('message', '')}".strip()
    return None


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _selector(selector: Any) -> str | None:
    """A label selector as a query, such as `app=checkout,tier in (web)`; None if it is absent or invalid.

    A part that is invalid is not left out: the rest would select other pods too.
    """
    if not isinstance(selector, Mapping):
        return None
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or ()
    if not isinstance(labels, Mapping) or not isinstance(expressions, list | tuple):
        return None
    terms = [_term({"key": key, "operator": "In", "values": [value]}) for key, value in labels.items()]
    terms += [_term(expression) for expression in expressions]
    valid = [term for term in terms if term is not None]
    return ",".join(valid) if valid and len(valid) == len(terms) else None


def _term(expression: Any) -> str | None:
    stated = as_mapping(expression)
    key, values = stated.get("key"), stated.get("values") or ()
    if not isinstance(key, str) or _LABEL_NAME.fullmatch(key) is None or not isinstance(values, list | tuple):
        return None
    listed = [value for value in values if isinstance(value, str) and _LABEL_VALUE.fullmatch(value)]
    if len(listed) != len(values):
        return None
    match stated.get("operator"):
        case "In" if listed:
            return f"{key}={listed[0]}" if len(listed) == 1 else f"{key} in ({','.join(listed)})"
        case "NotIn" if listed:
            return f"{key} notin ({','.join(listed)})"
        case "Exists":
            return key
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
