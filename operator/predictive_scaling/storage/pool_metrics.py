"""Metrics of the connection pools of this process, collected at each scrape."""

from collections import Counter
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from psycopg_pool import AsyncConnectionPool


class PoolCollector(Collector):
    """`predictive_scaling_database_connections` by purpose and state, for as long as a pool lives."""

    def __init__(self) -> None:
        self._purposes: WeakKeyDictionary[AsyncConnectionPool[Any], str] = WeakKeyDictionary()

    def watch(self, pool: AsyncConnectionPool[Any], purpose: str) -> None:
        """Include a pool; pools of the same purpose are summed."""
        self._purposes[pool] = purpose

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "predictive_scaling_database_connections",
            "Connections of a pool to PostgreSQL: in_use, idle, and the maximum max.",
            labels=["purpose", "state"],
        )
        for (purpose, state), count in sorted(self._counts().items()):
            family.add_metric([purpose, state], count)
        return [family]

    def _counts(self) -> Counter[tuple[str, str]]:
        counts: Counter[tuple[str, str]] = Counter()
        for pool, purpose in list(self._purposes.items()):
            if not pool.closed:
                stats = pool.get_stats()
                size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
                counts[purpose, "in_use"] += size - idle
                counts[purpose, "idle"] += idle
                counts[purpose, "max"] += stats.get("pool_max", 0)
        return counts


POOLS = PoolCollector()
REGISTRY.register(POOLS)
