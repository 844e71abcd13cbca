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
