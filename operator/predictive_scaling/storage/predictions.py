"""Forecasts as they were made."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from psycopg.rows import class_row

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class Prediction:
    """One point of one forecast: the demand of the bin that begins at target_time, as quantiles."""

    created_at: datetime
    """The moment of forecasting: nothing later was looked at."""
    service_name: str
    target_time: datetime
    p10: float
    p50: float
    p80: float
    p90: float
    p95: float
    model_name: str
    model_version: str
    namespace: str
    policy: str
    source: str
    """What stood behind it: fresh, last, last_week … (the freshness ladder's rung), as the operator names it."""
    valid_until: datetime


_COLUMNS = "created_at, service_name, target_time, p10, p50, p80, p90, p95, model_name, model_version, namespace, policy, source, valid_until"  # noqa: E501

_values = attrgetter(*(field.name for field in fields(Prediction)))

STAGE = "create temporary table new_predictions (like predictions) on commit drop"
COPY = f"copy new_predictions ({_COLUMNS}) from stdin (format binary)"
TYPES = ["timestamptz", "text", "timestamptz", *["float8"] * 5, *["text"] * 5, "timestamptz"]
KEEP = f"""
insert into predictions ({_COLUMNS}) select {_COLUMNS} from new_predictions
on conflict (namespace, policy, created_at, target_time) do nothing
"""

# Hops from policy to policy along the primary key: a forecast a minute makes many rows of each.
NEWEST = f"""
with recursive each as (
    (select namespace, policy from predictions order by namespace, policy limit 1)
    union all
    select following.namespace, following.policy from each cross join lateral (
        select namespace, policy from predictions
        where (namespace, policy) > (each.namespace, each.policy) order by namespace, policy limit 1) as following),
newest as (
    select namespace, policy, last.created_at from each cross join lateral (
        select created_at from predictions
        where namespace = each.namespace and policy = each.policy order by created_at desc limit 1) as last
    where last.created_at >= %(made_since)s)
select {_COLUMNS} from newest join predictions using (namespace, policy, created_at)
where target_time >= %(since)s and (%(service)s::text is null or service_name = %(service)s)
order by namespace, policy, target_time
"""

BETWEEN = f"""
select distinct on (namespace, policy, target_time) {_COLUMNS} from predictions
where service_name = %(service)s and target_time >= %(since)s and target_time < %(until)s
order by namespace, policy, target_time, created_at desc
"""

AHEAD = f"""
select distinct on (namespace, policy, target_time) {_COLUMNS} from predictions
where target_time >= %(since)s and target_time < %(until)s and created_at <= target_time - %(lead)s
    and (%(policy)s::text is null or (namespace = %(namespace)s and policy = %(policy)s))
order by namespace, policy, target_time, created_at desc
"""


# One forecast each interval, found by a hop along the primary key: most of them are never read. The limits keep the
# planner from joining all forecasts with all of them, the comparisons of pairs from going through them by target time.
AT_INTERVALS = """
select string_agg(timestamptz_send(point.created_at) || timestamptz_send(point.target_time) || float8send(point.p10)
    || float8send(point.p50) || float8send(point.p80) || float8send(point.p90) || float8send(point.p95), ''
    order by point.created_at, point.target_time)
from generate_series(1, %(intervals)s) as nth cross join lateral (
    select created_at from predictions
    where namespace = %(namespace)s and policy = %(policy)s
        and created_at > %(since)s + (nth - 1) * %(every)s::interval
        and created_at <= %(since)s + nth * %(every)s::interval
    order by created_at desc limit 1) as last
cross join lateral (
    select created_at, target_time, p10, p50, p80, p90, p95 from predictions
    where namespace = %(namespace)s and policy = %(policy)s
        and (created_at, target_time) >= (last.created_at, last.created_at)
        and (created_at, target_time) < (last.created_at, last.created_at + %(reach)s)
    order by created_at, target_time limit 10000) as point
"""


class Predictions:
    """The table `predictions`: one row for each policy, moment of forecasting and target time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, predictions: Sequence[Prediction]) -> None:
        """Keep forecasts, those of many policies at once. A forecast that is there already stays as it is."""
        if not predictions:
            return
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.execute(STAGE)
            async with cursor.copy(COPY) as copy:
                copy.set_types(TYPES)
                for prediction in predictions:
                    await copy.write_row(_values(prediction))
            await cursor.execute(KEEP)

    async def newest(self, since: datetime, made_since: datetime, service: str | None = None) -> list[Prediction]:
        """Each policy's last forecast made from `made_since` on: its points from `since` on, by policy and time."""
        return await self._rows(NEWEST, {"since": since, "made_since": made_since, "service": service})

    async def between(self, service: str, since: datetime, until: datetime) -> list[Prediction]:
        """For each policy of a service and target time in [since, until), the last forecast of it."""
        return await self._rows(BETWEEN, {"service": service, "since": since, "until": until})

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str] | None = None
    ) -> list[Prediction]:
        """For each target time in [since, until), the last forecast made at least `lead` before it.

        What accuracy is measured on. policy: namespace and name; None for all policies.
        """
        namespace, name = policy or (None, None)
        values = {"lead": lead, "since": since, "until": until, "namespace": namespace, "policy": name}
        return await self._rows(AHEAD, values)

    async def at_intervals(
        self, namespace: str, policy: str, *, since: datetime, until: datetime, every: timedelta, reach: timedelta
    ) -> bytes:
        """A policy's last forecast made in each interval of (since, until], its points of the next `reach`.

        Packed, by moment of forecasting and target time: each point as two int64 (microseconds since 2000, of both
        times) and five float64 (the quantiles, ascending), big-endian.
        """
        values = {
            "namespace": namespace,
            "policy": policy,
            "since": since,
            "intervals": -(-(until - since) // every),
            "every": every,
            "reach": reach,
        }
        async with self._database.connection() as connection:
            row = await (await connection.execute(AT_INTERVALS, values, binary=True)).fetchone()
        return row[0] or b"" if row else b""

    async def _rows(self, query: Any, values: dict[str, Any]) -> list[Prediction]:
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(Prediction)) as cursor,
        ):
            await cursor.execute(query, values)
            return await cursor.fetchall()
