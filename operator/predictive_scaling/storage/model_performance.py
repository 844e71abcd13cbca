"""How good forecasts were, once their time had come."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class ModelPerformance:
    """Scores of one model for one service over `period` before created_at. Ratios, never percents; None: not known."""

    created_at: datetime
    model_name: str
    model_version: str
    service_name: str
    namespace: str
    policy: str
    period: timedelta
    """The span of target times that was scored."""
    mape: float | None
    wape: float | None
    bias: float | None
    coverage: float | None
    """The share of target times at or below p90; what it should be is 0.9."""
    samples: int
    """Target times that were scored."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Scores over several rows, weighted by their samples."""

    mape: float | None
    wape: float | None
    bias: float | None
    coverage: float | None
    samples: int


RECORD = """
insert into model_performance (created_at, model_name, model_version, service_name, namespace, policy, period, mape,
    wape, bias, coverage, samples)
values (%(created_at)s, %(model_name)s, %(model_version)s, %(service_name)s, %(namespace)s, %(policy)s, %(period)s,
    %(mape)s, %(wape)s, %(bias)s, %(coverage)s, %(samples)s)
on conflict (namespace, policy, model_name, created_at) do nothing
"""

LATEST = """
select distinct on (namespace, policy) created_at, model_name, model_version, service_name, namespace, policy, period,
    mape, wape, bias, coverage, samples
from model_performance
where created_at >= %(since)s and (%(service)s::text is null or service_name = %(service)s)
order by namespace, policy, created_at desc
"""

ACCURACY = """
select sum(mape * samples) / nullif(sum(samples) filter (where mape is not null), 0) as mape,
    sum(wape * samples) / nullif(sum(samples) filter (where wape is not null), 0) as wape,
    sum(bias * samples) / nullif(sum(samples) filter (where bias is not null), 0) as bias,
    sum(coverage * samples) / nullif(sum(samples) filter (where coverage is not null), 0) as coverage,
    coalesce(sum(samples), 0)::bigint as samples
from model_performance
where created_at >= %(since)s and (%(service)s::text is null or service_name = %(service)s)
"""


class ModelPerformances:
    """The table `model_performance`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[ModelPerformance]) -> None:
        """Keep scores; the same policy, model and moment twice is one row."""
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, [asdict(row) for row in rows])

    async def latest(self, since: datetime, service: str | None = None) -> list[ModelPerformance]:
        """The newest row of each policy from `since` on."""
        values = {"since": since, "service": service}
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(ModelPerformance)) as cursor,
        ):
            await cursor.execute(LATEST, values)
            return await cursor.fetchall()

    async def accuracy(self, since: datetime, service: str | None = None) -> Accuracy:
        """All rows from `since` on as one, weighted by samples; None where nothing is known."""
        values: dict[str, Any] = {"since": since, "service": service}
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(Accuracy)) as cursor,
        ):
            await cursor.execute(ACCURACY, values)
            return await cursor.fetchone() or Accuracy(None, None, None, None, 0)
