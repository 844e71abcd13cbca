"""The status that kstatus computes, by which Flux and `kustomize` clients wait for a custom resource.

The rules are those of the package's documentation, in this order:
https://pkg.go.dev/sigs.k8s.io/cli-utils/pkg/kstatus (Statuses, Conditions) and .../kstatus/status (Compute).
"""

from enum import StrEnum
from typing import Any


class KStatus(StrEnum):
    """Progress of an object towards its spec."""

    TERMINATING = "Terminating"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"


def kstatus(body: dict[str, Any]) -> KStatus:
    """Return the status of a custom resource, as read from the API server."""
    metadata, status = body["metadata"], body.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return KStatus.TERMINATING
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata["generation"]:
        return KStatus.IN_PROGRESS
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if conditions.get("Reconciling") == "True":
        return KStatus.IN_PROGRESS
    if conditions.get("Stalled") == "True":
        return KStatus.FAILED
    # An object without Ready counts as current: its type does not follow the convention.
    return KStatus.CURRENT if conditions.get("Ready", "True") == "True" else KStatus.IN_PROGRESS
