"""Registration of external.metrics.k8s.io with the API server, and the check for another owner of that API."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.errors import SettingsError
from predictive_scaling.external_metrics.documents import GROUP, VERSION

API_SERVICE = f"{VERSION}.{GROUP}"
"""The name of the APIService; a cluster has at most one of this name."""


@dataclass(frozen=True, slots=True)
class ServiceReference:
    """The Service that routes to the operator."""

    namespace: str
    name: str
    port: int = 443

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def manifests(service: ServiceReference, ca_bundle: bytes, *, target_port: int = 8443) -> list[dict[str, Any]]:
    """Return the operator's Service and the APIService. ca_bundle: PEM of the CA of the serving certificate."""
    labels = {"app.kubernetes.io/name": "predictive-scaling", "app.kubernetes.io/component": "operator"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service.name, "namespace": service.namespace, "labels": labels},
            "spec": {
                "selector": labels,
                "ports": [{"name": "external-metrics", "port": service.port, "targetPort": target_port}],
            },
        },
        api_service(service, ca_bundle),
    ]


def api_service(service: ServiceReference, ca_bundle: bytes) -> dict[str, Any]:
    """Return the APIService."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": service.namespace, "name": service.name, "port": service.port},
            "caBundle": base64.b64encode(ca_bundle).decode(),
        },
    }


def require_no_other_owner(existing: Mapping[str, Any] | None, ours: ServiceReference) -> None:
    """Check the existing APIService (None: there is none) before ours is applied.

    Raises SettingsError with its owner if it refers to another Service: replacing it would break every HPA that reads
    from it.
    """
    if existing is None:
        return
    service = cast("Mapping[str, Any]", existing.get("spec", {}).get("service") or {})
    owner = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "the API server itself"
    if owner != str(ours):
        raise SettingsError(
            f"APIService {API_SERVICE} belongs to {owner}{_release(existing)}; a cluster has only one. "
            "Leave PREDICTIVE_SCALING_EXTERNAL_METRICS off, or remove that APIService first"
        )


def _release(existing: Mapping[str, Any]) -> str:
    release = ObjectMetadata.of(existing).annotations.get("meta.helm.sh/release-name")
    return f" (Helm release {release})" if release else ""
