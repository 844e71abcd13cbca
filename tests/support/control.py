"""Builders of what the control loop works on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.forecast import Forecast
from predictive_scaling.clock import ManualClock
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import EventRecord, InformerCache, PolicyRecord
from predictive_scaling.cluster.kubernetes_events import KubernetesEvents
from predictive_scaling.cluster.leadership import Leadership, LeaseTerms
from predictive_scaling.control.actuation.decision_log import DecisionLog
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.execution import FAILURES, Execution
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.actuation.recovery import Recovery
from predictive_scaling.control.actuation.restoration import Restoration
from predictive_scaling.control.actuation.verification import ExpectedReplicas, Verification
from predictive_scaling.control.capacity import Capacities
from predictive_scaling.control.current_forecasts import ForecastProvider
from predictive_scaling.control.demand_window import MINUTE, DemandWindow
from predictive_scaling.control.jobs.forecast_refresher import ForecastRefresher
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.control.loop import Loop
from predictive_scaling.control.policy_publisher import PolicyPublisher
from predictive_scaling.control.policy_state import Acknowledgement, PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.reconcile_failures import ReconcileFailures
from predictive_scaling.control.reconciler import ReconcileOutcome, Reconciler
from predictive_scaling.control.status_writer import StatusWriter
from predictive_scaling.control.tuning_cache import TuningCache
from predictive_scaling.decision.inputs import DecisionState
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.target import TargetSpec as TargetSpec
from predictive_scaling.serving.model_store import ForecastRequest
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.policies import PolicyRow
from predictive_scaling.storage.scaling_decisions import (
    BEFORE,
    UNFINISHED,
    DecisionStatus,
    ScalingDecisionRow,
)
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import LONG_AGO, NOON, a_forecast, a_policy
from tests.support.cluster import InMemoryCluster

_LONG_LEASE = LeaseTerms(duration_seconds=3600.0)
"""However slow the machine is: a leader in these tests loses its lease only where a test says so."""


def a_record(
    policy: ScalingPolicy | None = None, *, status: dict[str, Any] | None = None, **fields: Any
) -> PolicyRecord:
    """ScalingPolicy shop/checkout as the watch shows it."""
    policy = policy or a_policy()
    metadata = policy.metadata
    known: dict[str, Any] = {
        "key": PolicyKey(metadata.namespace, metadata.name),
        "uid": metadata.uid,
        "generation": metadata.generation,
        "resource_version": 1,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "deleted": False,
        "finalizers": (),
        "annotations": metadata.annotations,
        "status": status or {},
        "policy": policy,
    }
    return PolicyRecord(**known | fields)


def a_policy_named(name: str, *, generation: int = 1, target: str = "checkout", **spec: Any) -> ScalingPolicy:
    """ScalingPolicy shop/NAME on hpa/TARGET."""
    policy = a_policy(target={"horizontalPodAutoscaler": {"name": target}}, **spec)
    changed = {"name": name, "uid": f"uid-of-{name}", "generation": generation}
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update=changed)})


def an_edited_policy(**spec: Any) -> ScalingPolicy:
    """ScalingPolicy shop/checkout with another spec; the uid is that of `a_policy`."""
    policy = a_policy_named("checkout", **spec)
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"uid": a_policy().metadata.uid})})


def a_state(floor: int | None = None, **fields: Any) -> PolicyState:
    """The state of shop/checkout after a long time in which nothing happened."""
    return PolicyState(
        uid=a_policy().metadata.uid,
        decision_state=DecisionState(since=LONG_AGO, floor=floor),
        acknowledged=Acknowledgement(1, None),
        **fields,
    )


def an_expected(
    before: int, to: int, *, newest: str = "checkout-1", deadline: timedelta = timedelta(minutes=24)
) -> ExpectedReplicas:
    """A write from noon, whose effect is awaited; `newest` names the target's newest decision."""
    return ExpectedReplicas(
        name="checkout-1",
        record=a_record(),
        state=a_state(previous_decision=newest),
        target=InMemoryTarget(),
        before=before,
        to=to,
        ready_before=before,
        target_uid="in-memory",
        applied_at=NOON,
        deadline_at=NOON + deadline,
    )


class InMemoryDecisions:
    """The table scaling_decisions, as far as the loop uses it; it may be away, or go away at a call."""

    def __init__(self) -> None:
        self.rows: dict[str, ScalingDecisionRow] = {}
        self.is_away = False
        self.goes_away_at: str | None = None
        """The next call of this name, or of `transition to STATUS`, finds the database gone; it stays away then."""
        self.inserts: list[str] = []

    async def intend(self, decision: ScalingDecisionRow) -> bool:
        self._check("intend")
        if decision.id in self.rows:
            return False
        self.rows[decision.id] = decision
        self.inserts.append(decision.id)
        return True

    async def transition(
        self,
        id: str,  # noqa: A002 (the column's name)
        status: DecisionStatus,
        now: datetime,
        *,
        reason: str | None = None,
        outcome: str | None = None,
        deadline_at: datetime | None = None,
    ) -> bool:
        self._check(f"transition to {status}")
        row = self.rows.get(id)
        if row is None or row.status not in BEFORE[status]:
            return False
        attempts = row.attempts + (status is DecisionStatus.EXECUTING)
        self.rows[id] = replace(
            row,
            status=str(status),
            attempts=attempts,
            reason=reason or row.reason,
            outcome=outcome or row.outcome,
            deadline_at=deadline_at or row.deadline_at,
            started_at=row.started_at or now,
        )
        return True

    async def by_id(self, ids: Sequence[str]) -> dict[str, ScalingDecisionRow]:
        self._check("by_id")
        return {id: self.rows[id] for id in ids if id in self.rows}  # noqa: A001 (the column's name)

    async def known(self, ids: Sequence[str]) -> set[str]:
        self._check("known")
        return set(ids) & self.rows.keys()

    async def unfinished(self) -> list[ScalingDecisionRow]:
        self._check("unfinished")
        return [row for row in self.rows.values() if DecisionStatus(row.status) in UNFINISHED]

    async def last_of_each(self, policies: Iterable[tuple[str, str]]) -> dict[tuple[str, str], ScalingDecisionRow]:
        self._check("last_of_each")
        wanted = set(policies)
        return {(row.namespace, row.policy): row for row in self.rows.values() if (row.namespace, row.policy) in wanted}

    async def stuck(self, now: datetime) -> list[ScalingDecisionRow]:
        self._check("stuck")
        return [row for row in await self.unfinished() if row.deadline_at is not None and row.deadline_at < now]

    async def ping(self) -> None:
        self._check("ping")

    @property
    def statuses(self) -> list[str]:
        """In the order of the intents."""
        return [row.status for row in self.rows.values()]

    def _check(self, call: str) -> None:
        if self.goes_away_at == call:
            self.is_away, self.goes_away_at = True, None
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")


class Minutes:
    """A source of demand: the same in every minute from `since` until `until`."""

    def __init__(self, demand: float, until: datetime) -> None:
        self.demand = demand
        self.since = LONG_AGO
        self.until = until
        self.is_away = False

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")
        times = [since + index * MINUTE for index in range((until - since) // MINUTE)]
        values = np.array([self.demand if self.since <= at < self.until else np.nan for at in times])
        return dict.fromkeys(keys, values)


class Prophet:
    """Forecasts what it is told, for every series alike."""

    def __init__(self, demand: float) -> None:
        self.demand = demand
        self.batches: list[list[ForecastRequest]] = []

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        self.batches.append(list(requests.values()))
        return {
            name: a_forecast(*[self.demand] * one.steps, origin=one.series.end, step=one.series.step)
            for name, one in requests.items()
        }


class Predicted:
    """The table predictions: counts what it is given."""

    def __init__(self) -> None:
        self.rows: list[Prediction] = []

    async def record(self, predictions: Sequence[Prediction]) -> None:
        self.rows += predictions


class World:
    """A control loop in memory: shop/checkout, its target, and time that moves when a test says so."""

    def __init__(self, *policies: ScalingPolicy, demand: float = 880.0) -> None:
        self.clock = ManualClock(NOON)
        self.cluster = InMemoryCluster()
        self.informer_cache = InformerCache(self.cluster)
        self.target = InMemoryTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2)
        self.targets: dict[str, InMemoryTarget] = {"checkout": self.target}
        self.decisions = InMemoryDecisions()
        self._table: Any = self.decisions
        self.prophet, self.source, self.predicted = (
            Prophet(demand),
            Minutes(demand, NOON + timedelta(days=1)),
            Predicted(),
        )
        self.leadership = Leadership(self.cluster, "default", "predictive-scaling", _LONG_LEASE)
        self.records: dict[PolicyKey, list[PolicyRecord]] = {}
        self.event_records: dict[tuple[str, str], list[EventRecord]] = {}
        self.informer_cache.bind(self.records, self.event_records, {}, {})
        self.informer_cache.is_complete = True
        self._wire()
        for policy in policies or (a_policy(),):
            self.put(policy)

    def put(self, policy: ScalingPolicy, **fields: Any) -> None:
        """What `kubectl apply` of a policy leads to."""
        record = a_record(policy, **fields)
        path = path_of(record.key)
        known = self.cluster.objects.get(path, {})
        metadata = {
            "name": record.key.name,
            "namespace": record.key.namespace,
            "uid": record.uid,
            "generation": record.generation,
            "resourceVersion": "1",
            "finalizers": known.get("metadata", {}).get("finalizers", []),
        }
        self.cluster.objects[path] = {"metadata": metadata, "status": known.get("status", {})}
        self.records[record.key] = [record]
        self.sync()

    def lose_database(self) -> None:
        """PostgreSQL goes away: neither decisions nor demand."""
        self.decisions.is_away = self.source.is_away = True

    def regain_database(self) -> None:
        """It is back."""
        self.decisions.is_away = self.source.is_away = False
        self.decisions.goes_away_at = None

    def sync(self) -> None:
        """The watch catches up with what was written to the policies."""
        for key, (record,) in list(self.records.items()):
            known = self.cluster.objects.get(path_of(key))
            if (
                known is not None
                and "deletionTimestamp" in known["metadata"]
                and not known["metadata"].get("finalizers")
            ):
                del self.cluster.objects[path_of(key)], self.records[key]
            elif known is not None:
                finalizers = tuple(known["metadata"].get("finalizers", ()))
                version = int(known["metadata"]["resourceVersion"])
                seen = {"finalizers": finalizers, "status": known.get("status", {}), "resource_version": version}
                self.records[key] = [replace(record, **seen)]

    def delete(self, name: str) -> None:
        """`kubectl delete` of a policy: it stays, marked, for as long as it has a finalizer."""
        key = PolicyKey("shop", name)
        known = self.cluster.objects[path_of(key)]
        if known["metadata"].get("finalizers"):
            known["metadata"]["deletionTimestamp"] = "2026-06-17T12:00:00Z"
            self.records[key] = [replace(self.records[key][0], deleted=True)]
        else:
            del self.cluster.objects[path_of(key)], self.records[key]

    def policy(self, name: str = "checkout") -> dict[str, Any]:
        """A policy as the cluster has it."""
        return self.cluster.objects[path_of(PolicyKey("shop", name))]

    def use(self, table: Any) -> None:
        """Keep decisions in a real table instead."""
        self._table = table
        self._wire()

    def outlooks_by(self, prophet: Prophet) -> None:
        """Let another one forecast."""
        self.prophet = prophet
        self._wire()

    def restart(self) -> None:
        """The process dies and another one begins; clusters, tables and targets stay."""
        self.leadership = Leadership(
            self.cluster, "default", "predictive-scaling", _LONG_LEASE, identity=self.leadership.identity
        )
        self._wire()

    async def turn(self, passes: int = 1, step: timedelta = timedelta(seconds=15)) -> None:
        """Lead, bring in what is new, tick, verify; then time moves on."""
        for _ in range(passes):
            await self.leadership.campaign()
            await self.loop.run()
            await self.feed.run()
            self.sync()
            await self.recovery.catch_up()
            await self.loop.run()
            await self.verification.run()
            self.sync()
            self.clock.advance(step)

    @property
    def status(self) -> dict[str, Any]:
        """Of shop/checkout, as the cluster has it."""
        return self.cluster.objects[path_of(PolicyKey("shop", "checkout"))]["status"]

    def condition(self, type_: str) -> dict[str, Any]:
        """A condition of shop/checkout."""
        return next(one for one in self.status["conditions"] if one["type"] == type_)

    @property
    def phases(self) -> list[str]:
        """Of all ScalingDecisions, oldest first."""
        paths = [path for path in self.cluster.objects if "/scalingdecisions/" in path]
        return [self.cluster.objects[path].get("status", {}).get("phase", "") for path in paths]

    def _find(self, namespace: str, spec: TargetSpec) -> InMemoryTarget:
        del namespace
        return self.targets[spec.name]

    def _wire(self) -> None:
        clock, cluster = self.clock, self.cluster
        self.events = KubernetesEvents(cluster, "test")
        self.states, lead_times = PolicyStates(), LeadTimes(timedelta(minutes=3))
        records = self.decision_records = DecisionRecords(cluster, DecisionLog(self._table), clock, kept=20)
        self.verification = Verification(records, lead_times, self.events, clock, FAILURES)
        window = self.window = DemandWindow(self.source)
        forecasts = ForecastProvider(self.prophet, window, refresh=MINUTE, metrics_max_age=5 * MINUTE)
        execution = Execution(cluster, records, self.leadership, self.verification, self.events, clock, patience=3.0)
        self.choices = TuningCache(clock)
        visitor = Reconciler(
            find=self._find,
            window=window,
            forecasts=forecasts,
            lead_times=lead_times,
            capacities=Capacities(),
            tunings=self.choices,
            execution=execution,
            verification=self.verification,
            restoration=Restoration(cluster, self._find, self.events),
            status_writer=StatusWriter(cluster, self.informer_cache, clock),
            events=self.events,
            refresh=MINUTE,
            metrics_max_age=5 * MINUTE,
        )
        self.feed = ForecastRefresher(window, forecasts, self.states, self.predicted, clock, lambda: None)
        self.recovery = Recovery(
            self.informer_cache, self._table, records, self.states, self.verification, self._find, clock
        )
        self.loop = Loop(
            cache=self.informer_cache,
            index=ShowsAll(cluster, self.informer_cache),
            leadership=self.leadership,
            recovery=self.recovery,
            states=self.states,
            reconciler=visitor,
            failures=ReconcileFailures(visitor, self.events),
            refresher=self.feed,
            publisher=PolicyPublisher(NoPolicies(), NoMetricSink(), clock, 5 * MINUTE, list, lambda: True),
            clock=clock,
            in_flight=8,
        )


class ShowsAll(IndexComparison):
    """The watches never miss anything."""

    async def compare(self) -> None:
        return


class NoPolicies:
    """A table that nobody reads."""

    async def record(self, rows: Sequence[PolicyRow]) -> None:
        del rows

    async def forget_others(self, kept: Sequence[tuple[str, str]], namespaces: Sequence[str] | None = None) -> int:
        del kept, namespaces
        return 0


class NoMetricSink:
    """External metrics that nobody asks for."""

    def publish(self, policy: PolicyKey, visited: ReconcileOutcome, max_age: timedelta) -> None:
        del policy, visited, max_age

    def remove(self, policy: PolicyKey) -> None:
        del policy
