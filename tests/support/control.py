"""Builders of what the control loop works on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from predictive_scaling.bootstrap import assemble
from predictive_scaling.clock import ManualClock
from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord
from predictive_scaling.control.actuation.assessment import ExpectedReplicas
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.policy_memory import Acknowledgement
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.decision.inputs import DecisionState
from predictive_scaling.ports import Ports
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.target import TargetSpec as TargetSpec
from predictive_scaling.settings import read_settings
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Target
from tests.support.builders import LONG_AGO, NOON, a_policy
from tests.support.cluster import InMemoryCluster
from tests.support.in_memory_ports import (
    ConstantDemand,
    FixedForecaster,
    InMemoryDecisions,
    InMemoryShadowHours,
    NoPolicies,
    NotUsed,
    RecordedPredictions,
)

_SETTINGS = read_settings(
    {},
    lease_duration=timedelta(hours=1),
    lease_namespace="default",
    train_from_operator=False,
    writes_in_flight=8,
)
"""The lease is long: however slow the machine is, a leader loses it only where a test says so."""


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


class World:
    """A control loop in memory: shop/checkout, its target, and time that moves when a test says so."""

    def __init__(self, *policies: ScalingPolicy, demand: float = 880.0, **settings: Any) -> None:
        """settings: those that differ from the ones of all tests."""
        self.settings = _SETTINGS.model_copy(update=settings)
        self.clock = ManualClock(NOON)
        self.cluster = InMemoryCluster()
        self.target = InMemoryTarget(minimum=2, maximum=40, replicas=2, ready_replicas=2)
        self.targets: dict[str, InMemoryTarget] = {"checkout": self.target}
        self.decisions = InMemoryDecisions()
        self._table: Any = self.decisions
        self.shadow_hours = InMemoryShadowHours(self.decisions)
        self.forecaster = FixedForecaster(demand)
        self.source = ConstantDemand(demand, NOON + timedelta(days=1))
        self.predicted = RecordedPredictions()
        self.records: dict[PolicyKey, list[PolicyRecord]] = {}
        self.event_records: dict[tuple[str, str], list[EventRecord]] = {}
        self._assemble()
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
        self._assemble()

    def forecast_by(self, forecaster: FixedForecaster) -> None:
        """Replace the forecaster."""
        self.forecaster = forecaster
        self._assemble()

    def restart(self) -> None:
        """End the process and start another one; cluster, tables and targets stay."""
        self._assemble()

    async def turn(self, passes: int = 1, step: timedelta = timedelta(seconds=15)) -> None:
        """Lead, bring in what is new, tick, verify; then time moves on."""
        for _ in range(passes):
            await self.leadership.campaign()
            await self.loop.run()
            await self.refresher.run()
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
        return next(condition for condition in self.status["conditions"] if condition["type"] == type_)

    @property
    def phases(self) -> list[str]:
        """Of all ScalingDecisions, oldest first."""
        paths = [path for path in self.cluster.objects if "/scalingdecisions/" in path]
        return [self.cluster.objects[path].get("status", {}).get("phase", "") for path in paths]

    def _find(self, namespace: str, spec: TargetSpec) -> Target:
        del namespace
        return self.targets[spec.name]

    def _assemble(self) -> None:
        """Start a process: wired as in production, on ports in memory."""
        unused: Any = NotUsed()
        models: Any = self.forecaster
        ports = Ports(
            cluster=self.cluster,
            models=models,
            decisions=self._table,
            stuck_decisions=self._table,
            demand=self.source,
            predictions=cast("Any", self.predicted),
            performances=unused,
            business_events=unused,
            tunings=unused,
            commands=unused,
            policies=NoPolicies(),
            external_readings=unused,
            shadow_hours=self.shadow_hours,
            backtests=unused,
            target_finder=lambda cluster, cache: self._find,
        )
        operator = assemble(self.settings, self.clock, ports, identity="test")
        self.loop, self.leadership, self.informer_cache = operator.loop, operator.leadership, operator.cache
        self.shadow_minutes, self.shadow_accounts = (
            operator.task(name).run for name in ("shadow_minutes", "shadow_accounts")
        )
        self.series_suggestions = operator.task("series_suggestions").run
        self.aws = operator.aws
        self.informer_cache.bind(self.records, self.event_records, {}, {}, {})
        self.informer_cache.is_complete = True
        self.loop.index = AlwaysEqual(self.cluster, self.informer_cache)
        reconciler = operator.loop.reconciler
        self.states, self.recovery, self.refresher = self.loop.states, self.loop.recovery, self.loop.refresher
        self.events, self.tunings, self.window = reconciler.events, reconciler.tunings, reconciler.situations.window
        self.node_headroom = operator.task("node_headroom")
        self.verification, self.decision_records = reconciler.verification, self.recovery.records


class AlwaysEqual(IndexComparison):
    """A comparison without differences: tests put objects into the index that the cluster does not have."""

    async def wait_until_complete(self) -> None:
        return

    async def compare(self) -> None:
        return
