"""Applies the database migrations."""

from datetime import datetime
from typing import LiteralString, cast

import psycopg
import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.errors import SchemaError
from predictive_scaling.storage import timescaledb
from predictive_scaling.storage.database import Connection, Database
from predictive_scaling.storage.schema import APPLIED, Migration, migrations

log = structlog.get_logger(__name__)

# A transaction lock, not a session lock: it works behind PgBouncer, and a crash releases it.
LOCK = "select pg_advisory_xact_lock(7291040361)"

NO_STATEMENT_TIMEOUT = "set local statement_timeout = 0"

HISTORY = """
create table if not exists schema_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null)
"""

RECORD = """
insert into schema_migrations (version, name, checksum, applied_at)
values (%(version)s, %(name)s, %(checksum)s, %(applied_at)s)
on conflict (version) do update set name = excluded.name, checksum = excluded.checksum, applied_at = excluded.applied_at
"""


async def migrate(database: Database, clock: Clock) -> list[str]:
    """Apply the pending migrations in order, each in a transaction, and return their names. Safe to run concurrently.

    Then set up TimescaleDB where it is used.

    Raises SchemaError if the database is newer than this code, or if a migration was applied with other contents.
    """
    applied: list[str] = []
    for migration in migrations():
        async with database.connection() as connection:
            if await _apply(connection, migration, clock.now()):
                applied.append(f"{migration.version:04}_{migration.name}")
                log.info("migration_applied", version=migration.version, name=migration.name)
    async with database.connection() as connection:
        await connection.execute(NO_STATEMENT_TIMEOUT)
        await connection.execute(LOCK)
        await timescaledb.configure(connection)
    return applied


async def _apply(connection: Connection, migration: Migration, now: datetime) -> bool:
    await connection.execute(NO_STATEMENT_TIMEOUT)
    await connection.execute(LOCK)
    await connection.execute(HISTORY)
    rows = await (await connection.execute(APPLIED)).fetchall()
    known = {version: (name, checksum) for version, name, checksum in rows}
    _refuse_newer(known)
    checksum = known[migration.version][1] if migration.version in known else None
    if checksum == migration.checksum:
        return False
    script = migration.sql if checksum is None else migration.upgrade(checksum)
    if script is None:
        raise SchemaError(
            f"migration {migration.version} ({migration.name}) was applied with contents that differ from this code; "
            "a released migration never changes: use the release that created this database, or another database"
        )
    try:
        # The SQL is a file of this package.
        await connection.execute(cast("LiteralString", script))
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaError(
            f"migration {migration.version} may not change the database ({error.diag.message_primary}); run "
            "`predictive-scaling migrate` as the owner of the database"
        ) from error
    values = {"version": migration.version, "name": migration.name, "checksum": migration.checksum, "applied_at": now}
    await connection.execute(RECORD, values)
    return True


def _refuse_newer(known: dict[int, tuple[str, str]]) -> None:
    newest = migrations()[-1].version
    if known and max(known) > newest:
        raise SchemaError(
            f"the database has schema version {max(known)}, this code supports up to {newest}; "
            "migrate with the newer release"
        )
