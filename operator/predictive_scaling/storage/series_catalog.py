"""The recorded metrics of services, with what a policy has to name and how often samples arrive."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class RecordedMetric:
    """A metric of a service, over all of its series."""

    service: str
    metric: str
    kind: str
    """gauge, or counter: a total whose demand is its rate per second."""
    series: int
    labels: list[str]
    """The names of the labels that distinguish the series, sorted."""
    first: datetime | None
    """The first minute with a sample; None if retention has deleted all of them."""
    last: datetime | None
    """Time of the newest sample."""
    samples_per_minute: float
    """Samples of all series per minute, over the hour that ends with the newest sample."""


# The first and the last minute come from the primary key of the rollups, without reading what is between them.
METRICS = """
with known as (
    select service_name, metric_name, count(*) as series, bool_or(is_counter) as is_counter
    from series
    where last_day >= %(since)s
        and (%(service)s::text is null or service_name = %(service)s)
        and (%(metric)s::text is null or metric_name = %(metric)s)
        and (service_name, metric_name) > (%(after_service)s, %(after_metric)s)
    group by service_name, metric_name
    order by service_name, metric_name
    limit %(limit)s)
select service_name as service, metric_name as metric, case when is_counter then 'counter' else 'gauge' end as kind,
    known.series, coalesce(named.labels, '{}') as labels, oldest.minute as first, newest.last_time as last,
    coalesce(counted.samples, 0)::float8 / 60 as samples_per_minute
from known
left join lateral (
    select array_agg(distinct name order by name) as labels
    from series cross join lateral jsonb_object_keys(series.labels) as name
    where series.service_name = known.service_name and series.metric_name = known.metric_name
        and series.last_day >= %(since)s) as named on true
left join lateral (
    select minute from metrics_1m as rollup
    where rollup.service_name = known.service_name and rollup.metric_name = known.metric_name
    order by minute limit 1) as oldest on true
left join lateral (
    select minute, last_time from metrics_1m as rollup
    where rollup.service_name = known.service_name and rollup.metric_name = known.metric_name
    order by minute desc limit 1) as newest on true
left join lateral (
    select sum(count) as samples from metrics_1m as rollup
    where rollup.service_name = known.service_name and rollup.metric_name = known.metric_name
        and rollup.minute > newest.minute - interval '1 hour' and rollup.minute <= newest.minute) as counted on true
order by service, metric
"""

Position = tuple[str, str]
"""Service and metric of the last entry of the page before."""
FIRST_PAGE: Position = ("", "")


class SeriesCatalog:
    """Reads the tables `series` and `metrics_1m`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def metrics(
        self,
        now: datetime,
        look_back: timedelta,
        *,
        service: str | None = None,
        metric: str | None = None,
        after: Position = FIRST_PAGE,
        limit: int = 1000,
    ) -> list[RecordedMetric]:
        """Return up to `limit` metrics with a sample within `look_back`, by service and metric, after a position."""
        values = {
            "since": (now - look_back).date(),
            "service": service,
            "metric": metric,
            "after_service": after[0],
            "after_metric": after[1],
            "limit": limit,
        }
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(RecordedMetric)) as cursor,
        ):
            await cursor.execute(METRICS, values)
            return await cursor.fetchall()
