"""The external metrics of the leader, for the standby replicas."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class ExternalReadingRow:
    """Demand and forecast of a policy with their times and validity; None if unknown."""

    namespace: str
    policy: str
    service_name: str
    demand: float | None
    demand_at: datetime | None
    demand_until: datetime | None
    forecast: float | None
    forecast_at: datetime | None
    forecast_until: datetime | None


RECORD = """
insert into external_readings (namespace, policy, service_name, demand, demand_at, demand_until, forecast, forecast_at,
    forecast_until)
values (%(namespace)s, %(policy)s, %(service_name)s, %(demand)s, %(demand_at)s, %(demand_until)s, %(forecast)s,
    %(forecast_at)s, %(forecast_until)s)
on conflict (namespace, policy) do update
set service_name = excluded.service_name, demand = excluded.demand, demand_at = excluded.demand_at,
    demand_until = excluded.demand_until, forecast = excluded.forecast, forecast_at = excluded.forecast_at,
    forecast_until = excluded.forecast_until
"""

FORGET_OTHERS = """
delete from external_readings
where (%(watched)s::text[] is null or namespace = any(%(watched)s))
    and (namespace, policy) not in (select * from unnest(%(namespaces)s::text[], %(policies)s::text[]))
"""

ALL = """
select namespace, policy, service_name, demand, demand_at, demand_until, forecast, forecast_at, forecast_until
from external_readings
where %(watched)s::text[] is null or namespace = any(%(watched)s)
"""


class ExternalReadings:
    """The table `external_readings`. watched: the namespaces of this operator; none means all."""

    def __init__(self, database: Database, watched: Sequence[str] = ()) -> None:
        self._database = database
        self._watched = list(watched) or None

    async def record(self, changed: Sequence[ExternalReadingRow], kept: Sequence[tuple[str, str]]) -> None:
        """Write the changed rows and delete those of all policies except `kept` (namespace, name)."""
        others = {
            "watched": self._watched,
            "namespaces": [namespace for namespace, _ in kept],
            "policies": [policy for _, policy in kept],
        }
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, [asdict(row) for row in changed])
            await cursor.execute(FORGET_OTHERS, others)

    async def all(self) -> list[ExternalReadingRow]:
        """Return all rows of the watched namespaces."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(ExternalReadingRow)) as cursor,
        ):
            await cursor.execute(ALL, {"watched": self._watched})
            return await cursor.fetchall()
