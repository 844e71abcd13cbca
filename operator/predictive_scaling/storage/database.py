"""PostgreSQL connections: a self-healing pool, and `engine` for interactive use inside the image."""

import math
import select
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from predictive_scaling.clock import monotonic
from predictive_scaling.connection_urls import ENCODE, check_url
from predictive_scaling.errors import DatabaseUnavailableError, SettingsError
from predictive_scaling.settings import DATABASE_SCHEMES, read_settings
from predictive_scaling.storage.plain_text import ADAPTERS
from predictive_scaling.storage.pool_metrics import POOLS

Connection = psycopg.AsyncConnection[TupleRow]

# Rejected data is distinguished from an unavailable server: only the latter can be retried.
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)


_CHECK_VALID_SECONDS = 0.5
"""A checked connection is handed out without a further check, which costs a round trip, for this time."""


class Connections(Protocol):
    """A provider of connections: a Database, or `engine`."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Return a connection in a transaction."""
        ...


class Database:
    """A pool of connections for one purpose; separate pools keep a burst from starving other purposes.

    Opens at first use and belongs to that event loop. Connections are checked when handed out: after a restart
    of PostgreSQL the next checkout works. Sessions are in UTC and read-write.
    """

    def __init__(
        self,
        url: str,
        *,
        purpose: str = "operator",
        max_size: int = 4,
        checkout_timeout: timedelta = timedelta(seconds=10),
        statement_timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        self._arguments = connection_arguments(url, purpose, statement_timeout)
        self._purpose = purpose
        self._max_size = max_size
        self._checkout_seconds = checkout_timeout.total_seconds()
        self._pool: AsyncConnectionPool[Connection] | None = None
        self.may_use: Callable[[], bool] = lambda: True
        """Asked each time that a connection is handed out; False for a process that may not act any more."""
        self._held: str | None = None
        self._answered: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    def hold(self, why: str) -> None:
        """Hand out no connection until `release`: each checkout raises DatabaseUnavailableError with the reason."""
        self._held = why

    def release(self) -> None:
        """Hand out connections again."""
        self._held = None

    @property
    def where(self) -> str:
        """Host, port and database, for messages; never the password."""
        return _where(self._arguments)

    async def open(self) -> None:
        """Start connecting without waiting; the first checkout does it too."""
        if self._pool is None:
            # Short reconnect timeout: the back-off doubles, and a checkout would wait for the next attempt. After the
            # timeout the pool reconnects at the next checkout.
            self._pool = AsyncConnectionPool(
                kwargs=self._arguments,
                min_size=1,
                max_size=self._max_size,
                open=False,
                check=self._check,
                timeout=self._checkout_seconds,
                reconnect_timeout=5.0,
                max_waiting=self._max_size * 25,
            )
            POOLS.watch(self._pool, self._purpose)
            await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def ping(self) -> None:
        """Run a minimal statement. Raises DatabaseUnavailableError when the database does not respond."""
        async with self.connection() as connection:
            await connection.execute("select 1")

    async def __aenter__(self) -> "Database":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Return a connection in a transaction, which is committed at the end and rolled back on an exception.

        Raises DatabaseUnavailableError when the server is unreachable, full, read-only or too slow: retry later. Errors
        of data and of SQL (psycopg.DataError, IntegrityError, ProgrammingError) pass through.
        """
        if self._held is not None:
            raise DatabaseUnavailableError(f"PostgreSQL at {self.where}: {self._held}")
        await self.open()
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError(f"PostgreSQL at {self.where}: the pool is closed")
        try:
            async with pool.connection() as connection:
                if not self.may_use():
                    raise DatabaseUnavailableError(f"leadership was lost; PostgreSQL at {self.where} is not used")
                try:
                    yield connection
                except psycopg.errors.ReadOnlySqlTransaction:
                    await connection.close()  # after a failover this is the old primary; the pool finds the new one
                    raise
        except _UNAVAILABLE as error:
            raise DatabaseUnavailableError(f"PostgreSQL at {self.where}: {_first_line(error)}") from error

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Connection]:
        """Return a connection in autocommit mode: one round trip per statement, where a transaction takes three."""
        async with self.connection() as connection:
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                    await connection.set_autocommit(False)
                else:
                    await connection.close()  # interrupted within a statement; the pool replaces it

    async def _check(self, connection: Connection) -> None:
        """Test a connection, unless it responded within _CHECK_VALID_SECONDS and has no unread data.

        A server that stops closes its connections, which makes them readable.
        """
        now = monotonic()
        was_checked = now - self._answered.get(connection, -math.inf) <= _CHECK_VALID_SECONDS
        poll = select.poll()  # unlike select, for any number of open files
        poll.register(connection.fileno(), select.POLLIN)
        if not was_checked or poll.poll(0):
            await AsyncConnectionPool.check_connection(connection)
            self._answered[connection] = now

    connect = connection


class Engine:
    """Opens a connection to DATABASE_URL per use: for interactive use, in any event loop, with nothing to close."""

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Return a connection in a transaction. Raises SettingsError and DatabaseUnavailableError."""
        arguments = connection_arguments(read_settings().database_url.get_secret_value(), "engine")
        try:
            async with await psycopg.AsyncConnection.connect(**arguments) as connection:
                yield connection
        except _UNAVAILABLE as error:
            raise DatabaseUnavailableError(f"PostgreSQL at {_where(arguments)}: {_first_line(error)}") from error

    connect = connection


engine = Engine()


def connection_arguments(
    url: str, purpose: str, statement_timeout: timedelta = timedelta(seconds=30)
) -> dict[str, Any]:
    """Return psycopg's connection arguments: the parameters of the URL, with default timeouts.

    Raises SettingsError for a URL that cannot be parsed (without showing it: it may hold a password).
    """
    try:
        parameters = conninfo_to_dict(check_url(url, DATABASE_SCHEMES))
    except (psycopg.ProgrammingError, UnicodeError):
        raise SettingsError(
            f"DATABASE_URL cannot be parsed; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and {ENCODE}"
        ) from None
    except ValueError as error:
        raise SettingsError(f"DATABASE_URL {error}") from None
    milliseconds = round(statement_timeout.total_seconds() * 1000)
    # JIT compilation takes longer than most of these statements.
    limits = (
        f"-c timezone=UTC -c jit=off -c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=60000"
    )
    defaults = {
        "application_name": f"predictive-scaling-{purpose}",
        "connect_timeout": 5,
        "tcp_user_timeout": 30_000,
        "target_session_attrs": "read-write",
    }
    arguments: dict[str, Any] = {**defaults, **parameters}
    arguments["options"] = f"{limits} {parameters.get('options') or ''}".strip()
    arguments["context"] = ADAPTERS
    arguments["prepare_threshold"] = None  # prepared statements break behind PgBouncer's transaction mode
    return arguments


def location(url: str) -> str:
    """Return host, port and database of a URL, without the password. Raises SettingsError."""
    return _where(connection_arguments(url, "location"))


def _where(arguments: dict[str, Any]) -> str:
    host, port = arguments.get("host") or "localhost", arguments.get("port") or 5432
    return f"{host}:{port}/{arguments.get('dbname') or ''}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
