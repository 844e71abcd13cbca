"""TimescaleDB: the columnstore of old chunks, which `migrate` sets up where the tables are hypertables.

All statements that only TimescaleDB understands are here, except for those of migrations, which never change: 0002 and
0010 create the hypertables and the functions `create_partitions`, `drop_chunks` and `oldest_chunk_end`, which the other
modules call with and without TimescaleDB.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import structlog
from psycopg import sql

from predictive_scaling.storage.database import Connection

log = structlog.get_logger(__name__)

FIRST_USABLE_VERSION = (2, 18, 1)
"""Before, INSERT … ON CONFLICT DO NOTHING into compressed chunks ended at the first known row and lost the others."""

EXTENSION = """
select extversion, current_setting('timescaledb.license', true),
    current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true)
from pg_extension where extname = 'timescaledb'
"""

HYPERTABLES = """
select hypertable_name, conname, compression_enabled
from timescaledb_information.hypertables
join pg_constraint on conrelid = format('%%I.%%I', hypertable_schema, hypertable_name)::regclass and contype = 'p'
where hypertable_schema = current_schema() and hypertable_name = any(%(tables)s)
"""

RENAME_KEY = sql.SQL("alter table {table} rename constraint {key} to {name}")

# Late rows may change compressed ones, which are decompressed first: `ingest` reading a day again would exceed the
# default of 100,000 rows per statement at each attempt. A setting of the database, which no dump contains.
LIFT_DECOMPRESSION_LIMIT = sql.SQL(
    "alter database {database} set timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
)

ENABLE = sql.SQL(
    "alter table {table} set (timescaledb.enable_columnstore, timescaledb.segmentby = {segments}, "
    "timescaledb.orderby = {time})"
)

ADD_POLICY = sql.SQL("call add_columnstore_policy({table}, after => {after}, if_not_exists => true)")


@dataclass(frozen=True, slots=True)
class Columnstore:
    """The compression of the chunks of a hypertable. time: its time column. after: the age of compressed chunks."""

    table: str
    time: str
    after: timedelta


# Old enough that nearly all rows go to chunks that are not compressed.
COLUMNSTORES = (
    Columnstore("metrics_raw", "time", timedelta(days=7)),
    Columnstore("metrics_1m", "minute", timedelta(days=28)),
)

SEGMENTS = "service_name, metric_name, series"
"""The keys without the time: an upsert decompresses only rows of its own series, near its own time."""


async def configure(connection: Connection) -> list[str]:
    """Set up the hypertables and return those whose columnstore was enabled; without TimescaleDB do nothing.

    Safe to repeat; needed again after an update of the extension that makes its columnstore usable.
    """
    extension = await (await connection.execute(EXTENSION)).fetchone()
    if extension is None:
        return []
    rows = await (await connection.execute(HYPERTABLES, {"tables": [store.table for store in COLUMNSTORES]})).fetchall()
    for table, key, _ in rows:
        await _rename_key(connection, table, key)
    version, license_name, limit = extension
    if _numbers(version) < FIRST_USABLE_VERSION or license_name != "timescale":
        log.info("columnstore_unavailable", version=version, license=license_name)
        return []
    if limit != "0" and not await _lift_decompression_limit(connection):
        return []
    rowstores = {table for table, _, has_columnstore in rows if not has_columnstore}
    pending = [store for store in COLUMNSTORES if store.table in rowstores]
    for store in pending:
        await _enable(connection, store)
    return [store.table for store in pending]


async def _rename_key(connection: Connection, table: str, key: str) -> None:
    """Name the key after its table: a hypertable was made from a copy of the table, and has the name of its key."""
    name = f"{table}_pkey"
    if key != name:
        names = {"table": sql.Identifier(table), "key": sql.Identifier(key), "name": sql.Identifier(name)}
        await connection.execute(RENAME_KEY.format(**names))


async def _lift_decompression_limit(connection: Connection) -> bool:
    database = sql.Identifier(connection.info.dbname)
    try:
        async with connection.transaction():
            await connection.execute(LIFT_DECOMPRESSION_LIMIT.format(database=database))
    except psycopg.errors.InsufficientPrivilege:
        log.warning("columnstore_needs_owner", remedy="run `predictive-scaling migrate` as the owner of the database")
        return False
    return True


async def _enable(connection: Connection, store: Columnstore) -> None:
    values = {
        "table": sql.Identifier(store.table),
        "segments": sql.Literal(SEGMENTS),
        "time": sql.Literal(store.time),
    }
    await connection.execute(ENABLE.format(**values))
    policy = {"table": sql.Literal(store.table), "after": sql.Literal(store.after)}
    await connection.execute(ADD_POLICY.format(**policy))
    log.info("columnstore_enabled", table=store.table, after=str(store.after))


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as 2.23.0-dev."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
