"""Demand that was recorded before a test begins, or lies ahead of its clock."""

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
    every: timedelta = MINUTE,
) -> None:
    """One sample in each interval of [since, until), as ingest would write them.

    What lies ahead of an operator's clock is not read before its time: a test's live demand is written beforehand.
    """
    labels = {"pod": "a"}
    first = since.replace(second=0, microsecond=0)
    minutes = [first + index * every for index in range(-(-(until - first) // every))]
    samples = [Sample(at, service, METRIC, series_of(labels), demand(at), labels) for at in minutes]
    async with Database(url, purpose="tests", max_size=1) as database:
        await Samples(database).record(samples)
