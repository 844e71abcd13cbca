"""The objects that reserve headroom: a CapacityBuffer, or a Deployment of placeholder pods of low priority."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from predictive_scaling.cluster.client import Json
from predictive_scaling.cluster.object_fields import as_mapping, mappings_in, value_at
from predictive_scaling.cluster.workload_record import WorkloadReference
from predictive_scaling.resources.metadata import GROUP, MAX_NAME_LENGTH, VERSION, PolicyKey

COMPONENT: Final = {
    "app.kubernetes.io/managed-by": "predictive-scaling",
    "app.kubernetes.io/component": "node-headroom",
}
SELECTOR: Final = ",".join(f"{label}={value}" for label, value in COMPONENT.items())
"""Selects the objects of all policies, as a query of the API server."""
POLICY_LABEL: Final = "predictive-scaling.io/policy-uid"
INPUTS_ANNOTATION: Final = "predictive-scaling.io/headroom-inputs"
"""A digest of what an object was made from, to see without another request whether it has to be written again."""
BUFFER_GROUP: Final = "autoscaling.x-k8s.io"
_ACTIVE_CAPACITY = "buffer.x-k8s.io/active-capacity"
_DIGEST = 6
# What decides on which nodes a pod fits. Volumes are left out: a claim can be mounted by its own pod only.
_COPIED = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "schedulerName",
    "runtimeClassName",
    "imagePullSecrets",
    "os",
)


@dataclass(frozen=True, slots=True)
class PlaceholderOptions:
    """Image and PriorityClass of the placeholder pods, as the installation configures them."""

    image: str
    priority_class: str


@dataclass(frozen=True, slots=True)
class HeadroomRequest:
    """The headroom of one policy: spare capacity on nodes for a number of replicas of its workload."""

    policy: PolicyKey
    policy_uid: str
    replicas: int
    workload: WorkloadReference
    template: str
    """A text that differs for each release of the workload's pods."""

    @property
    def name(self) -> str:
        """The name of the object."""
        return headroom_name(self.policy.name)

    def inputs(self, *further: str) -> str:
        """Return a digest of the request and of what else its object is made from."""
        reference = self.workload
        content = (self.replicas, reference.api_version, reference.kind, reference.name, self.template, *further)
        return hashlib.blake2s(json.dumps(content).encode(), digest_size=8).hexdigest()


def headroom_name(policy: str) -> str:
    """Return the name of a policy's object: that of the policy, truncated where necessary, and a suffix."""
    suffix = "headroom"
    if len(policy) + len(suffix) + 1 > MAX_NAME_LENGTH:
        suffix = f"{hashlib.sha256(policy.encode()).hexdigest()[:_DIGEST]}-{suffix}"
    return f"{policy[: MAX_NAME_LENGTH - len(suffix) - 1].rstrip('-.')}-{suffix}"


def capacity_buffer(request: HeadroomRequest, version: str) -> Json:
    """Return the CapacityBuffer of a request. version: of the API that the cluster serves."""
    reference = request.workload
    return {
        "apiVersion": f"{BUFFER_GROUP}/{version}",
        "kind": "CapacityBuffer",
        "metadata": _metadata(request, request.inputs(version)),
        "spec": {
            "provisioningStrategy": _ACTIVE_CAPACITY,
            "scalableRef": {"apiGroup": reference.group, "kind": reference.kind, "name": reference.name},
            "replicas": request.replicas,
        },
    }


def placeholders(request: HeadroomRequest, template: Mapping[str, Any], options: PlaceholderOptions) -> Json:
    """Return the Deployment of placeholder pods of a request. template: the pod template of the workload."""
    labels = COMPONENT | {POLICY_LABEL: request.policy_uid}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(request, request.inputs(options.image, options.priority_class)),
        "spec": {
            "replicas": request.replicas,
            "selector": {"matchLabels": labels},
            # A rolling update would need capacity for the old and the new pods at the same time.
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": _placeholder(as_mapping(template.get("spec")), _labels(template), labels, options),
            },
        },
    }


def _metadata(request: HeadroomRequest, inputs: str) -> Json:
    return {
        "name": request.name,
        "namespace": request.policy.namespace,
        "labels": COMPONENT | {POLICY_LABEL: request.policy_uid},
        "annotations": {INPUTS_ANNOTATION: inputs},
        "ownerReferences": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "ScalingPolicy",
                "name": request.policy.name,
                "uid": request.policy_uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def _placeholder(
    pod: Mapping[str, Any], pod_labels: Mapping[str, str], labels: Mapping[str, str], options: PlaceholderOptions
) -> Json:
    """A pod that requests what a pod of the workload requests, and does nothing."""
    copied = {name: pod[name] for name in _COPIED if pod.get(name)}
    sidecars = [container for container in _containers(pod, "initContainers") if container.get("restartPolicy")]
    return {
        **_repelling(copied, pod_labels, labels),
        "containers": [_pause(container, options) for container in (*_containers(pod, "containers"), *sidecars)],
        "priorityClassName": options.priority_class,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65535, "seccompProfile": {"type": "RuntimeDefault"}},
    }


def _pause(container: Mapping[str, Any], options: PlaceholderOptions) -> Json:
    return {
        "name": str(container.get("name")),
        "image": options.image,
        "resources": {
            name: amounts
            for name, amounts in as_mapping(container.get("resources")).items()
            if name in ("requests", "limits")
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _repelling(pod: Json, pod_labels: Mapping[str, str], labels: Mapping[str, str]) -> Json:
    """The pod with rules between the workload's pods applied between placeholders, which have other labels.

    Otherwise placeholders could share a node that the workload's own pods may not share. A spread constraint is
    replaced: the API server refuses two constraints with the same topologyKey and whenUnsatisfiable.
    """
    constraints = [
        constraint | {"labelSelector": {"matchLabels": dict(labels)}}
        if _selects(constraint.get("labelSelector"), pod_labels)
        else constraint
        for constraint in pod.get("topologySpreadConstraints") or ()
    ]
    spread = {"topologySpreadConstraints": constraints} if constraints else {}
    return pod | spread | _repelling_affinity(pod, pod_labels, labels)


def _repelling_affinity(pod: Json, pod_labels: Mapping[str, str], labels: Mapping[str, str]) -> Json:
    affinity = as_mapping(pod.get("affinity"))
    apart = as_mapping(affinity.get("podAntiAffinity"))
    if not apart:
        return {}
    own = {"matchLabels": dict(labels)}
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    repeated = {
        required: [
            *(apart.get(required) or ()),
            *(
                {"labelSelector": own, "topologyKey": term["topologyKey"]}
                for term in apart.get(required) or ()
                if _selects(term.get("labelSelector"), pod_labels)
            ),
        ],
        preferred: [
            *(apart.get(preferred) or ()),
            *(
                {
                    "weight": term["weight"],
                    "podAffinityTerm": {"labelSelector": own, "topologyKey": term["podAffinityTerm"]["topologyKey"]},
                }
                for term in apart.get(preferred) or ()
                if _selects(as_mapping(term.get("podAffinityTerm")).get("labelSelector"), pod_labels)
            ),
        ],
    }
    return {"affinity": {**affinity, "podAntiAffinity": {name: terms for name, terms in repeated.items() if terms}}}


def _selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects pods with these labels. False for an absent, empty or invalid selector."""
    terms = as_mapping(selector)
    expected, expressions = as_mapping(terms.get("matchLabels")), terms.get("matchExpressions") or ()
    if not expected and not expressions:
        return False
    return all(labels.get(name) == value for name, value in expected.items()) and all(
        _matches(as_mapping(expression), labels) for expression in expressions
    )


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(str(expression.get("key"))), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False


def _labels(template: Mapping[str, Any]) -> Mapping[str, str]:
    return as_mapping(value_at(template, ("metadata", "labels")))


def _containers(pod: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    return mappings_in(pod.get(field))
