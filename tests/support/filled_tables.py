"""Rows in every table of any version of the schema, and the comparison of tables."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.database import Connection, Database
from predictive_scaling.storage.dead_letters import DeadLetters
from predictive_scaling.storage.decision_lists import DecisionLists
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.series_catalog import SeriesCatalog
from predictive_scaling.storage.tunings import Tunings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
_TIME = "timestamptz '2026-11-24 12:00Z' - n * interval '7 minutes'"

# Expressions by type; n is the number of the row, from 1.
_VALUES = {
    "text": "'text-' || n",
    "timestamptz": _TIME,
    "date": "date '2026-11-24'",
    "interval": "n * interval '1 minute'",
    "float8": "n * 1.5",
    "float4": "n * 1.5",
    "int4": "n",
    "int8": "n",
    "bool": "n % 2 = 0",
    "bytea": "decode(md5(n::text), 'hex')",
    "jsonb": "jsonb_build_object('number', n, 'text', 'ü\"\\')",
    "forecast_source": "'SameTimeLastWeek'::forecast_source",
    "tstzmultirange": f"tstzmultirange(tstzrange({_TIME}, {_TIME} + interval '1 minute'))",
    "_text": "array['text-' || n, '', null, 'a,\"b\"']",
    "_timestamptz": f"array[{_TIME}, {_TIME} + interval '5 minutes']",
    "_float4": "array[n, n + 0.25]::float4[]",
    "_float8": "array[n, n + 0.25]::float8[]",
}
# Where a value of the type is not a value of the column.
_COLUMNS = {
    "decision_type": "'scale_up'",
    ("scaling_decisions", "status"): "'succeeded'",
    ("commands", "status"): "'answered'",
    ("policies", "conditions"): "'[]'::jsonb",
    ("business_events", "end_time"): f"{_TIME} + interval '1 hour'",
    ("business_events", "policies"): "array['text-' || n]",
    ("scaling_decisions", "limits"): "array['text-' || n]",
    ("scaling_decisions", "finished_at"): "case when n % 2 = 0 then null end::timestamptz",
    ("tunings", "points"): "array[[n, 2], [3, 4]]::float8[][]",
    ("tunings", "alone"): "array[n, 2]::float8[]",
    ("shadow_hours", "minutes"): "decode('789c030000000001', 'hex')",
}

TABLES = """
select relname from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
    and relname <> 'schema_migrations'
order by relname
"""
COLUMNS = """
select column_name, udt_name from information_schema.columns
where table_schema = 'public' and table_name = %(table)s and is_identity = 'NO'
order by ordinal_position
"""


@dataclass(frozen=True, slots=True)
class Content:
    """The number of rows of a table, and a checksum of some columns of all of its rows, independent of their order."""

    columns: tuple[str, ...]
    rows: int
    checksum: str


async def fill_tables(database: Database, rows: int = 20) -> None:
    """Insert rows into every table, whatever version its schema has."""
    async with database.connection() as connection:
        days: list[date] = [(NOW - timedelta(days=back)).date() for back in range(2)]
        await connection.execute(
            "select create_partitions('metrics_raw', %(days)s), create_partitions('metrics_1m', %(days)s)",
            {"days": days},
        )
        for table in await _names(connection):
            columns = await _columns(connection, table)
            values = (_COLUMNS.get((table, name), _COLUMNS.get(name, _VALUES[kind])) for name, kind in columns)
            names = ", ".join(name for name, _ in columns)
            statement = f"insert into {table} ({names}) select {', '.join(values)} from generate_series(1, {rows}) as n"
            await connection.execute(statement.encode())


async def contents(database: Database, columns: dict[str, Content] | None = None) -> dict[str, Content]:
    """Return the content of each table. columns: earlier contents, whose tables and columns are read again."""
    async with database.connection() as connection:
        found: dict[str, Content] = {}
        for table in await _names(connection) if columns is None else columns:
            known = None if columns is None else columns[table].columns
            names = known or tuple(name for name, _ in await _columns(connection, table))
            packed = f"select md5(row({', '.join(names)})::text) as row from {table}"
            statement = f"select count(*), coalesce(md5(string_agg(row, '' order by row)), '') from ({packed}) as rows"
            row: Any = await (await connection.execute(statement.encode())).fetchone()
            found[table] = Content(names, *row)
        return found


async def read_rows(database: Database) -> dict[str, int]:
    """Read tables as the processes do; return how many entries each reader found, by table."""
    key = SeriesKey("text-1", "text-1")
    since, until = NOW - timedelta(hours=3), NOW + timedelta(hours=1)
    demand = (await Demand(database).minutes([key], since, until))[key]
    decisions = DecisionLists(database)
    all_decisions, some_decisions = await decisions.page(1000), await decisions.page(9, namespaces=["text-1"])
    return {
        "metrics_1m": int(np.isfinite(demand).sum()),
        "series": len(await SeriesCatalog(database).metrics(NOW, timedelta(days=30))),
        "predictions": len(await Predictions(database).between("text-1", since, until)),
        "scaling_decisions": min(len(all_decisions.decisions), len(some_decisions.decisions)),
        "business_events": len(await BusinessEvents(database).between(since, until)),
        "policies": len(await Policies(database).all()),
        "tunings": len(await Tunings(database).all()),
        "dead_letters": len(await DeadLetters(database).newest()),
        "model_performance": len(await ModelPerformances(database).by_service(since, until)),
    }


async def _names(connection: Connection) -> list[str]:
    rows = await (await connection.execute(TABLES)).fetchall()
    return [name for (name,) in rows if re.fullmatch(r"\w+", name)]


async def _columns(connection: Connection, table: str) -> list[tuple[str, str]]:
    return await (await connection.execute(COLUMNS, {"table": table})).fetchall()
