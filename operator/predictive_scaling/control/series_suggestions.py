"""The nearest recorded series for policies whose series has no samples: a name in the policy may be misspelt."""

import asyncio
import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from predictive_scaling.clock import Clock
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.series_key import SeriesKey

LOOK_BACK = timedelta(days=7)
MAX_SUGGESTIONS = 3
MAX_COMPARED = 20_000
"""Of more names only the first, in alphabetical order, are compared."""

Requested = tuple[str, str, str]
"""Namespace, service and metric of a series that a policy names."""


class RecordedSeries(Protocol):
    """Where the names of series are read."""

    async def recorded(self, since: datetime) -> list[SeriesKey]:
        """Return a key of every service and metric with a sample since then, sorted."""
        ...


@dataclass(slots=True)
class SeriesSuggestions:
    """Suggestions for the policies that asked since the last run; the reconciler reads them from memory.

    services: a policy is only shown the names of services that its namespace may read.
    """

    recorded: RecordedSeries
    services: NamespacePatterns
    clock: Clock
    _requested: set[Requested] = field(default_factory=set[Requested])
    _suggestions: Mapping[Requested, str] = field(default_factory=dict[Requested, str])

    def suggestion(self, policy: ScalingPolicy) -> str | None:
        """Return the nearest names as a clause; None if none is near, or the next run has to look first."""
        return self.nearest(policy.key.namespace, policy.service, policy.spec.demand.metric)

    def nearest(self, namespace: str, service: str, metric: str) -> str | None:
        """Return the same for any series that a policy of the namespace names."""
        requested = (namespace, service, metric)
        self._requested.add(requested)
        return self._suggestions.get(requested)

    async def run(self) -> None:
        """Look for the series that policies asked for. Raises DatabaseUnavailableError; the suggestions then stay."""
        requested, self._requested = self._requested, set()
        if requested:
            known = await self.recorded.recorded(self.clock.now() - LOOK_BACK)
            # Comparing thousands of names takes a second, during which the loop must go on.
            self._suggestions = await asyncio.to_thread(self._compare, requested, known)
        else:
            self._suggestions = {}

    def _compare(self, requested: Collection[Requested], known: Sequence[SeriesKey]) -> dict[Requested, str]:
        suggestions: dict[Requested, str] = {}
        for namespace, service, metric in requested:
            metrics: dict[str, list[str]] = {}
            for key in known[:MAX_COMPARED]:
                if self.services.allows(namespace, key.service):
                    metrics.setdefault(key.service, []).append(key.metric)
            names = nearest_series(service, metric, metrics)
            if names and (service, metric) not in names:
                suggestions[namespace, service, metric] = f"did you mean {_listed(names, service)}?"
        return suggestions


def nearest_series(service: str, metric: str, metrics: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return up to MAX_SUGGESTIONS services with a metric, the nearest first. metrics: the metrics of each service.

    The metrics of a known service are near whatever their names are. Of another service it is the metric of the same
    name, or the most similar one.

    >>> nearest_series("checkout", "request_per_second", {"checkout": ["cpu", "requests_per_second"]})
    [('checkout', 'requests_per_second')]
    >>> nearest_series("chekout", "rps", {"checkout": ["cpu", "rps"], "billing": ["rps"]})
    [('checkout', 'rps')]
    """
    if service in metrics:
        near = difflib.get_close_matches(metric, metrics[service], MAX_SUGGESTIONS) or metrics[service]
        return [(service, name) for name in near[:MAX_SUGGESTIONS]]
    near_services = difflib.get_close_matches(service, metrics, MAX_SUGGESTIONS)
    found: list[tuple[str, str]] = []
    for name in near_services:
        found += [(name, near) for near in difflib.get_close_matches(metric, metrics[name], 1)]
    return found


def _listed(names: Sequence[tuple[str, str]], service: str) -> str:
    return " or ".join(metric if name == service else f"{metric} of service {name}" for name, metric in names)
