"""A real PostgreSQL from a Python wheel, in a folder and on a free port, also for root."""

import asyncio
import shutil
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from predictive_scaling.clock import monotonic
from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.postgresql_programs import postgresql_programs
from predictive_scaling.stack.processes import Child, SingleProcess, run
from predictive_scaling.stack.progress import Notify
from predictive_scaling.stack.server_user import server_user

DATABASE = "predictive_scaling"
_SHARED_MEMORY_SEGMENTS = Path("/proc/sysvipc/shm")
_DETACH_SECONDS = 60.0
"""Maximum time until the backends of a killed server have noticed it and ended."""
_POLL_SECONDS = 0.05

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    # Only a power failure loses data without these, and the folder is temporary; a killed process loses nothing.
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


class PostgreSQL(SingleProcess):
    """A server. Committed data survives a stop or a kill."""

    def __init__(self, folder: Path, notify: Notify) -> None:
        self.folder = folder
        self._notify = notify
        self._port = free_port()
        self._administrator: psycopg.AsyncConnection | None = None
        self._connecting = asyncio.Lock()

    @property
    def url(self) -> str:
        """The URL of the database `predictive_scaling`, as its owner and the server's administrator."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://postgres@{LOOPBACK}:{self._port}/{database}"

    async def start(self) -> None:
        """Start the server; on the first start create the database. Raises StackError with the end of its log."""
        first = self._child is None
        self._child = self._child or await self._build_server()
        if not self._child.running:
            await self._wait_for_backends_of_a_killed_server()
        await self._child.start()
        if first:
            await self.create_database(DATABASE)

    async def stop(self) -> None:
        """Stop the server gracefully; it may be started again on the same port."""
        self._disconnect()
        await super().stop()

    def kill(self) -> None:
        """Send SIGKILL, as in a failure of the machine."""
        self._disconnect()
        super().kill()

    async def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database as a copy of `template`, which must have no connections; return its URL."""
        # A copy of the files needs only a checkpoint, and no write-ahead log of the content.
        statement = sql.SQL("create database {} template {} strategy file_copy")
        await self._execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url_of(name)

    async def drop_database(self, name: str) -> None:
        """Remove a database, even with open connections."""
        await self._execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    async def _wait_for_backends_of_a_killed_server(self) -> None:
        """A server refuses to start while backends of the one before use its shared memory."""
        until = monotonic() + _DETACH_SECONDS
        while _is_attached(self.folder / "data" / "postmaster.pid") and monotonic() < until:  # noqa: ASYNC110 (the kernel sends no asyncio.Event)
            await asyncio.sleep(_POLL_SECONDS)

    async def _execute(self, statement: sql.Composed) -> None:
        # One connection for all statements: to connect takes half as long as to copy a database.
        async with self._connecting:
            if self._administrator is None or not await _is_usable(self._administrator):
                self._disconnect()
                self._administrator = await psycopg.AsyncConnection.connect(self.url_of("postgres"), autocommit=True)
            administrator = self._administrator
        await administrator.execute(statement)

    def _disconnect(self) -> None:
        if self._administrator is not None:
            self._administrator.pgconn.finish()
            self._administrator = None

    async def _build_server(self) -> Child:
        self.folder.mkdir(parents=True, exist_ok=True)
        user = server_user()
        programs = await postgresql_programs(user, self.folder, self._notify)
        data_folder = self.folder / "data"
        data_folder.mkdir(mode=0o700)
        if user is not None:
            self.folder.chmod(0o711)
            shutil.chown(data_folder, user.uid, user.gid)
        privileges = user.setpriv_options if user else ()
        launcher = ["setpriv", *privileges, "--"] if privileges else []
        options = ("--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync", "-U", "postgres", "-D", data_folder)
        initdb = (*launcher, programs / "initdb", *options)
        await run(*initdb, folder=data_folder, purpose="creating a PostgreSQL database cluster")
        settings = {**_SETTINGS, "port": str(self._port)}
        return Child(
            name="PostgreSQL",
            command=[
                programs / "postgres",
                "-D",
                data_folder,
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            log=self.folder / "postgresql.log",
            ready=self._answers,
            folder=data_folder,
            stop_signal=signal.SIGINT,
            privileges=privileges,
            death_signal="QUIT",
        )

    async def _answers(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self.url_of("postgres"), connect_timeout=3)
        async with connection:
            await connection.execute("select 1")


async def _is_usable(connection: psycopg.AsyncConnection) -> bool:
    """Return whether a connection still works; an administrator may have ended it, or the server may be another one."""
    try:
        await connection.execute("")
    except psycopg.OperationalError:
        return False
    return True


def _is_attached(lock_file: Path) -> bool:
    """Return whether a process uses the shared memory segment that a lock file names.

    Its seventh line is the key and the id of the segment (PostgreSQL's miscadmin.h); a server that stops removes it.
    """
    try:
        segment = lock_file.read_text().splitlines()[6].split()[1]
        rows = [line.split() for line in _SHARED_MEMORY_SEGMENTS.read_text().splitlines()]
    except (OSError, IndexError):
        return False
    columns = rows[0]
    return any(row[columns.index("shmid")] == segment and int(row[columns.index("nattch")]) > 0 for row in rows[1:])
