"""Demand and forecast of each policy, as the control loop last saw them: from memory, so that no HPA waits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

_LARGEST = 9e15
"""An HPA counts in thousandths, in 64 bits."""


class Metric(StrEnum):
    """What is served. Values are in the unit of the policy's demand (requests per second, for one)."""

    DEMAND = "predictive-scaling-demand"
    """The newest demand that was observed."""
    FORECAST = "predictive-scaling-forecast"
    """The demand that the forecast floor is made from: the highest of the policy's quantile over its window."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A number, when it was measured or made, and when it ends to be true (exclusive)."""

    value: float
    at: datetime
    valid_until: datetime

    def serves_at(self, now: datetime) -> bool:
        """Whether it may be shown: not stale, finite, not negative, not beyond what an HPA can count."""
        return now < self.valid_until and math.isfinite(self.value) and 0 <= self.value <= _LARGEST


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One metric of one policy; no reading where there is none yet."""

    policy: str
    service: str
    reading: Reading | None


class MetricSource(Protocol):
    """Where the server gets its numbers."""

    @property
    def is_complete(self) -> bool:
        """Whether every policy of the cluster is among them."""
        ...

    def values(self, namespace: str, metric: Metric) -> Sequence[MetricValue]:
        """One for each policy of the namespace, those without a reading too: missing must not look like less."""
        ...


class ExternalMetricStore:
    """The MetricSource of the control loop. Written by the tick and read by the server, in one event loop."""

    def __init__(self, *, is_complete: bool = True) -> None:
        self.is_complete = is_complete
        """False until all policies are known: a policy that is missing may be there all the same."""
        self._namespaces: dict[str, dict[str, dict[Metric, MetricValue]]] = {}

    def publish(
        self, namespace: str, policy: str, service: str, *, demand: Reading | None, forecast: Reading | None
    ) -> None:
        """Replace what is shown of a policy. None: there is nothing to show (an untrusted zero is nothing as well)."""
        self._namespaces.setdefault(namespace, {})[policy] = {
            Metric.DEMAND: MetricValue(policy, service, demand),
            Metric.FORECAST: MetricValue(policy, service, forecast),
        }

    def forget(self, namespace: str, policy: str) -> None:
        """Show a policy no more; one that is not there is fine."""
        policies = self._namespaces.get(namespace, {})
        policies.pop(policy, None)
        if not policies:
            self._namespaces.pop(namespace, None)

    def values(self, namespace: str, metric: Metric) -> Sequence[MetricValue]:
        return [metrics[metric] for _, metrics in sorted(self._namespaces.get(namespace, {}).items())]

    def shown(self) -> dict[tuple[str, str], dict[Metric, MetricValue]]:
        """Everything, by namespace and name of the policy."""
        return {
            (namespace, policy): metrics
            for namespace, policies in self._namespaces.items()
            for policy, metrics in policies.items()
        }
