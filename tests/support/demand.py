"""Demand recorded before a test, for times before and after its clock."""

from collections.abc import Callable
from datetime import datetime, timedelta

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.samples import Sample, Samples, series_of

MINUTE = timedelta(minutes=1)
METRIC = "requests_per_second"


async def record_demand(
    url: str,
    service: str,
    since: datetime,
    until: datetime,
    demand: Callable[[datetime], float],
    interval: timedelta = MINUTE,
) -> None:
    """Record one sample for each interval of [since, until), as ingest would write them.

    The operator does not read samples later than its clock, so that a test's live demand can be recorded beforehand.
    """
    labels = {"pod": "a"}
    first = since.replace(second=0, microsecond=0)
    minutes = [first + index * interval for index in range(-(-(until - first) // interval))]
    samples = [Sample(at, service, METRIC, series_of(labels), demand(at), labels) for at in minutes]
    async with Database(url, purpose="tests", max_size=1) as database:
        await Samples(database).record(samples)


async def end_demand(url: str, service: str, at: datetime) -> None:
    """Remove the samples that were recorded beforehand for the minute of `at` and later.

    A test changes its demand once it has seen the effect of the demand before, however long that took.
    """
    values = (service, at.replace(second=0, microsecond=0))
    async with Database(url, purpose="tests", max_size=1) as database, database.connection() as connection:
        await connection.execute("delete from metrics_raw where service_name = %s and time >= %s", values)
        await connection.execute("delete from metrics_1m where service_name = %s and minute >= %s", values)
