"""Delays of samples from their time to the database, by service, metric and hour of arrival."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class HourArrivals:
    """The arrivals of a metric of a service in an hour. min_delay_seconds: negative if the sender's clock is ahead."""

    service_name: str
    metric_name: str
    hour: datetime
    samples: int
    late: int
    min_delay_seconds: float


ADD = """
insert into sample_arrivals as known (service_name, metric_name, hour, samples, late, min_delay_seconds)
select * from unnest(%(services)s::text[], %(metrics)s::text[], %(hours)s::timestamptz[], %(samples)s::bigint[],
    %(late)s::bigint[], %(delays)s::float8[]) as added
order by 1, 2, 3
on conflict (service_name, metric_name, hour) do update
set samples = known.samples + excluded.samples,
    late = known.late + excluded.late,
    min_delay_seconds = least(known.min_delay_seconds, excluded.min_delay_seconds)
"""


class SampleArrivals:
    """The table `sample_arrivals`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, arrivals: Sequence[HourArrivals]) -> None:
        """Add to what is known of each hour. The keys must be distinct."""
        values = {
            "services": [entry.service_name for entry in arrivals],
            "metrics": [entry.metric_name for entry in arrivals],
            "hours": [entry.hour for entry in arrivals],
            "samples": [entry.samples for entry in arrivals],
            "late": [entry.late for entry in arrivals],
            "delays": [entry.min_delay_seconds for entry in arrivals],
        }
        async with self._database.connection() as connection:
            await connection.execute(ADD, values)
