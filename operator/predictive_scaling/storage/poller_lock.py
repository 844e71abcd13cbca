"""The lock of the process that polls the sources: one of all replicas of `ingest`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.storage.database import Connection, Database

LOCK = "select pg_try_advisory_xact_lock(7291040363)"


class PollerLock:
    """An advisory lock that lasts as long as a transaction, so that poolers of transactions keep it, too.

    PostgreSQL releases it with the end of the connection. A holder whose node vanished loses it when the transaction
    was idle for a minute, so the holder calls `keep` more often.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def keep(self) -> None:
        """Keep the lock. Raises psycopg's errors when it is lost; `poller_lock` turns them into unavailability."""
        await self._connection.execute("select 1")


@asynccontextmanager
async def poller_lock(database: Database) -> AsyncGenerator[PollerLock | None]:
    """Return the lock, or None while another process holds it.

    It uses one connection of the pool. Raises DatabaseUnavailableError, also when the lock is lost.
    """
    async with database.connection() as connection:
        row = await (await connection.execute(LOCK)).fetchone()
        if row is None:
            raise DatabaseUnavailableError(f"PostgreSQL at {database.where} did not answer a request for a lock")
        yield PollerLock(connection) if row[0] else None
