"""ScalingBacktests in memory: their objects, and runs that end when a test says so."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from predictive_scaling.backtesting.task import BacktestTask, Finished, Outcome, Result, ResultRow
from predictive_scaling.clock import ManualClock
from predictive_scaling.cluster.informer_cache import EventRecord, InformerCache
from predictive_scaling.control.jobs.backtest_tasks import BacktestLimits
from predictive_scaling.control.jobs.backtests import BacktestController
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.vocabulary import BacktestVariant
from predictive_scaling.storage.backtests import BacktestRow
from predictive_scaling.targets.registry import Targets
from tests.support.builders import NOON
from tests.support.cluster import InMemoryCluster

ROOT = f"/apis/{API_VERSION}/namespaces"
POLICY_SPEC: dict[str, Any] = {
    "target": {"horizontalPodAutoscaler": {"name": "checkout"}},
    "demand": {"service": "checkout", "metric": "requests_per_second", "perReplica": "50"},
    "replicas": {"max": 40},
}


def a_finished(*, reused: bool = False) -> Finished:
    """The outcome of a run with one row."""
    row = ResultRow(BacktestVariant.POLICY, "the policy as written", 0.9, 0.7, 0.01, 12.25, 0.002, 104.0, 1.04)
    return Finished(Result((row,), "12 min short (HPA 340) at 1.04 of its hours", "as expected"), "ab" * 32, reused)


_waiting: set[asyncio.Task[Any]] = set()
"""References to the runs that a test leaves: the end of the loop cancels them. Without them a garbage collection would
destroy and log such a task, and fail a later test that parses code meanwhile (on Python 3.11 a SystemError)."""


@dataclass
class ControlledRuns:
    """Runs tasks until `end`; records which began and which were cancelled."""

    begun: list[BacktestTask] = field(default_factory=list[BacktestTask])
    cancelled: int = 0
    outcomes: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue[Outcome])

    async def __call__(self, task: BacktestTask, time_limit: timedelta) -> Outcome:
        del time_limit
        self.begun.append(task)
        run = asyncio.current_task()
        assert run is not None
        _waiting.add(run)
        try:
            return await self.outcomes.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            _waiting.discard(run)


@dataclass
class RecordedBacktests:
    """The table `backtests` in memory."""

    rows: dict[str, BacktestRow] = field(default_factory=dict[str, BacktestRow])

    async def record(self, changed: Sequence[BacktestRow], kept: Sequence[str]) -> None:
        self.rows |= {row.uid: row for row in changed}
        self.rows = {uid: row for uid, row in self.rows.items() if uid in kept}


class BacktestScene:
    """A controller of backtests on a cluster in memory; time moves when a test says so."""

    def __init__(self, concurrency: int = 1) -> None:
        self.clock, self.cluster, self.table = ManualClock(NOON), InMemoryCluster(), RecordedBacktests()
        self.leads, self.runs = True, ControlledRuns()
        self.events: dict[tuple[str, str], list[EventRecord]] = {}
        self.limits = BacktestLimits(concurrency, timedelta(minutes=30), timedelta(days=60), 2048)
        self.restart()

    def restart(self) -> None:
        """Start another process: the cluster and the table stay."""
        self.runs = ControlledRuns()
        cache = InformerCache(self.cluster)
        cache.bind({}, self.events, {}, {}, {})
        cache.is_complete = True
        self.controller = BacktestController(
            *(self.cluster, cache, Targets(self.cluster, cache), self.table, self.clock, lambda: self.leads),
            limits=self.limits,
            run_task=self.runs,
        )

    async def put_policy(self, name: str = "checkout", namespace: str = "shop", **spec: Any) -> None:
        """Create a ScalingPolicy."""
        body = {"apiVersion": API_VERSION, "kind": "ScalingPolicy", "spec": POLICY_SPEC | spec}
        await self.cluster.create(
            f"{ROOT}/{namespace}/scalingpolicies", body | {"metadata": {"name": name, "namespace": namespace}}
        )

    async def put(self, name: str = "release", namespace: str = "shop", spec: Any = None, **fields: Any) -> None:
        """Create a ScalingBacktest. fields: of its spec, unless the whole spec is given."""
        spec = {"policy": "checkout"} | fields if spec is None else spec
        body = {"apiVersion": API_VERSION, "kind": "ScalingBacktest", "spec": spec}
        await self.cluster.create(
            f"{ROOT}/{namespace}/scalingbacktests",
            body | {"metadata": {"name": name, "namespace": namespace, "generation": 1, "labels": {"tier": "web"}}},
        )

    async def passes(self, count: int = 1) -> None:
        """Run passes, and let the runs go on after each as far as they can."""
        for _ in range(count):
            await self.controller.run()
            for _ in range(20):
                await asyncio.sleep(0)

    async def end(self, outcome: Outcome) -> None:
        """End the run that began first, and show its end."""
        self.runs.outcomes.put_nowait(outcome)
        await asyncio.sleep(0)
        await self.passes(2)

    def path(self, name: str = "release", namespace: str = "shop") -> str:
        return f"{ROOT}/{namespace}/scalingbacktests/{name}"

    def status(self, name: str = "release", namespace: str = "shop") -> dict[str, Any]:
        return self.cluster.objects[self.path(name, namespace)].get("status", {})

    def condition(self, type_: str, name: str = "release") -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        (condition,) = [item for item in self.status(name)["conditions"] if item["type"] == type_]
        return condition["status"], condition["reason"], condition["message"]
