"""Runs the ScalingBacktests: a fair queue over namespaces, a bounded number of child processes, one result for each.

Each pass compares what runs with the objects of the cluster; nothing is remembered that a restart would lose.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

import structlog
from prometheus_client import Counter as MetricCounter

from predictive_scaling.backtesting.task import Deferred, Failed, Finished
from predictive_scaling.clock import Clock, has_elapsed, monotonic
from predictive_scaling.cluster.client import (
    Cluster,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.control.jobs.backtest_child import RunTask, run_in_child
from predictive_scaling.control.jobs.backtest_record import BacktestRecord, backtest_record, backtest_row
from predictive_scaling.control.jobs.backtest_statuses import failed, running, succeeded, waiting
from predictive_scaling.control.jobs.backtest_tasks import BacktestLimits, BacktestRefusedError, span_of, task_of
from predictive_scaling.decision.review import unexpected_problem
from predictive_scaling.errors import ClusterUnavailableError, DatabaseUnavailableError
from predictive_scaling.resources.metadata import GROUP, VERSION
from predictive_scaling.resources.scaling_backtest import ScalingBacktestStatus
from predictive_scaling.resources.vocabulary import BacktestReason
from predictive_scaling.storage.backtests import BacktestRow
from predictive_scaling.targets.registry import TargetFinder

log = structlog.get_logger(__name__)

BACKTESTS = MetricCounter("predictive_scaling_backtests_total", "ScalingBacktests that ended.", ["phase"])

MAX_ATTEMPTS = 5
"""Starts after which a backtest that never ended fails: it may be what ends the operator."""
POLICY_GRACE_SECONDS = 15.0
"""A policy may be created just after its backtest, by the same kubectl command."""
_RETRY_SECONDS = 30.0
_READS_IN_FLIGHT = 8


class BacktestTable(Protocol):
    """The part of storage.Backtests that is used here."""

    async def record(self, changed: Sequence[BacktestRow], kept: Sequence[str]) -> None:
        """Write the changed rows and delete those of all backtests except `kept` (uids)."""
        ...


@dataclass(slots=True)
class BacktestController:
    """Starts, ends and records backtests."""

    cluster: Cluster
    cache: InformerCache
    find: TargetFinder
    table: BacktestTable
    clock: Clock
    leads: Callable[[], bool]
    limits: BacktestLimits
    namespaces: tuple[str, ...] = ()
    run_task: RunTask = field(default=run_in_child)
    _records: dict[str, BacktestRecord] = field(default_factory=dict[str, BacktestRecord])
    _runs: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])
    _final: dict[str, ScalingBacktestStatus] = field(default_factory=dict[str, ScalingBacktestStatus])
    """Final statuses of runs, until the cluster shows them."""
    _seen_at: dict[str, float] = field(default_factory=dict[str, float])
    _not_before: dict[str, float] = field(default_factory=dict[str, float])
    _turns: dict[str, int] = field(default_factory=dict[str, int])
    """When each namespace last had its turn."""
    _mirrored: dict[str, int] | None = None
    _is_refused: bool = False

    async def run(self) -> None:
        """One pass over all backtests. Raises ClusterUnavailableError, DatabaseUnavailableError."""
        if not self.leads():
            await self._stop()
            return
        if not self.cache.is_complete:
            return
        try:
            await self._read()
        except ObjectRefusedError as error:
            # Without the right to list them, the operator works as before.
            if not self._is_refused:
                log.warning("backtests_not_readable", error=str(error))
            self._is_refused = True
            return
        self._is_refused = False
        await self._expire()
        self._start_due()
        await self._mirror()

    async def _stop(self) -> None:
        """End all child processes: another process leads."""
        for run in self._runs.values():
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        for memory in (self._runs, self._records, self._final, self._seen_at, self._not_before):
            memory.clear()
        self._mirrored = None

    async def _read(self) -> None:
        """Read the objects that changed, and end the runs of objects that are gone."""
        listed: dict[str, ObjectMetadata] = {}
        for path in self._collections():
            try:
                listed |= {(shown := ObjectMetadata.of(body)).uid: shown for body in await self.cluster.metadata(path)}
            except ObjectNotFoundError:
                log.debug("backtests_not_installed", path=path)
        listed = {uid: shown for uid, shown in listed.items() if shown.deleted_at is None}
        for uid in self._runs.keys() - listed.keys():
            self._runs[uid].cancel()
        for memory in (self._records, self._final, self._seen_at, self._not_before):
            for uid in memory.keys() - listed.keys():
                del memory[uid]
        slots = asyncio.Semaphore(_READS_IN_FLIGHT)

        async def read(shown: ObjectMetadata) -> None:
            async with slots:
                await self._read_one(shown)

        async with asyncio.TaskGroup() as group:
            for uid, shown in listed.items():
                record = self._records.get(uid)
                if record is None or record.resource_version != shown.resource_version:
                    group.create_task(read(shown))

    async def _read_one(self, shown: ObjectMetadata) -> None:
        try:
            await self._take_up(shown, backtest_record(await self.cluster.get(_path(shown.namespace, shown.name))))
        except (ObjectNotFoundError, ClusterUnavailableError, ObjectRefusedError) as error:
            log.debug("backtest_not_read", backtest=f"{shown.namespace}/{shown.name}", error=str(error))

    async def _take_up(self, shown: ObjectMetadata, record: BacktestRecord) -> None:
        if record.uid != shown.uid:
            return
        self._records[record.uid] = record
        self._seen_at.setdefault(record.uid, monotonic())
        if record.is_finished:
            self._final.pop(record.uid, None)
        elif record.status.phase is None and record.problem is None:
            await self._write(record, waiting(record, BacktestReason.QUEUED, "waits for its turn", self.clock.now()))

    async def _expire(self) -> None:
        """Delete the backtests whose time to live has passed."""
        now = self.clock.now()
        for record in list(self._records.values()):
            ttl = record.backtest.spec.ttl_seconds_after_finished if record.backtest else None
            ended = record.status.finished_at
            if record.is_finished and ttl is not None and ended and has_elapsed(timedelta(seconds=ttl), ended, now):
                try:
                    await self.cluster.delete(_path(*record.key), uid=record.uid)
                except (ObjectNotFoundError, ObjectConflictError, ObjectRefusedError, ClusterUnavailableError) as error:
                    log.info("backtest_not_deleted", backtest=str(record.key), error=str(error))

    def _start_due(self) -> None:
        self._runs = {uid: run for uid, run in self._runs.items() if not run.done()}
        namespaces = {record.key.namespace for record in self._records.values()}
        self._turns = {name: turn for name, turn in self._turns.items() if name in namespaces}
        while len(self._runs) < self.limits.concurrency:
            record = self._next()
            if record is None:
                return
            self._turns[record.key.namespace] = max(self._turns.values(), default=0) + 1
            self._runs[record.uid] = asyncio.create_task(self._run_isolated(record))

    def _next(self) -> BacktestRecord | None:
        """Return the oldest backtest of the namespace with the fewest runs whose last turn is longest ago."""
        active = Counter(self._records[uid].key.namespace for uid in self._runs if uid in self._records)
        due = [record for record in self._records.values() if self._is_due(record)]
        return min(
            due,
            key=lambda record: (
                active[record.key.namespace],
                self._turns.get(record.key.namespace, 0),
                record.created_at,
                record.key,
            ),
            default=None,
        )

    def _is_due(self, record: BacktestRecord) -> bool:
        return (
            not record.is_finished
            and record.uid not in self._runs
            and monotonic() >= self._not_before.get(record.uid, 0.0)
        )

    async def _run_isolated(self, record: BacktestRecord) -> None:
        """Run a backtest and write its status. Never raises: a failure of one affects no other."""
        self._not_before[record.uid] = monotonic() + _RETRY_SECONDS
        try:
            final = self._final.get(record.uid) or await self._final_status(record)
            if final is None:
                return
            self._final[record.uid] = final
            if await self._write(record, final) and final.phase is not None:
                BACKTESTS.labels(final.phase.value).inc()
                log.info("backtest_ended", backtest=str(record.key), phase=final.phase, message=final.message)
                self._records[record.uid] = replace(record, status=final)
        except ClusterUnavailableError as error:
            log.warning("backtest_status_not_written", backtest=str(record.key), error=str(error))
        except Exception as error:  # the failure is written at the next attempt
            log.exception("backtest_failed", backtest=str(record.key))
            problem = unexpected_problem(error)
            self._final[record.uid] = failed(record, BacktestReason.INTERNAL_ERROR, problem.message, self.clock.now())

    async def _final_status(self, record: BacktestRecord) -> ScalingBacktestStatus | None:
        """Run a backtest and return its final status; None if it waits. Raises ClusterUnavailableError."""
        backtest, now = record.backtest, self.clock.now()
        if backtest is None:
            return failed(record, BacktestReason.INVALID_BACKTEST, record.problem or "", now)
        if record.status.attempts >= MAX_ATTEMPTS:
            why = f"interrupted {MAX_ATTEMPTS} times by the end of the operator; choose a shorter span"
            return failed(record, BacktestReason.INTERRUPTED, why, now)
        try:
            span = span_of(backtest, record.status.span, now, self.limits)
            task = await task_of(backtest, self.cluster, self.find, self.cache.events(), span, self.limits, now)
        except BacktestRefusedError as error:
            return await self._refused(record, error)
        started = running(record, span, now)
        if not await self._write(record, started):
            return None
        log.info("backtest_started", backtest=str(record.key), attempt=started.attempts)
        attempted = replace(record, status=started)
        match await self.run_task(task, self.limits.time_limit):
            case Finished() as finished:
                return succeeded(attempted, finished, self.clock.now())
            case Failed(reason=reason, message=message):
                return failed(attempted, reason, message, self.clock.now())
            case Deferred(message=message):
                wait = waiting(
                    attempted, BacktestReason.WAITING_FOR_DATABASE, message, self.clock.now(), record.status.attempts
                )
                self._not_before[record.uid] = monotonic() + _RETRY_SECONDS
                await self._write(record, wait)
                return None

    async def _refused(self, record: BacktestRecord, error: BacktestRefusedError) -> ScalingBacktestStatus | None:
        reason, now = error.backtest_reason, self.clock.now()
        age = monotonic() - self._seen_at.get(record.uid, 0.0)
        if reason is not BacktestReason.POLICY_NOT_FOUND or age >= POLICY_GRACE_SECONDS:
            return failed(record, reason, str(error), now)
        self._not_before[record.uid] = monotonic() + 1.0
        await self._write(record, waiting(record, BacktestReason.WAITING_FOR_POLICY, str(error), now))
        return None

    async def _write(self, record: BacktestRecord, status: ScalingBacktestStatus) -> bool:
        """Write a status, and return whether it was written: not if the object is gone or another process leads.

        Raises ClusterUnavailableError.
        """
        if not self.leads():
            return False
        same = {"op": "test", "path": "/metadata/uid", "value": record.uid}
        operations = [same, {"op": "add", "path": "/status", "value": status.to_manifest()}]
        try:
            await self.cluster.edit(f"{_path(*record.key)}/status", operations)
        except (ObjectNotFoundError, ObjectRefusedError, ObjectConflictError) as error:
            log.info("backtest_status_refused", backtest=str(record.key), error=str(error))
            return False
        return True

    async def _mirror(self) -> None:
        """Copy what changed into the database, for the HTTP API."""
        versions = {uid: record.resource_version for uid, record in self._records.items()}
        if versions == self._mirrored:
            return
        known = self._mirrored or {}
        changed = [
            backtest_row(record) for uid, record in self._records.items() if known.get(uid) != record.resource_version
        ]
        try:
            await self.table.record(changed, list(versions))
        except DatabaseUnavailableError as error:
            log.debug("backtests_not_recorded_yet", error=str(error))
            return
        self._mirrored = versions

    def _collections(self) -> list[str]:
        root = f"/apis/{GROUP}/{VERSION}"
        if not self.namespaces:
            return [f"{root}/scalingbacktests"]
        return [f"{root}/namespaces/{namespace}/scalingbacktests" for namespace in self.namespaces]


def _path(namespace: str, name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/scalingbacktests/{name}"
