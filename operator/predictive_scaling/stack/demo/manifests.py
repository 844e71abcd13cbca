"""The objects that the demo creates: two Deployments with HPAs that differ in a policy only."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from predictive_scaling.external_metrics.values import Metric
from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.stack.demo.scenario import (
    HPA_UTILIZATION,
    METRIC,
    POD_START,
    SERVICE,
    DemoScenario,
    object_name,
)
from predictive_scaling.stack.demo.workload import MINUTE, Match
from predictive_scaling.stack.kubelets import NODE

Manifest = dict[str, Any]

NAMESPACE = "match-day"
HPA_ONLY = "site-hpa-only"
PREDICTIVE = "site-predictive"
POLICY = "site"
MAX_REPLICAS = 60
_EVENT_LABELS = {"events": "matches"}

HPA_SYNC = timedelta(seconds=15)
"""Kubernetes' default, as the window and the policies below."""
HPA_DOWN_WINDOW = timedelta(minutes=5)
_UP_PERCENT, _UP_PODS, _POLICY_PERIOD = 100, 4, timedelta(seconds=15)

LEAD_TIME = POD_START + MINUTE
"""A minute more than a pod needs to start, in which a sample arrives and the HPA syncs."""

DOWN_WINDOW = HPA_DOWN_WINDOW
"""The HPA waits as long again after the floor was lowered."""
HORIZON = timedelta(hours=3)
"""As far as a forecast made before a match's ramp has to reach, to the end of the match."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Kubernetes' own times, divided by how much faster the demo's clock runs."""

    rate: float

    def seconds(self, duration: timedelta) -> float:
        """Real seconds that `duration` of the demo's time takes."""
        return duration.total_seconds() / self.rate

    def behavior(self) -> Manifest:
        """An HPA's default behaviour in real seconds, rounded to the smallest unit of the API.

        A policy's period becomes one second; its value is what the default allows in the demo time that a second lasts:
        a doubling, or four pods, every 15 seconds.
        """
        periods = max(1.0, self.rate / _POLICY_PERIOD.total_seconds())
        doubling = min(100_000, math.ceil(100 * ((1 + _UP_PERCENT / 100) ** periods - 1)))
        window = round(self.seconds(HPA_DOWN_WINDOW))
        return {
            "scaleUp": {
                "stabilizationWindowSeconds": 0,
                "selectPolicy": "Max",
                "policies": [
                    {"type": "Percent", "value": doubling, "periodSeconds": 1},
                    {"type": "Pods", "value": math.ceil(_UP_PODS * periods), "periodSeconds": 1},
                ],
            },
            "scaleDown": {
                "stabilizationWindowSeconds": window,
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 1}],
            },
        }


def namespace() -> Manifest:
    """The namespace of all objects of the demo."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def deployment_with_hpa(name: str, scenario: DemoScenario, pace: Pace) -> list[Manifest]:
    """A Deployment and its HPA, which leaves out minReplicas so that a policy may own it."""
    labels = {"app": name}
    container = {"name": "site", "image": "registry.invalid/site:1"}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"nodeName": NODE, "containers": [container]}},
            },
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "maxReplicas": MAX_REPLICAS,
                "behavior": pace.behavior(),
                "metrics": [_demand_metric(scenario.per_replica)],
            },
        },
    ]


def policy(scenario: DemoScenario) -> Manifest:
    """The ScalingPolicy, which only the predictive Deployment has."""
    return {
        "apiVersion": "predictive-scaling.io/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": POLICY, "namespace": NAMESPACE, "labels": _EVENT_LABELS},
        "spec": {
            "mode": "Auto",
            "target": {"horizontalPodAutoscaler": {"name": PREDICTIVE}},
            "demand": {
                "service": SERVICE,
                "metric": METRIC,
                "perReplica": f"{scenario.per_replica:.3f}",
                "targetUtilization": round(100 * HPA_UTILIZATION),
            },
            "forecast": {
                "quantile": scenario.quantile,
                "horizon": format_duration(HORIZON),
                "leadTime": format_duration(LEAD_TIME),
            },
            "replicas": {"min": 1, "max": MAX_REPLICAS},
            "scaleDown": {"stabilizationWindow": format_duration(DOWN_WINDOW)},
        },
    }


def event(match: Match) -> Manifest:
    """A match, past or upcoming, without an expectation: the product learns its effect from the earlier matches."""
    return {
        "apiVersion": "predictive-scaling.io/v1alpha1",
        "kind": "BusinessEvent",
        "metadata": {"name": object_name(match), "namespace": NAMESPACE},
        "spec": {
            "type": match.type,
            "start": match.start.isoformat().replace("+00:00", "Z"),
            "end": match.end.isoformat().replace("+00:00", "Z"),
            "rampUp": format_duration(match.ramp),
            "policies": {"matchLabels": _EVENT_LABELS},
        },
    }


def _demand_metric(per_replica: float) -> Manifest:
    selector = {"matchLabels": {"policy": POLICY}}
    target = {"type": "AverageValue", "averageValue": str(round(per_replica * HPA_UTILIZATION))}
    return {
        "type": "External",
        "external": {"metric": {"name": Metric.DEMAND.value, "selector": selector}, "target": target},
    }
