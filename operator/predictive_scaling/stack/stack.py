"""The local stack: starts the requested parts concurrently and removes everything at the end."""

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from predictive_scaling.clock import WallClock
from predictive_scaling.errors import StackError
from predictive_scaling.stack.aws import AWS
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.folders import TemporaryFolder
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.progress import Notify, to_stderr
from predictive_scaling.stack.redis import Redis

Kind = TypeVar("Kind")


class Server(Protocol):
    """The operations of every part. A restart keeps the port and, except for Redis and AWS, the data."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def kill(self) -> None: ...


class Stack:
    """Real servers on free ports, in a folder that is removed with them. `async with Stack([Part.KAFKA]) as stack: …`.

    The parts are attributes; a part that was not requested raises StackError. Enter it in the main thread: the
    parts end with the thread that starts them, even if it is killed.
    """

    def __init__(
        self,
        parts: Collection[Part] = tuple(Part),
        *,
        cluster: ClusterOptions | None = None,
        notify: Notify = to_stderr,
    ) -> None:
        self._requested = frozenset(parts)
        self._notify = notify
        self._temporary = TemporaryFolder()
        self._cluster = cluster or ClusterOptions()
        self._servers = self._build_servers()

    @property
    def folder(self) -> Path:
        """The folder with a subfolder for the data and logs of each part."""
        return self._temporary.path

    @property
    def kubernetes(self) -> Kubernetes:
        return self._part(Part.KUBERNETES, Kubernetes)

    @property
    def postgresql(self) -> PostgreSQL:
        return self._part(Part.POSTGRESQL, PostgreSQL)

    @property
    def redis(self) -> Redis:
        return self._part(Part.REDIS, Redis)

    @property
    def kafka(self) -> Kafka:
        return self._part(Part.KAFKA, Kafka)

    @property
    def aws(self) -> AWS:
        return self._part(Part.AWS, AWS)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the cluster's administrator."""
        return self.kubernetes.kubeconfig

    @property
    def database_url(self) -> str:
        return self.postgresql.url

    @property
    def redis_url(self) -> str:
        return self.redis.url

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    def environment(self) -> dict[str, str]:
        """The variables with which the product uses the requested parts: KUBECONFIG, DATABASE_URL, …"""
        environment: dict[str, str] = {}
        if Part.KUBERNETES in self._requested:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        if Part.POSTGRESQL in self._requested:
            environment["DATABASE_URL"] = self.database_url
        if Part.REDIS in self._requested:
            environment["REDIS_URL"] = self.redis_url
        if Part.KAFKA in self._requested:
            environment["KAFKA_BOOTSTRAP_SERVERS"] = self.kafka_bootstrap_servers
        if Part.AWS in self._requested:
            environment |= self.aws.environment()
        return environment

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.TaskGroup() as starting:
                for part, server in self._servers.items():
                    starting.create_task(self._start(part, server))
        except BaseException as error:
            await self._remove()
            raise _cause(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remove()

    async def _start(self, part: Part, server: Server) -> None:
        await server.start()
        self._notify(f"{part.value} is ready")

    async def _remove(self) -> None:
        try:
            await asyncio.gather(*(server.stop() for server in reversed(self._servers.values())))
        finally:
            for server in self._servers.values():
                server.kill()
            self._temporary.remove()

    def _build_servers(self) -> dict[Part, Server]:
        constructors: dict[Part, Callable[[Path], Server]] = {
            Part.POSTGRESQL: lambda folder: PostgreSQL(folder, self._notify),
            Part.REDIS: lambda folder: Redis(folder, self._notify),
            Part.KAFKA: lambda folder: Kafka(folder, self._notify),
            Part.AWS: lambda folder: AWS(folder, self._notify),
            Part.KUBERNETES: lambda folder: Kubernetes(folder, WallClock(), self._cluster, self._notify),
        }
        return {
            part: construct(self.folder / part.value)
            for part, construct in constructors.items()
            if part in self._requested
        }

    def _part(self, part: Part, kind: type[Kind]) -> Kind:
        server = self._servers.get(part)
        if not isinstance(server, kind):
            raise StackError(f"this stack was started without {part.value}")
        return server


def _cause(error: BaseException) -> BaseException:
    """The first error of an exception group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
