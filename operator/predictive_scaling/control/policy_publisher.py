"""Publishes policies to the table of the HTTP API, external metrics and Prometheus. No tick waits for it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from prometheus_client import Gauge

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.reconciler import ReconcileOutcome
from predictive_scaling.control.recording import record_accepted
from predictive_scaling.decision.inputs import ForecastSource
from predictive_scaling.external_metrics.values import ExternalMetricStore, Reading
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import ScalingPolicyStatus
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType, Mode
from predictive_scaling.storage.policies import PolicyRow

FLOOR = Gauge("predictive_scaling_floor_replicas", "The floor that is held or recommended.", ["namespace", "policy"])
DESIRED = Gauge("predictive_scaling_wanted_replicas", "Recommended floor before limits.", ["namespace", "policy"])
READY = Gauge("predictive_scaling_ready_replicas", "Ready replicas of the target.", ["namespace", "policy"])
FRESH = Gauge(
    "predictive_scaling_forecast_fresh",
    "1 while the forecast in use is fresh, 0 with an older one or without any.",
    ["namespace", "policy"],
)
FALLBACK = Gauge("predictive_scaling_fallback_active", "1 while the fallback sets the floor.", ["namespace", "policy"])


class PolicyTable(Protocol):
    """The part of storage.Policies that is written here."""

    async def record(self, rows: Sequence[PolicyRow]) -> None:
        """Write what changed."""
        ...

    async def forget_others(self, kept: Sequence[tuple[str, str]], namespaces: Sequence[str] | None = None) -> int:
        """Remove all other policies."""
        ...


class MetricSink(Protocol):
    """Publishes the external metrics of policies."""

    def publish(self, policy: PolicyKey, outcome: ReconcileOutcome, max_age: timedelta) -> None:
        """Replace the metrics of a policy."""
        ...

    def remove(self, policy: PolicyKey) -> None:
        """Remove the metrics of a policy."""
        ...


@dataclass(slots=True)
class PolicyPublisher:
    """Keeps the newest state of each policy and writes it to the database, concurrently with the tick."""

    table: PolicyTable
    sink: MetricSink
    clock: Clock
    max_age: timedelta
    policies: Callable[[], Sequence[PolicyKey]]
    knows_all: Callable[[], bool]
    """Whether `policies` is complete and this process leads."""
    namespaces: tuple[str, ...] = ()
    _changed: dict[PolicyKey, PolicyRow] = field(default_factory=dict[PolicyKey, PolicyRow])
    _shown: dict[PolicyKey, ScalingPolicyStatus] = field(default_factory=dict[PolicyKey, ScalingPolicyStatus])
    _forgetting: bool = True
    """True at the start: policies may have been deleted while no process ran."""

    def stage(self, record: PolicyRecord, outcome: ReconcileOutcome) -> None:
        """Stage the outcome of a reconciliation, with or without a decision."""
        key, situation, decision = record.key, outcome.situation, outcome.decision
        if situation is not None:
            self.sink.publish(key, outcome, self.max_age)
        _set(FLOOR, key, outcome.status.floor)
        _set(DESIRED, key, decision.uncapped if decision is not None else None)
        _set(READY, key, situation.observed.ready_replicas if situation is not None else None)
        if situation is not None and decision is not None and situation.policy.spec.mode is not Mode.OFF:
            forecast = situation.current_forecast
            _set(FRESH, key, forecast is not None and forecast.source is ForecastSource.FRESH)
            _set(FALLBACK, key, decision.fallback)
        else:
            _set(FRESH, key, None)
            _set(FALLBACK, key, None)
        if self._shown.get(key) != outcome.status:
            self._shown[key] = outcome.status
            self._changed[key] = _row(record, outcome.status, self.clock)

    def remove(self, key: PolicyKey) -> None:
        """Remove a deleted policy."""
        self.sink.remove(key)
        self._shown.pop(key, None)
        self._changed.pop(key, None)
        for gauge in (FLOOR, DESIRED, READY, FRESH, FALLBACK):
            _set(gauge, key, None)
        self._forgetting = True

    async def write(self) -> None:
        """Write the changes since the last run. Raises DatabaseUnavailableError; the changes stay staged then."""
        if self._forgetting and self.knows_all():
            await self.table.forget_others(list(self.policies()), self.namespaces or None)
            self._forgetting = False
        if self._changed:
            rows = dict(self._changed)
            await record_accepted(self.table.record, list(rows.values()), "policies", _name)
            for key, row in rows.items():
                if self._changed.get(key) is row:
                    del self._changed[key]


def _set(gauge: Gauge, key: PolicyKey, value: float | None) -> None:
    """Set the gauge of a policy; remove it while the value is unknown."""
    if value is not None:
        gauge.labels(*key).set(value)
    else:
        with suppress(KeyError):
            gauge.remove(*key)


def _name(row: PolicyRow) -> str:
    return f"{row.namespace}/{row.policy}"


def _row(record: PolicyRecord, status: ScalingPolicyStatus, clock: Clock) -> PolicyRow:
    """The status as the API reads it, with fields of the spec if it is valid."""
    policy = record.policy
    spec = policy.spec if policy is not None else None
    return PolicyRow(
        namespace=record.key.namespace,
        policy=record.key.name,
        service_name=policy.service if policy is not None else None,
        metric_name=spec.demand.metric if spec is not None else None,
        aggregation=spec.demand.aggregation.value if spec is not None else None,
        mode=spec.mode.value if spec is not None else None,
        target=str(spec.target) if spec is not None else None,
        min_replicas=spec.replicas.min if spec is not None else None,
        max_replicas=spec.replicas.max if spec is not None else None,
        floor=status.floor,
        current_replicas=status.current_replicas,
        ready_replicas=status.ready_replicas,
        source=status.source.value if status.source is not None else None,
        limited=any(
            condition.type == ConditionType.SCALING_LIMITED and condition.status is ConditionStatus.TRUE
            for condition in status.conditions
        ),
        conditions=[condition.to_manifest() for condition in status.conditions],
        last_decision_at=status.last_decision.at if status.last_decision is not None else None,
        advice=status.advice.to_manifest() if status.advice is not None else None,
        forecast=status.forecast.to_manifest() if status.forecast is not None else None,
        updated_at=clock.now(),
        timezone=spec.forecast.timezone if spec is not None else None,
        holidays=spec.forecast.holidays if spec is not None else None,
        learned=status.learned.to_manifest() if status.learned is not None else None,
        shadow=status.shadow.to_manifest() if status.shadow is not None else None,
    )


@dataclass(frozen=True, slots=True)
class ExternalMetricSink:
    """Store that external metrics are served from."""

    store: ExternalMetricStore

    def publish(self, policy: PolicyKey, outcome: ReconcileOutcome, max_age: timedelta) -> None:
        """Replace the metrics of a policy. An untrusted zero is missing, not low demand."""
        situation, decision = outcome.situation, outcome.decision
        if situation is None or decision is None:
            return  # what was shown before becomes stale by itself
        observed, current_forecast = situation.demand, situation.current_forecast
        trusted = observed is not None and (observed.value > 0 or situation.policy.spec.demand.zero_is_valid)
        demand = (
            Reading(observed.value, observed.at, observed.at + max_age) if observed is not None and trusted else None
        )
        forecast = None
        if current_forecast is not None and decision.forecast_value is not None:
            forecast = Reading(decision.forecast_value, current_forecast.forecast.origin, current_forecast.valid_until)
        self.store.publish(policy.namespace, policy.name, situation.policy.service, demand=demand, forecast=forecast)

    def remove(self, policy: PolicyKey) -> None:
        """Remove the metrics of a policy."""
        self.store.remove(policy.namespace, policy.name)
