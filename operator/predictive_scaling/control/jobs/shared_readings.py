"""Keeps the external metrics of all replicas equal: the leader stores its values, and the others serve these.

A Service sends the HPA controller to any replica. A standby decides nothing itself, and an empty store would
answer "no such policy" for every other question.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.external_metrics.values import ExternalMetricStore, Metric, MetricValue, Reading
from predictive_scaling.storage.external_readings import ExternalReadingRow

Key = tuple[str, str]


class ReadingTable(Protocol):
    """The part of storage.ExternalReadings that is used here."""

    async def record(self, changed: Sequence[ExternalReadingRow], kept: Sequence[Key]) -> None:
        """Write changed rows and remove others."""
        ...

    async def all(self) -> list[ExternalReadingRow]:
        """Every row."""
        ...


class KnownPolicies(Protocol):
    """The part of the informer cache that is used here."""

    @property
    def is_complete(self) -> bool:
        """Whether it holds all that there is."""
        ...

    def policies(self) -> list[PolicyRecord]:
        """All policies."""
        ...


@dataclass(slots=True)
class SharedReadings:
    """Shares the readings of one replica with the others."""

    table: ReadingTable
    store: ExternalMetricStore
    cache: KnownPolicies
    leads: Callable[[], bool]
    _written: dict[Key, ExternalReadingRow] = field(default_factory=dict[Key, ExternalReadingRow])
    _took_over: bool = False
    """Whether this process, as the leader, has read the readings of the previous leader."""

    async def run(self) -> None:
        """Write as the leader, read on standby. Raises DatabaseUnavailableError; readings then go stale by age."""
        services = {
            (record.key.namespace, record.key.name): record.policy.service if record.policy else record.key.name
            for record in self.cache.policies()
        }
        # A policy without a reading is an error for the HPA, never a zero, which would look like low demand.
        for key in services.keys() - self.store.all_values().keys():
            self.store.publish(*key, services[key], demand=None, forecast=None)
        if self.leads() and self.cache.is_complete:
            self._retain(services)
            self.store.is_complete = True
            await self._write()
        else:
            self._took_over = False
            rows = await self.table.all()
            for row in rows:
                self._publish(row)
            self._retain({(row.namespace, row.policy) for row in rows} | services.keys())
            self.store.is_complete = True

    async def _write(self) -> None:
        if not self._took_over:
            for row in await self.table.all():
                metrics = self.store.all_values().get((row.namespace, row.policy))
                if metrics is not None and all(value.reading is None for value in metrics.values()):
                    self._publish(row)
            self._written.clear()
            self._took_over = True
        rows = {key: _row(*key, metrics) for key, metrics in self.store.all_values().items()}
        changed = [row for key, row in rows.items() if self._written.get(key) != row]
        if changed or rows.keys() != self._written.keys():
            await self.table.record(changed, list(rows))
            self._written = rows

    def _retain(self, keys: Container[Key]) -> None:
        for key in self.store.all_values():
            if key not in keys:
                self.store.remove(*key)

    def _publish(self, row: ExternalReadingRow) -> None:
        self.store.publish(
            row.namespace,
            row.policy,
            row.service_name,
            demand=_reading(row.demand, row.demand_at, row.demand_until),
            forecast=_reading(row.forecast, row.forecast_at, row.forecast_until),
        )


def _reading(value: float | None, at: datetime | None, until: datetime | None) -> Reading | None:
    return None if value is None or at is None or until is None else Reading(value, at, until)


def _row(namespace: str, policy: str, metrics: Mapping[Metric, MetricValue]) -> ExternalReadingRow:
    demand, forecast = metrics[Metric.DEMAND].reading, metrics[Metric.FORECAST].reading
    return ExternalReadingRow(
        namespace=namespace,
        policy=policy,
        service_name=metrics[Metric.DEMAND].service,
        demand=demand.value if demand else None,
        demand_at=demand.at if demand else None,
        demand_until=demand.valid_until if demand else None,
        forecast=forecast.value if forecast else None,
        forecast_at=forecast.at if forecast else None,
        forecast_until=forecast.valid_until if forecast else None,
    )
