"""Kubernetes API objects for the aggregation layer and the HPA controller: discovery, values and errors."""

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from predictive_scaling.external_metrics.values import Metric, MetricValue, Reading

GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
_VERSION = {"groupVersion": GROUP_VERSION, "version": VERSION}

API_GROUP: dict[str, Any] = {
    "kind": "APIGroup",
    "apiVersion": "v1",
    "name": GROUP,
    "versions": [_VERSION],
    "preferredVersion": _VERSION,
}

API_RESOURCES: dict[str, Any] = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": GROUP_VERSION,
    "resources": [
        {
            "name": metric.value,
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
        for metric in Metric
    ],
}


def labels_of(value: MetricValue) -> dict[str, str]:
    """Return the labels that a selector matches."""
    return {"policy": value.policy, "service": value.service}


def value_list(metric: Metric, values: Sequence[tuple[MetricValue, Reading]]) -> dict[str, Any]:
    """Return an ExternalMetricValueList with an item for each policy."""
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "items": [
            {
                "metricName": metric.value,
                "metricLabels": labels_of(value),
                "timestamp": _time(reading.at),
                "value": format_quantity(reading.value),
            }
            for value, reading in values
        ],
    }


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    """Return a metav1.Status; the HPA shows the message in its condition."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def format_quantity(value: float) -> str:
    """Return a resource.Quantity, rounded to thousandths: integers as they are, others in milli.

    value: finite, at most 9e15 in magnitude.

    >>> format_quantity(820.0), format_quantity(1234.5), format_quantity(0.0004)
    ('820', '1234500m', '0')
    """
    thousandths = int((Decimal(repr(value)) * 1000).to_integral_value(ROUND_HALF_EVEN))
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)
