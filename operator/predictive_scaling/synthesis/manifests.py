"""What to apply beside the data: a policy for each service, and a BusinessEvent for each thing that was announced."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import yaml

from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.synthesis.incidents import Incident
from predictive_scaling.synthesis.services import Service

_PEAK_REPLICAS = 20
_UTILIZATION = 0.7
_MAX_REPLICAS = 40
_DIGITS = 3


def policy(service: Service) -> dict[str, Any]:
    """A ScalingPolicy that only recommends. One replica is such that the 99.9th percentile needs 20 at 70 %."""
    demand: dict[str, Any] = {"metric": service.profile.metric, "perReplica": _per_replica(service)}
    if service.profile.zero_is_valid:
        demand["zeroIsValid"] = True
    return {
        "apiVersion": API_VERSION,
        "kind": "ScalingPolicy",
        "metadata": {"name": service.name, "labels": _labels(service)},
        "spec": {
            "mode": "Recommend",
            "target": {"horizontalPodAutoscaler": {"name": service.name}},
            "demand": demand,
            "replicas": {"min": 2, "max": _MAX_REPLICAS},
        },
    }


def events(service: Service) -> list[dict[str, Any]]:
    """A BusinessEvent for each that was announced, past and coming. What it does is not told: it is to be learned."""
    return [_event(service, one) for one in service.announced]


def as_yaml(manifests: Sequence[dict[str, Any]]) -> str:
    """One document after the other."""
    return yaml.safe_dump_all(manifests, sort_keys=False, explicit_start=len(manifests) > 1)


def _event(service: Service, one: Incident) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "BusinessEvent",
        "metadata": {"name": f"{service.name}-{one.kind}-{one.start.astimezone(UTC):%Y%m%d}"},
        "spec": {
            "type": str(one.kind),
            "start": rfc3339(one.start),
            "end": rfc3339(one.end),
            "policies": {"matchLabels": _labels(service)},
        },
    }


def rfc3339(moment: datetime) -> str:
    """In UTC, to the second.

    >>> rfc3339(datetime(2026, 1, 2, 3, tzinfo=UTC))
    '2026-01-02T03:00:00Z'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _labels(service: Service) -> dict[str, str]:
    return {"app": service.name}


def _per_replica(service: Service) -> str:
    peak = float(np.nanpercentile(service.demand, 99.9))
    one = max(0.001, peak / (_PEAK_REPLICAS * _UTILIZATION))
    return f"{float(f'{one:.{_DIGITS}g}'):f}".rstrip("0").rstrip(".")
