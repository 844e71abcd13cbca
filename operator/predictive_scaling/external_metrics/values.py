"""The newest demand and forecast of each policy from the control loop, in memory, so that no HPA waits for I/O."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

_MAX_VALUE = 9e15
"""An HPA stores thousandths in 64 bits."""


class Metric(StrEnum):
    """A served metric. Values are in the unit of the policy's demand, such as requests per second."""

    DEMAND = "predictive-scaling-demand"
    """The newest observed demand."""
    FORECAST = "predictive-scaling-forecast"
    """The demand of the forecast floor: the maximum of the policy's quantile over its window."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, the time of its measurement or forecast, and the time at which it expires (exclusive)."""

    value: float
    at: datetime
    valid_until: datetime

    def serves_at(self, now: datetime) -> bool:
        """Whether it may be served: not stale, finite, not negative, within the range of an HPA."""
        return now < self.valid_until and math.isfinite(self.value) and 0 <= self.value <= _MAX_VALUE


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric of a policy; reading: None while there is none."""

    policy: str
    service: str
    reading: Reading | None


class MetricSource(Protocol):
    """The port from which the server reads metric values."""

    @property
    def is_complete(self) -> bool:
        """Whether it holds every policy of the cluster."""
        ...

    def values(self, namespace: str, metric: Metric) -> Sequence[MetricValue]:
        """Return a value for each policy of the namespace, even without a reading: a missing item is less demand."""
        ...


class ExternalMetricStore:
    """The MetricSource of the control loop. Written by the tick and read by the server, in one event loop."""

    def __init__(self, *, is_complete: bool = True) -> None:
        self.is_complete = is_complete
        """False until all policies were listed: until then a policy that is missing may still exist."""
        self._namespaces: dict[str, dict[str, dict[Metric, MetricValue]]] = {}

    def publish(
        self, namespace: str, policy: str, service: str, *, demand: Reading | None, forecast: Reading | None
    ) -> None:
        """Replace the readings of a policy. None: there is no reading, or demand is an untrusted zero."""
        self._namespaces.setdefault(namespace, {})[policy] = {
            Metric.DEMAND: MetricValue(policy, service, demand),
            Metric.FORECAST: MetricValue(policy, service, forecast),
        }

    def remove(self, namespace: str, policy: str) -> None:
        """Remove the readings of a policy, if there are any."""
        policies = self._namespaces.get(namespace, {})
        policies.pop(policy, None)
        if not policies:
            self._namespaces.pop(namespace, None)

    def values(self, namespace: str, metric: Metric) -> Sequence[MetricValue]:
        return [metrics[metric] for _, metrics in sorted(self._namespaces.get(namespace, {}).items())]

    def all_values(self) -> dict[tuple[str, str], dict[Metric, MetricValue]]:
        """Return all values by namespace and name of the policy."""
        return {
            (namespace, policy): metrics
            for namespace, policies in self._namespaces.items()
            for policy, metrics in policies.items()
        }
