"""The manifests that go with the data: a policy for each service, a BusinessEvent for each announced incident."""

import re
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
    """Return a ScalingPolicy in mode Recommend. Its 99.9th percentile of demand needs 20 replicas at 70 %."""
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
    """Return a BusinessEvent for each announced incident, past and future. Its effect is left out: it is learned."""
    return [_event(service, incident) for incident in service.announced]


def as_yaml(manifests: Sequence[dict[str, Any]]) -> str:
    """Return the manifests as YAML documents of one stream."""
    return yaml.safe_dump_all(manifests, sort_keys=False, explicit_start=len(manifests) > 1)


def _event(service: Service, incident: Incident) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "BusinessEvent",
        "metadata": {"name": "-".join([service.name, incident.kind, *_occasion(incident)])},
        "spec": {
            "type": str(incident.kind),
            "start": rfc3339(incident.start),
            "end": rfc3339(incident.end),
            "policies": {"matchLabels": _labels(service)},
        },
    }


def _occasion(incident: Incident) -> list[str]:
    """The day, and the name of an incident that has one: a day may have several matches."""
    words = re.findall(r"[a-z0-9]+", incident.name.lower())
    return [f"{incident.start.astimezone(UTC):%Y%m%d}", *words]


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC, to the second.

    >>> rfc3339(datetime(2026, 1, 2, 3, tzinfo=UTC))
    '2026-01-02T03:00:00Z'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _labels(service: Service) -> dict[str, str]:
    return {"app": service.name}


def _per_replica(service: Service) -> str:
    peak = float(np.nanpercentile(service.demand, 99.9))
    per_replica = max(0.001, peak / (_PEAK_REPLICAS * _UTILIZATION))
    return f"{float(f'{per_replica:.{_DIGITS}g}'):f}".rstrip("0").rstrip(".")
