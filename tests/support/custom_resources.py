"""Manifests of the custom resources with few fields, and writes of their statuses."""

import json
from typing import Any

from predictive_scaling.resources.metadata import API_VERSION
from tests.support.kubectl import Kubectl


def a_manifest(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return a custom resource of the operator."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_minimal_policy(name: str = "checkout", **spec: Any) -> dict[str, Any]:
    """Return a policy with the required fields only; `spec` adds or replaces fields."""
    minimal = {
        "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
        "demand": {"metric": "requests_per_second"},
        "replicas": {"max": 40},
    }
    return a_manifest("ScalingPolicy", name, **(minimal | spec))


def a_scaling_decision(name: str, policy: str) -> dict[str, Any]:
    """Return a raise from 4 to 9."""
    change = {"type": "ScaleUp", "from": 4, "to": 9, "uncapped": 9, "mode": "Auto", "source": "Forecast"}
    cause = {"policy": policy, "service": "checkout", "target": "hpa/checkout", "reason": "ForecastRose"}
    return a_manifest("ScalingDecision", name, **change, **cause, message="812 requests/s expected at 18:05")


async def write_status(kubectl: Kubectl, kind: str, name: str, status: dict[str, Any]) -> None:
    """Merge a status into that of an object."""
    patch = json.dumps({"status": status})
    await kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)
