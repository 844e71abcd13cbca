"""Retention: deletes old rows of each table separately in short transactions, so that each run makes progress."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
import structlog
from prometheus_client import Counter, Gauge

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.storage.database import Connection, Database

log = structlog.get_logger(__name__)

FAILURES = Counter(
    "predictive_scaling_retention_failures_total", "Retention runs that failed to finish a table.", ["table"]
)
ROWS = Counter("predictive_scaling_retention_rows_total", "Rows deleted by retention.", ["table"])
SECONDS = Gauge("predictive_scaling_retention_seconds", "Time that the last run of retention took.", ["table"])

BATCH_SIZE, MIN_BATCH_SIZE = 10_000, 100
"""Maximum number of rows per delete statement, and the minimum it is reduced to when statements are slow."""

# Product time, not the server's time: a replay of 1998 must not delete its own data.
OLDEST_CHUNK_END = "select oldest_chunk_end(%(relation)s::regclass)"
DROP = "select drop_chunks(%(relation)s::regclass, %(before)s::timestamptz)"
SET_LOCK_TIMEOUT = "select set_config('lock_timeout', %(milliseconds)s, true)"

POLICIES_WITH_OLD_PREDICTIONS = """
with recursive each as (
    (select namespace, policy from predictions order by namespace, policy limit 1)
    union all
    select following.namespace, following.policy from each cross join lateral (
        select namespace, policy from predictions
        where (namespace, policy) > (each.namespace, each.policy) order by namespace, policy limit 1) as following)
select namespace, policy from each
where exists (
    select from predictions
    where namespace = each.namespace and policy = each.policy and created_at < %(before)s)
"""


@dataclass(frozen=True, slots=True)
class RowRule:
    """The rule for deleting rows of a table. parts: a query of partitions to delete separately, such as policies."""

    table: str
    keeps: str
    """raw or rollups."""
    delete: LiteralString
    parts: LiteralString | None = None


# Locked rows are left for the next run.
RULES = (
    RowRule(
        "predictions",
        "raw",
        """delete from predictions where ctid = any(array(select ctid from predictions
        where namespace = %(namespace)s and policy = %(policy)s and created_at < %(before)s
        limit %(batch)s for update skip locked))""",
        POLICIES_WITH_OLD_PREDICTIONS,
    ),
    RowRule(
        "current_predictions",
        "raw",
        """delete from current_predictions where ctid = any(array(select ctid from current_predictions
        where created_at < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "shadow_hours",
        "raw",
        """delete from shadow_hours where ctid = any(array(select ctid from shadow_hours
        where since < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "replica_history",
        "raw",
        """delete from replica_history where ctid = any(array(select ctid from replica_history
        where at < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "dead_letters",
        "raw",
        """delete from dead_letters where ctid = any(array(select ctid from dead_letters
        where received_at < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "ingest_history",
        "raw",
        """delete from ingest_history where ctid = any(array(select ctid from ingest_history
        where minute < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "commands",
        "raw",
        """delete from commands where ctid = any(array(select ctid from commands
        where created_at < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "model_performance",
        "rollups",
        """delete from model_performance where ctid = any(array(select ctid from model_performance
        where created_at < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "scaling_decisions",
        "rollups",
        """delete from scaling_decisions where ctid = any(array(select ctid from scaling_decisions
        where created_at < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "business_events",
        "rollups",
        """delete from business_events where ctid = any(array(select ctid from business_events
        where end_time < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "backtest_results",
        "raw",
        """delete from backtest_results where ctid = any(array(select ctid from backtest_results
        where created_at < %(before)s
            and not exists (select from backtests where backtests.input_hash = backtest_results.input_hash)
        limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "sample_arrivals",
        "raw",
        """delete from sample_arrivals where ctid = any(array(select ctid from sample_arrivals
        where hour < %(before)s limit %(batch)s for update skip locked))""",
    ),
    RowRule(
        "series",
        "rollups",
        """delete from series where ctid = any(array(select ctid from series
        where last_day < (%(before)s::timestamptz at time zone 'UTC')::date limit %(batch)s
        for update skip locked))""",
    ),
)


@dataclass(slots=True)
class Removed:
    """The result of a run. failed: unfinished tables, which the next run continues."""

    chunks: list[str] = field(default_factory=list[str])
    rows: dict[str, int] = field(default_factory=dict[str, int])
    failed: list[str] = field(default_factory=list[str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Retention:
    """raw: retention of samples, predictions and dead letters. rollups: retention of rollups, decisions and events.

    lock_timeout: how long the drop of a chunk waits for readers and writers of its table, which others then wait for.
    lock_pauses: the pauses before further attempts, in real seconds.
    """

    database: Database
    raw: timedelta
    rollups: timedelta
    batch_size: int = BATCH_SIZE
    lock_timeout: timedelta = timedelta(seconds=2)
    lock_pauses: tuple[float, ...] = (1.0, 5.0, 15.0)

    async def apply(self, now: datetime) -> Removed:
        """Delete expired rows. A failed table is counted and does not stop the others; finished deletes persist."""
        before = {"raw": now - self.raw, "rollups": now - self.rollups}
        removed = Removed()
        for relation, moment in (("metrics_raw", before["raw"]), ("metrics_1m", before["rollups"])):
            await self._run(relation, self._drop_chunks(relation, moment, removed), removed)
        for rule in RULES:
            await self._run(rule.table, self._delete(rule, before[rule.keeps], removed), removed)
        log.info("retention_applied", chunks=removed.chunks, rows=removed.rows, failed=removed.failed)
        return removed

    async def _run(self, table: str, work: Any, removed: Removed) -> None:
        began = monotonic()
        try:
            await work
        except Exception as error:  # a failed table must not keep the others from being cleaned
            FAILURES.labels(table).inc()
            removed.failed.append(table)
            log.warning("retention_failed", table=table, error=str(error) or type(error).__name__)
        removed.seconds[table] = monotonic() - began
        SECONDS.labels(table).set(removed.seconds[table])

    async def _drop_chunks(self, relation: str, before: datetime, removed: Removed) -> None:
        """Drop one chunk per transaction, so that readers and writers wait for at most one."""
        last: datetime | None = None
        while True:
            async with self.database.connection() as connection:
                row = await (await connection.execute(OLDEST_CHUNK_END, {"relation": relation})).fetchone()
            end: datetime | None = row[0] if row else None
            if end is None or end > before or end == last:
                return
            removed.chunks += await self._drop_chunk(relation, end)
            last = end

    async def _drop_chunk(self, relation: str, end: datetime) -> list[str]:
        for pause in (*self.lock_pauses, None):
            try:
                async with self.database.connection() as connection:
                    await self._limit_locks(connection)
                    rows = await (await connection.execute(DROP, {"relation": relation, "before": end})).fetchall()
                    return [str(chunk) for (chunk,) in rows]
            except DatabaseUnavailableError as error:
                if pause is None or not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    raise
                log.info("retention_waits_for_lock", table=relation, chunk_end=end.isoformat(), seconds=pause)
                await asyncio.sleep(pause)
        return []

    async def _delete(self, rule: RowRule, before: datetime, removed: Removed) -> None:
        parts: list[Mapping[str, str]] = [{}]
        if rule.parts is not None:
            async with self.database.connection() as connection:
                rows = await (await connection.execute(rule.parts, {"before": before})).fetchall()
            parts = [{"namespace": namespace, "policy": policy} for namespace, policy in rows]
        batch = self.batch_size
        for part in parts:
            while True:
                try:
                    count = await self._delete_batch(rule, {**part, "before": before, "batch": batch})
                except DatabaseUnavailableError as error:
                    if batch <= MIN_BATCH_SIZE or not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                        raise
                    batch = max(MIN_BATCH_SIZE, batch // 4)
                    log.info("retention_batch_reduced", table=rule.table, rows=batch)
                    continue
                removed.rows[rule.table] = removed.rows.get(rule.table, 0) + count
                if count < batch:
                    break

    async def _delete_batch(self, rule: RowRule, values: Mapping[str, object]) -> int:
        async with self.database.connection() as connection:
            await self._limit_locks(connection)
            count = (await connection.execute(rule.delete, values)).rowcount
        ROWS.labels(rule.table).inc(count)
        return count

    async def _limit_locks(self, connection: Connection) -> None:
        milliseconds = str(round(self.lock_timeout.total_seconds() * 1000))
        await connection.execute(SET_LOCK_TIMEOUT, {"milliseconds": milliseconds})
