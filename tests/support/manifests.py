"""Manifests as users write them, with the fields that matter to tests."""

from typing import Any

from predictive_scaling.stack.kubelets import NODE

Manifest = dict[str, Any]


def a_deployment(name: str, *, replicas: int | None = None) -> Manifest:
    """Return a Deployment of pause containers, by default without `replicas`, which the HPA then owns."""
    labels = {"app": name}
    container = {"name": "app", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": {"cpu": "10m"}}}
    pod: Manifest = {"containers": [container], "nodeName": NODE}
    spec: Manifest = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def a_node(name: str, pool: str, *, cpu: str = "64", memory: str = "64Gi", pods: int = 100, **spec: Any) -> Manifest:
    """Return a node of a pool, on which only the pods that select the pool run."""
    size = {"cpu": cpu, "memory": memory, "pods": str(pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"pool": pool, "kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {"capacity": size, "allocatable": size},
    }


def a_pooled_deployment(name: str, pool: str, requests: dict[str, str] | None = None) -> Manifest:
    """Return a Deployment whose pods the scheduler assigns to nodes of a pool."""
    deployment = a_deployment(name)
    pod = deployment["spec"]["template"]["spec"]
    del pod["nodeName"]
    pod["nodeSelector"] = {"pool": pool}
    pod["containers"][0]["resources"]["requests"] = requests or {"cpu": "10m"}
    return deployment


def a_stateful_set(name: str, *, replicas: int | None = None) -> Manifest:
    """Return a StatefulSet with the pods of `a_deployment`, which all start at once."""
    body = a_deployment(name, replicas=replicas)
    spec = body["spec"] | {"serviceName": name, "podManagementPolicy": "Parallel"}
    return body | {"kind": "StatefulSet", "spec": spec}


def a_rollout(name: str, *, size: int | None = None) -> Manifest:
    """Return a custom resource of `a_rollout_definition`. No controller runs for it."""
    spec = {} if size is None else {"size": size}
    return {"apiVersion": "example.com/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec}


def a_rollout_definition() -> Manifest:
    """Return the CustomResourceDefinition of Rollouts, whose scale subresource writes spec.size, default 1."""
    any_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 0, "default": 1}}}
    version: Manifest = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": any_object}}},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.size",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Rollout", "plural": "rollouts", "singular": "rollout"},
            "versions": [version],
        },
    }


def an_autoscaler(name: str, *, minimum: int | None = 2, maximum: int = 40) -> Manifest:
    """Return an HPA on CPU. Without CPU metrics in the cluster it only follows its minimum."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "maxReplicas": maximum,
        "metrics": [cpu],
    }
    if minimum is not None:
        spec["minReplicas"] = minimum
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": spec,
    }


def a_scaled_object(
    name: str, *, minimum: int | None = 2, maximum: int = 40, annotations: dict[str, str] | None = None, **spec: Any
) -> Manifest:
    """Return a ScaledObject of the Deployment of the same name; `spec` adds fields."""
    trigger = {"type": "rabbitmq", "metadata": {"queueName": name, "mode": "QueueLength", "value": "20"}}
    body: Manifest = {"scaleTargetRef": {"name": name}, "maxReplicaCount": maximum, "triggers": [trigger]}
    if minimum is not None:
        body["minReplicaCount"] = minimum
    metadata: Manifest = {"name": name}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": body | spec}


def an_autoscaler_of_keda(scaled_object: Manifest) -> Manifest:
    """Return the HPA that KEDA creates for a ScaledObject of the API server: minimum, maximum and owner."""
    metadata, spec = scaled_object["metadata"], scaled_object["spec"]
    autoscaler = an_autoscaler(
        metadata["name"], minimum=spec.get("minReplicaCount") or 1, maximum=spec.get("maxReplicaCount", 100)
    )
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "controller": True, "blockOwnerDeletion": True}
    owner |= {"name": metadata["name"], "uid": metadata["uid"]}
    autoscaler["metadata"] = {"name": f"keda-hpa-{metadata['name']}", "ownerReferences": [owner]}
    return autoscaler


def a_scaling_policy(name: str = "checkout", *, mode: str = "Auto", maximum: int = 40, **spec: Any) -> Manifest:
    """Return a policy for the HPA of the same name with 100 per replica; `spec` adds or replaces fields."""
    body: Manifest = {
        "mode": mode,
        "target": {"horizontalPodAutoscaler": {"name": name}},
        "demand": {"metric": "requests_per_second", "perReplica": "100"},
        "replicas": {"min": 1, "max": maximum},
    }
    return {
        "apiVersion": "predictive-scaling.io/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": name},
        "spec": body | spec,
    }


def a_business_event(name: str, **spec: Any) -> Manifest:
    """Return an event for every policy of the namespace; `spec` contains its times and expectation."""
    return {
        "apiVersion": "predictive-scaling.io/v1alpha1",
        "kind": "BusinessEvent",
        "metadata": {"name": name},
        "spec": {"policies": {"all": True}} | spec,
    }
