"""The quality of the demand that policies read: gaps, late samples, restarts of counters, outliers, clocks."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.cleaning.outliers import find_outliers, usable_demand
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import MINUTE, Demand
from predictive_scaling.storage.namespaces import READABLE, ReadableServices, readable_values

SETTLING = 2 * MINUTE
"""The newest minutes are left out: their samples may still arrive."""

KEYS = (
    """
select distinct service_name, metric_name from policies
where (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
    and (%(service)s::text is null or service_name = %(service)s)
    and (service_name, metric_name) > (%(after_service)s, %(after_metric)s)
    and """
    + READABLE
    + """
order by service_name, metric_name
limit %(limit)s
"""
)

# The newest minute of each series is the first of its index, backwards.
NEWEST = """
select count(*), max(newest.last_time)
from (select distinct service_name, metric_name from policies where service_name is not null) as key
left join lateral (
    select rollup.last_time from metrics_1m as rollup
    where rollup.service_name = key.service_name and rollup.metric_name = key.metric_name
        and rollup.minute >= %(since)s
    order by rollup.minute desc limit 1) as newest on true
"""

ARRIVALS = """
select key.service_name, key.metric_name, arrived.samples, arrived.late, arrived.min_delay_seconds,
    exists (
        select from metrics_1m as rollup
        where rollup.service_name = key.service_name and rollup.metric_name = key.metric_name
            and rollup.minute >= %(day_before)s and rollup.minute < %(since)s) as is_older,
    (select rollup.last_time from metrics_1m as rollup
        where rollup.service_name = key.service_name and rollup.metric_name = key.metric_name
        order by rollup.minute desc limit 1) as last
from unnest(%(services)s::text[], %(metrics)s::text[]) as key (service_name, metric_name)
left join lateral (
    select sum(samples)::float8 as samples, sum(late)::float8 as late, min(min_delay_seconds) as min_delay_seconds
    from sample_arrivals as hours
    where hours.service_name = key.service_name and hours.metric_name = key.metric_name
        and hours.hour > %(since)s - interval '1 hour') as arrived on true
"""


@dataclass(frozen=True, slots=True)
class SeriesQuality:
    """The quality of a metric of a service in a window. Ratios are between 0 and 1; NaN if unknown."""

    service_name: str
    metric_name: str
    last: datetime | None
    """Time of the newest sample; None without one."""
    missing_ratio: float
    """Share of minutes without demand, since the window began or the series did; NaN if it never did.

    Minutes between samples at the usual distance of the series, such as five minutes, are not missing.
    """
    late_ratio: float
    """Share of samples that were stored more than five minutes after their time."""
    min_delay_seconds: float
    """Least time from a sample to its storage; negative: the clock of a sender is ahead by at least that."""
    resets: int
    """Restarts of counters, which the rates bridge."""
    outliers: int
    """Minutes that are set aside as outliers, judged by the window."""


class DataQuality:
    """Reads the tables `policies`, `metrics_1m` and `sample_arrivals`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_policies(
        self,
        now: datetime,
        window: timedelta,
        *,
        namespaces: list[str] | None = None,
        readable: ReadableServices = None,
        service: str | None = None,
        after: tuple[str, str] = ("", ""),
        limit: int = 100,
    ) -> list[SeriesQuality]:
        """Return up to `limit` metrics that policies of these namespaces name, by service and metric."""
        values = {
            "namespaces": namespaces,
            "service": service,
            "after_service": after[0],
            "after_metric": after[1],
            "limit": limit,
            **readable_values(readable),
        }
        async with self._database.connection() as connection:
            rows = await (await connection.execute(KEYS, values)).fetchall()
        keys = [SeriesKey(service_name, metric_name) for service_name, metric_name in rows]
        return await self._quality(keys, now - window, now - SETTLING) if keys else []

    async def newest_sample(self, since: datetime) -> datetime | None:
        """Return the time of the newest sample of all series that policies name; `since` if none is newer.

        None without policies.
        """
        async with self._database.connection() as connection:
            row = await (await connection.execute(NEWEST, {"since": since})).fetchone()
        policies, newest = row or (0, None)
        return (newest or since) if policies else None

    async def _quality(self, keys: Sequence[SeriesKey], since: datetime, until: datetime) -> list[SeriesQuality]:
        demand = Demand(self._database)
        minutes, resets = await demand.minutes(keys, since, until), await demand.resets(keys, since, until)
        arrivals = await self._arrivals(keys, since)
        # Judging outliers takes milliseconds per series, during which other requests go on.
        return await asyncio.to_thread(
            lambda: [_quality_of(key, minutes[key], resets[key], arrivals[key.service, key.metric]) for key in keys]
        )

    async def _arrivals(self, keys: Sequence[SeriesKey], since: datetime) -> dict[tuple[str, str], Mapping[str, Any]]:
        values = {
            "services": [key.service for key in keys],
            "metrics": [key.metric for key in keys],
            "since": since,
            "day_before": since - timedelta(days=1),
        }
        async with self._database.connection() as connection:
            rows = await (await connection.execute(ARRIVALS, values)).fetchall()
        names = ("samples", "late", "min_delay_seconds", "is_older", "last")
        return {(service, metric): dict(zip(names, row, strict=True)) for service, metric, *row in rows}


def _quality_of(
    key: SeriesKey, minutes: npt.NDArray[np.float64], resets: int, arrivals: Mapping[str, Any]
) -> SeriesQuality:
    observed = np.flatnonzero(np.isfinite(minutes))
    begin = 0 if arrivals["is_older"] or not len(observed) else int(observed[0])
    expected = len(minutes) - begin
    outliers = find_outliers(usable_demand(minutes), MINUTE, judge_first=True)
    samples = arrivals["samples"]
    return SeriesQuality(
        service_name=key.service,
        metric_name=key.metric,
        last=arrivals["last"],
        missing_ratio=_missing(observed, begin, len(minutes)) / expected if expected and arrivals["last"] else math.nan,
        late_ratio=arrivals["late"] / samples if samples else math.nan,
        min_delay_seconds=math.nan if arrivals["min_delay_seconds"] is None else arrivals["min_delay_seconds"],
        resets=resets,
        outliers=int(outliers.sum()),
    )


def _missing(observed: npt.NDArray[np.intp], begin: int, end: int) -> float:
    """Return the minutes from `begin` to `end` beyond the usual distance from the sample before."""
    usual = float(np.median(np.diff(observed))) if len(observed) > 1 else 1.0
    distances = np.diff(np.concatenate(([begin - 1], observed, [end])))
    return float(np.clip(distances - usual, 0, None).sum())
