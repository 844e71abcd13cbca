"""Recorded forecasts: the newest of each policy, and a thinned history of earlier forecasts."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from psycopg.rows import args_row, class_row

from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.database import Connection, Database
from predictive_scaling.storage.forecast_history import (
    Prediction,
    group_by_forecast,
    interval_start,
    interval_width,
    kept_points,
)
from predictive_scaling.storage.namespaces import READABLE, ReadableServices, readable_values

MAX_REAL, MIN_REAL = 3.4e38, 1e-37
"""The columns are single precision: larger values are recorded as MAX_REAL, smaller values as zero."""


_BINS = ("p10", "p50", "p80", "p90", "p95")
_PEAKS = ("peak_p50", "peak_p80", "peak_p90", "peak_p95")
_NAMES = ("service_name", "namespace", "policy", "model_name", "model_version")

_POINT = "created_at, target_time, p10, p50, p80, p90, p95, peak_p50, peak_p80, peak_p90, peak_p95, source, service_name, namespace, policy, model_name, model_version"  # noqa: E501

COPY = f"copy predictions ({_POINT}) from stdin (format binary)"
TYPES = ["timestamptz", "timestamptz", *["float4"] * 9, *["text"] * 6]

# Serializes writers: two operators that both act as leader record one forecast per interval.
LOCK = "select pg_advisory_xact_lock(7291040362)"

KNOWN = """
select position::int4 from unnest(%(namespaces)s::text[], %(policies)s::text[], %(since)s::timestamptz[],
    %(until)s::timestamptz[]) with ordinality as recorded (namespace, policy, since, until, position)
where exists (
    select from predictions
    where namespace = recorded.namespace and policy = recorded.policy and created_at >= recorded.since
        and created_at < recorded.until)
"""

REPLACE = """
insert into current_predictions (namespace, policy, service_name, created_at, valid_until, source, model_name,
    model_version, target_times, p10, p50, p80, p90, p95, peak_p50, peak_p80, peak_p90, peak_p95)
values (%(namespace)s, %(policy)s, %(service_name)s, %(created_at)s, %(valid_until)s, %(source)s::forecast_source,
    %(model_name)s, %(model_version)s, %(target_times)s::timestamptz[], %(p10)s::float4[], %(p50)s::float4[],
    %(p80)s::float4[], %(p90)s::float4[], %(p95)s::float4[], %(peak_p50)s::float4[], %(peak_p80)s::float4[],
    %(peak_p90)s::float4[], %(peak_p95)s::float4[])
on conflict (namespace, policy) do update
set service_name = excluded.service_name, created_at = excluded.created_at, valid_until = excluded.valid_until,
    source = excluded.source, model_name = excluded.model_name, model_version = excluded.model_version,
    target_times = excluded.target_times, p10 = excluded.p10, p50 = excluded.p50, p80 = excluded.p80,
    p90 = excluded.p90, p95 = excluded.p95, peak_p50 = excluded.peak_p50, peak_p80 = excluded.peak_p80,
    peak_p90 = excluded.peak_p90, peak_p95 = excluded.peak_p95
"""

_CURRENT = """current_predictions as forecast cross join lateral unnest(
    target_times, p10, p50, p80, p90, p95, peak_p50, peak_p80, peak_p90, peak_p95) as point (
    target_time, p10, p50, p80, p90, p95, peak_p50, peak_p80, peak_p90, peak_p95)"""
_CURRENT_POINT = """created_at, target_time, point.p10, point.p50, point.p80, point.p90, point.p95, point.peak_p50,
    point.peak_p80, point.peak_p90, point.peak_p95, source, service_name, namespace, policy, model_name, model_version,
    valid_until"""

NEWEST = f"""
select {_CURRENT_POINT} from {_CURRENT}
where created_at >= %(created_since)s and target_time >= %(since)s
    and (%(service)s::text is null or service_name = %(service)s)
order by namespace, policy, target_time
"""

# Maximum time from forecast origin to target time: 36 bins of 5 minutes.
_REACH = "interval '3 hours'"

BETWEEN = f"""
select distinct on (namespace, policy, target_time) * from (
    select {_POINT}, null::timestamptz as valid_until from predictions
    where service_name = %(service)s and created_at >= %(since)s - {_REACH} and created_at < %(until)s
    union all
    select {_CURRENT_POINT} from {_CURRENT} where service_name = %(service)s) as points
where target_time >= %(since)s and target_time < %(until)s
    and (%(namespaces)s::text[] is null
        or (namespace, policy) in (select * from unnest(%(namespaces)s::text[], %(policies)s::text[])))
order by namespace, policy, target_time, created_at desc, valid_until nulls last
"""

AHEAD = f"""
select distinct on (target_time) {_POINT} from predictions
where namespace = %(namespace)s and policy = %(policy)s
    and created_at >= %(since)s - %(lead)s - {_REACH} and created_at <= %(until)s - %(lead)s
    and target_time >= %(since)s and target_time < %(until)s and created_at <= target_time - %(lead)s
order by target_time, created_at desc
"""

# One index lookup per interval, so that most forecasts are never read. The limits keep the planner from a join over
# all forecasts.
AT_INTERVALS = """
select string_agg(timestamptz_send(point.created_at) || timestamptz_send(point.target_time) || float4send(point.p10)
    || float4send(point.p50) || float4send(point.p80) || float4send(point.p90) || float4send(point.p95)
    || float4send(coalesce(point.peak_p50, 'NaN')) || float4send(coalesce(point.peak_p80, 'NaN'))
    || float4send(coalesce(point.peak_p90, 'NaN')) || float4send(coalesce(point.peak_p95, 'NaN')), ''
    order by point.created_at, point.target_time)
from generate_series(1, %(intervals)s) as nth cross join lateral (
    select created_at from predictions
    where namespace = %(namespace)s and policy = %(policy)s
        and created_at > %(since)s + (nth - 1) * %(interval)s::interval
        and created_at <= %(since)s + nth * %(interval)s::interval
    order by created_at desc limit 1) as last
cross join lateral (
    select created_at, target_time, p10, p50, p80, p90, p95, peak_p50, peak_p80, peak_p90, peak_p95 from predictions
    where namespace = %(namespace)s and policy = %(policy)s and created_at = last.created_at
        and target_time < last.created_at + %(reach)s
    limit 10000) as point
"""


_CURRENT_ROW = """namespace, policy, service_name, created_at, valid_until, source::text as source, model_name,
    model_version, target_times, p10, p50, p80, p90, p95"""

CURRENT_PAGE = f"""
select {_CURRENT_ROW}
from current_predictions
where created_at >= %(created_since)s and valid_until > %(now)s
    and (%(service)s::text is null or service_name = %(service)s)
    and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s)) and {READABLE}
    and (%(after_namespace)s::text is null or (namespace, policy) > (%(after_namespace)s, %(after_policy)s))
order by namespace, policy
limit %(limit)s
"""

# The forecasts of each service from the index current_predictions_by_service.
CURRENT_OF_SERVICES = f"""
select {_CURRENT_ROW} from unnest(%(services)s::text[]) as requested (name) cross join lateral (
    select * from current_predictions
    where service_name = requested.name and created_at >= %(created_since)s and valid_until > %(now)s
    order by namespace, policy
    limit %(limit)s) as forecast
order by service_name, namespace, policy
"""

POLICIES_BETWEEN = f"""
select namespace, policy from (
    select namespace, policy from predictions
    where service_name = %(service)s and created_at >= %(since)s - {_REACH} and created_at < %(until)s
        and target_time >= %(since)s and target_time < %(until)s
    union
    select namespace, policy from current_predictions
    where service_name = %(service)s and exists (
        select from unnest(target_times) as point (target_time)
        where target_time >= %(since)s and target_time < %(until)s)) as points
where (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
    and (%(after_namespace)s::text is null or (namespace, policy) > (%(after_namespace)s, %(after_policy)s))
order by namespace, policy
limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class CurrentForecastRow:
    """The newest forecast of a policy. Quantiles: one value per target time."""

    namespace: str
    policy: str
    service_name: str
    created_at: datetime
    valid_until: datetime
    source: str
    model_name: str
    model_version: str
    target_times: list[datetime]
    p10: list[float]
    p50: list[float]
    p80: list[float]
    p90: list[float]
    p95: list[float]


@dataclass(frozen=True, slots=True)
class CurrentPage:
    """A page of forecasts, by namespace and policy. next_cursor: cursor of the next page; None on the last page."""

    forecasts: list[CurrentForecastRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PolicyKeys:
    """A page of policies (namespace, name). next_cursor: cursor of the next page; None on the last page."""

    policies: list[tuple[str, str]]
    next_cursor: str | None


class Predictions:
    """The tables `predictions` and `current_predictions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, predictions: Sequence[Prediction]) -> None:
        """Record forecasts of any number of policies, each policy's in order of creation.

        The last forecast of each policy becomes its current forecast. One per HISTORY_INTERVAL is kept in
        `predictions`, most of them up to HISTORY_HORIZON. Recording a forecast twice changes nothing.
        """
        forecasts = group_by_forecast(predictions)
        if not forecasts:
            return
        async with self._database.connection() as connection:
            await connection.execute(LOCK)
            await self._keep(connection, forecasts)
            current = {(points[0].namespace, points[0].policy): points for points in forecasts}
            async with connection.cursor() as cursor:
                await cursor.executemany(REPLACE, [_current(current[key]) for key in sorted(current)])

    async def newest(self, since: datetime, created_since: datetime, service: str | None = None) -> list[Prediction]:
        """Return each policy's last forecast created since `created_since`: points from `since`, by policy and time."""
        return await self._rows(NEWEST, {"since": since, "created_since": created_since, "service": service})

    async def between(
        self, service: str, since: datetime, until: datetime, policies: Sequence[tuple[str, str]] | None = None
    ) -> list[Prediction]:
        """Return the last recorded forecast of each target time in [since, until), per policy of a service.

        policies: namespace and name of the policies to return; None for all.
        """
        namespaces = None if policies is None else [namespace for namespace, _ in policies]
        names = None if policies is None else [policy for _, policy in policies]
        values = {"service": service, "since": since, "until": until, "namespaces": namespaces, "policies": names}
        return await self._rows(BETWEEN, values)

    async def policies_between(
        self,
        service: str,
        since: datetime,
        until: datetime,
        limit: int,
        *,
        namespaces: list[str] | None = None,
        cursor: str | None = None,
    ) -> PolicyKeys:
        """Return a page of the policies with forecasts in [since, until). Raises InvalidCursorError.

        namespaces: None for all.
        """
        values = {"service": service, "since": since, "until": until, **_after(cursor), "limit": limit + 1}
        values["namespaces"] = namespaces
        async with self._database.reading() as connection:
            rows: list[tuple[str, str]] = await (await connection.execute(POLICIES_BETWEEN, values)).fetchall()
        return PolicyKeys(rows[:limit], encode_cursor(*rows[limit - 1]) if len(rows) > limit else None)

    async def current(
        self,
        now: datetime,
        created_since: datetime,
        limit: int,
        *,
        service: str | None = None,
        namespaces: list[str] | None = None,
        readable: ReadableServices = None,
        cursor: str | None = None,
    ) -> CurrentPage:
        """Return a page of the currently valid forecasts with all points. Raises InvalidCursorError.

        namespaces, readable: None for all.
        """
        values = {
            "now": now,
            "created_since": created_since,
            "service": service,
            "namespaces": namespaces,
            **readable_values(readable),
            **_after(cursor),
            "limit": limit + 1,
        }
        return _page(await self._current_rows(CURRENT_PAGE, values), limit)

    async def current_of(
        self, services: Sequence[str], now: datetime, created_since: datetime, limit: int
    ) -> dict[str, CurrentPage]:
        """Return the first page of the currently valid forecasts of each of these services, with all points."""
        values = {"services": sorted(set(services)), "now": now, "created_since": created_since, "limit": limit + 1}
        rows = await self._current_rows(CURRENT_OF_SERVICES, values)
        found = {name: list(group) for name, group in groupby(rows, key=lambda row: row.service_name)}
        return {service: _page(found.get(service, []), limit) for service in services}

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str]
    ) -> list[Prediction]:
        """Return a policy's last recorded forecast of each target time in [since, until) made `lead` before it.

        Accuracy is measured on these. policy: namespace and name.
        """
        namespace, name = policy
        values = {"lead": lead, "since": since, "until": until, "namespace": namespace, "policy": name}
        return await self._rows(AHEAD, values)

    async def at_intervals(
        self, namespace: str, policy: str, *, since: datetime, until: datetime, interval: timedelta, reach: timedelta
    ) -> bytes:
        """Return a policy's last recorded forecast of each interval of (since, until], its points of the next `reach`.

        Packed, by forecast origin and target time: each point as two int64 (microseconds since 2000, of both
        times), five float32 (the quantiles, ascending) and four float32 (the quantiles of the peak, NaN where they are
        unknown), big-endian.
        """
        values = {
            "namespace": namespace,
            "policy": policy,
            "since": since,
            "intervals": -(-(until - since) // interval),
            "interval": interval,
            "reach": reach,
        }
        async with self._database.connection() as connection:
            row = await (await connection.execute(AT_INTERVALS, values, binary=True)).fetchone()
        return row[0] or b"" if row else b""

    async def _keep(self, connection: Connection, forecasts: Sequence[Sequence[Prediction]]) -> None:
        """Write the first forecast of each interval to the history, unless it has a forecast of that interval."""
        first: dict[tuple[str, str, datetime, datetime], Sequence[Prediction]] = {}
        for points in forecasts:
            begin, width = interval_start(points[0].created_at, interval_width(points)), interval_width(points)
            first.setdefault((points[0].namespace, points[0].policy, begin, begin + width), points)
        namespaces, policies, since, until = zip(*first, strict=True)
        values = {"namespaces": namespaces, "policies": policies, "since": since, "until": until}
        values = {name: list(column) for name, column in values.items()}
        known = {position for (position,) in await (await connection.execute(KNOWN, values)).fetchall()}
        kept = [points for position, points in enumerate(first.values(), start=1) if position not in known]
        if not kept:
            return
        async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for points in kept:
                for point in kept_points(points):
                    await copy.write_row(_row(point))

    async def _current_rows(self, query: Any, values: dict[str, Any]) -> list[CurrentForecastRow]:
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=args_row(CurrentForecastRow), binary=True) as rows,
        ):
            await rows.execute(query, values)
            return await rows.fetchall()

    async def _rows(self, query: Any, values: dict[str, Any]) -> list[Prediction]:
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(Prediction)) as cursor,
        ):
            await cursor.execute(query, values)
            return await cursor.fetchall()


def _page(rows: list[CurrentForecastRow], limit: int) -> CurrentPage:
    """Return a page. rows: one more than `limit` if there are further pages."""
    shown = rows[:limit]
    more = len(rows) > limit
    return CurrentPage(shown, encode_cursor(shown[-1].namespace, shown[-1].policy) if more else None)


def _after(cursor: str | None) -> dict[str, object]:
    namespace, policy = decode_cursor(cursor, str, str) if cursor else (None, None)
    return {"after_namespace": namespace, "after_policy": policy}


def _row(point: Prediction) -> tuple[object, ...]:
    quantiles = (_real(getattr(point, name)) for name in (*_BINS, *_PEAKS))
    names = (getattr(point, name) for name in _NAMES)
    return (point.created_at, point.target_time, *quantiles, point.source, *names)


def _current(points: Sequence[Prediction]) -> dict[str, object]:
    newest = points[-1]
    return {
        **{name: getattr(newest, name) for name in (*_NAMES, "created_at", "source")},
        "valid_until": newest.valid_until or newest.target_time,
        "target_times": [point.target_time for point in points],
        **{name: [_real(getattr(point, name)) for point in points] for name in (*_BINS, *_PEAKS)},
    }


def _real(value: float | None) -> float | None:
    """Clamp a value to single precision; NaN and infinities are unchanged."""
    if value is None or not math.isfinite(value):
        return value
    return max(-MAX_REAL, min(MAX_REAL, value)) if abs(value) >= MIN_REAL else 0.0
