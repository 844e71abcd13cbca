"""The accuracy of past forecasts: sums of errors by interval, which can be added over any window."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.namespaces import READABLE, ReadableServices, readable_values

MAX_SUM = 1e290
"""Maximum recorded sum of an interval: PostgreSQL can add any realistic number of these without an overflow."""


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Sums over scored target times; sums of sums are sums again. Ratios are None without scored target times."""

    samples: int = 0
    absolute_error: float = 0.0
    error: float = 0.0
    demand: float = 0.0
    relative_error: float = 0.0
    """Sum over the target times with a demand above zero; relative_samples is their number."""
    relative_samples: int = 0
    covered_p50: int = 0
    """Number of target times with demand at or below this quantile of their forecast."""
    covered_p80: int = 0
    covered_p90: int = 0
    covered_p95: int = 0
    covered: int = 0
    """Number of target times with demand at or below the quantile that the policy's floor covers."""

    @property
    def mape(self) -> float | None:
        return _ratio(self.relative_error, self.relative_samples)

    @property
    def wape(self) -> float | None:
        return _ratio(self.absolute_error, self.demand)

    @property
    def bias(self) -> float | None:
        return _ratio(self.error, self.demand)

    @property
    def coverage(self) -> dict[str, float | None]:
        """Coverage by quantile."""
        counts = {"0.5": self.covered_p50, "0.8": self.covered_p80, "0.9": self.covered_p90, "0.95": self.covered_p95}
        return {quantile: _ratio(count, self.samples) for quantile, count in counts.items()}

    @property
    def chosen_coverage(self) -> float | None:
        """Coverage of the quantile that the policy's floor covers."""
        return _ratio(self.covered, self.samples)


def total(sums: Iterable[ErrorSums]) -> ErrorSums:
    """Return the total of all sums."""
    parts = [asdict(part) for part in sums]
    return ErrorSums(**{name: sum(part[name] for part in parts) for name in _SUMS})


def _ratio(part: float, total: float) -> float | None:
    return part / total if total else None


@dataclass(frozen=True, slots=True)
class ModelPerformance:
    """Scores of a policy's forecasts for the target times in [since, until)."""

    created_at: datetime
    model_name: str
    model_version: str
    service_name: str
    namespace: str
    policy: str
    since: datetime
    until: datetime
    quantile: float
    """The quantile that the policy's floor covered."""
    sums: ErrorSums


@dataclass(frozen=True, slots=True)
class ServiceAccuracy:
    """Scores of a service's forecasts, over all of its policies. model_name: of the newest forecasts."""

    service_name: str
    model_name: str
    sums: ErrorSums


@dataclass(frozen=True, slots=True)
class PolicyAccuracy:
    """Scores of a policy's forecasts. quantile: the newest quantile of its floor."""

    namespace: str
    policy: str
    quantile: float
    sums: ErrorSums


@dataclass(frozen=True, slots=True)
class ScoredInterval:
    """A scored interval of a policy."""

    namespace: str
    policy: str
    since: datetime


_SUMS = tuple(field.name for field in fields(ErrorSums))

RECORD = """
insert into model_performance (created_at, model_name, model_version, service_name, namespace, policy, period, since,
    until, quantile, mape, wape, bias, coverage, samples, absolute_error, error, demand, relative_error,
    relative_samples, covered_p50, covered_p80, covered_p90, covered_p95, covered)
values (%(created_at)s, %(model_name)s, %(model_version)s, %(service_name)s, %(namespace)s, %(policy)s, %(period)s,
    %(since)s, %(until)s, %(quantile)s, %(mape)s, %(wape)s, %(bias)s, %(coverage)s, %(samples)s, %(absolute_error)s,
    %(error)s, %(demand)s, %(relative_error)s, %(relative_samples)s, %(covered_p50)s, %(covered_p80)s, %(covered_p90)s,
    %(covered_p95)s, %(covered)s)
on conflict (namespace, policy, since) do nothing
"""

# bigint sums are numeric in PostgreSQL.
_TOTALS = """sum(samples)::bigint as samples, sum(absolute_error) as absolute_error, sum(error) as error,
    sum(demand) as demand, sum(relative_error) as relative_error, sum(relative_samples)::bigint as relative_samples,
    sum(covered_p50)::bigint as covered_p50, sum(covered_p80)::bigint as covered_p80,
    sum(covered_p90)::bigint as covered_p90, sum(covered_p95)::bigint as covered_p95, sum(covered)::bigint as covered"""

# Intervals that begin before the window are left out: their target times are not all within it.
BY_SERVICE = f"""
select service_name, (array_agg(model_name order by since desc))[1] as model_name, {_TOTALS}
from model_performance
where since >= %(since)s and until <= %(until)s and (%(service)s::text is null or service_name = %(service)s)
    and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s)) and {READABLE}
group by service_name order by service_name
"""

BY_POLICY = f"""
select namespace, policy, (array_agg(quantile order by since desc))[1] as quantile, {_TOTALS}
from model_performance
where since >= %(since)s and until <= %(until)s
group by namespace, policy order by namespace, policy
"""

SCORED = "select namespace, policy, since from model_performance where since >= %(since)s"


class ModelPerformances:
    """The table `model_performance`: one row for each policy and interval."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[ModelPerformance]) -> None:
        """Record scores; intervals with a score stay unchanged."""
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, [_columns(row) for row in rows])

    async def scored(self, since: datetime) -> list[ScoredInterval]:
        """Return the scored intervals that begin at `since` or later."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(ScoredInterval)) as cursor,
        ):
            await cursor.execute(SCORED, {"since": since})
            return await cursor.fetchall()

    async def by_service(
        self,
        since: datetime,
        until: datetime,
        service: str | None = None,
        namespaces: list[str] | None = None,
        readable: ReadableServices = None,
    ) -> list[ServiceAccuracy]:
        """Return the sums of each service over the intervals within [since, until], by name.

        namespaces: those whose policies count; None for all. readable: None for all services.
        """
        values = {"since": since, "until": until, "service": service, "namespaces": namespaces}
        values |= readable_values(readable)
        rows = await self._rows(BY_SERVICE, values)
        return [ServiceAccuracy(row["service_name"], row["model_name"], _sums(row)) for row in rows]

    async def by_policy(self, since: datetime, until: datetime) -> list[PolicyAccuracy]:
        """Return the sums of each policy over the intervals within [since, until], by namespace and name."""
        rows = await self._rows(BY_POLICY, {"since": since, "until": until})
        return [PolicyAccuracy(row["namespace"], row["policy"], row["quantile"], _sums(row)) for row in rows]

    async def _rows(self, query: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(query, values)
            return await cursor.fetchall()


def _columns(row: ModelPerformance) -> dict[str, Any]:
    """Return the columns of a row. The ratios cover this interval only: sums can be added, ratios cannot."""
    sums = row.sums
    ratios = {"mape": sums.mape, "wape": sums.wape, "bias": sums.bias, "coverage": sums.coverage["0.9"]}
    bounded = {name: max(-MAX_SUM, min(MAX_SUM, value)) for name, value in asdict(sums).items()}
    columns = {field.name: getattr(row, field.name) for field in fields(row) if field.name != "sums"}
    return {**columns, "period": row.until - row.since, **ratios, **bounded}


def _sums(row: dict[str, Any]) -> ErrorSums:
    return ErrorSums(**{name: row[name] for name in _SUMS})
