"""What others read of a policy: the HTTP API's table, external metrics, Prometheus. No tick waits for it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from prometheus_client import Gauge

from predictive_scaling.clock import Clock
from predictive_scaling.control.state import PolicyState
from predictive_scaling.control.visit import Visited
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.handlers.inventory import PolicyRecord
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.storage.policies import PolicyRow

log = structlog.get_logger(__name__)

FLOOR = Gauge("predictive_scaling_floor_replicas", "The floor that is held or recommended.", ["namespace", "policy"])
WANTED = Gauge(
    "predictive_scaling_wanted_replicas", "The floor that was wanted before any limit.", ["namespace", "policy"]
)
READY = Gauge("predictive_scaling_ready_replicas", "Ready replicas of the target.", ["namespace", "policy"])
_PAUSE_SECONDS = 0.5


class PolicyTable(Protocol):
    """The part of storage.Policies that is written here."""

    async def record(self, rows: Sequence[PolicyRow]) -> None:
        """Write what changed."""
        ...

    async def forget_others(self, kept: Sequence[tuple[str, str]], namespaces: Sequence[str] | None = None) -> int:
        """Remove all policies but these."""
        ...


class Showcase(Protocol):
    """Where external metrics are shown; see bootstrap.py."""

    def show(self, policy: PolicyKey, visited: Visited, max_age: timedelta) -> None:
        """Replace what is shown of a policy."""
        ...

    def hide(self, policy: PolicyKey) -> None:
        """Show a policy no more."""
        ...


@dataclass(slots=True)
class Mirror:
    """Keeps the newest of each policy and writes it down beside the tick."""

    table: PolicyTable
    showcase: Showcase
    clock: Clock
    max_age: timedelta
    policies: Callable[[], Sequence[PolicyKey]]
    knows_all: Callable[[], bool]
    """Whether `policies` is the whole truth, and this process the one to act on it."""
    namespaces: tuple[str, ...] = ()
    _changed: dict[PolicyKey, PolicyRow] = field(default_factory=dict[PolicyKey, PolicyRow])
    _keys: dict[str, PolicyKey] = field(default_factory=dict[str, PolicyKey])
    _shown: dict[PolicyKey, object] = field(default_factory=dict[PolicyKey, object])
    _forgetting: bool = True
    """At the start as well: policies may have gone while nobody looked."""

    def take(self, record: PolicyRecord, visited: Visited) -> None:
        """Take up what a visit came to."""
        key, decision = record.key, visited.decision
        self._keys[record.uid] = key
        self.showcase.show(key, visited, self.max_age)
        FLOOR.labels(*key).set(decision.floor)
        WANTED.labels(*key).set(decision.uncapped)
        READY.labels(*key).set(visited.situation.observed.ready_replicas)
        if self._shown.get(key) != visited.status:
            self._shown[key] = visited.status
            self._changed[key] = _row(visited, self.clock)

    def forget(self, state: PolicyState) -> None:
        """A policy is gone."""
        key = self._keys.pop(state.uid, None)
        if key is None or key in self._keys.values():
            return
        self.showcase.hide(key)
        self._shown.pop(key, None)
        self._changed.pop(key, None)
        for gauge in (FLOOR, WANTED, READY):
            gauge.remove(*key)
        self._forgetting = True

    async def run(self) -> None:
        """Write down what changed, for ever."""
        while True:
            try:
                await self.write()
            except DatabaseUnavailableError as error:
                log.debug("mirror_waits", error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def write(self) -> None:
        """Write down what changed since the last time. Raises DatabaseUnavailableError; nothing is lost then."""
        if self._forgetting and self.knows_all():
            await self.table.forget_others(list(self.policies()), self.namespaces or None)
            self._forgetting = False
        if self._changed:
            rows = dict(self._changed)
            await self.table.record(list(rows.values()))
            for key, row in rows.items():
                if self._changed.get(key) is row:
                    del self._changed[key]


def _row(visited: Visited, clock: Clock) -> PolicyRow:
    status, policy = visited.status, visited.situation.policy
    spec, conditions = policy.spec, list(status.get("conditions", ()))
    last = status.get("lastDecision")
    return PolicyRow(
        namespace=policy.metadata.namespace,
        policy=policy.metadata.name,
        service_name=policy.service,
        metric_name=spec.demand.metric,
        aggregation=spec.demand.aggregation.value,
        mode=spec.mode.value,
        target=str(spec.target),
        min_replicas=spec.replicas.min,
        max_replicas=spec.replicas.max,
        floor=status.get("floor"),
        current_replicas=status.get("currentReplicas"),
        ready_replicas=status.get("readyReplicas"),
        source=status.get("source"),
        limited=visited.decision.limited,
        conditions=conditions,
        last_decision_at=datetime.fromisoformat(last["at"]) if last else None,
        advice=status.get("advice"),
        forecast=status.get("forecast"),
        updated_at=clock.now(),
        timezone=spec.forecast.timezone,
        holidays=spec.forecast.holidays,
    )
